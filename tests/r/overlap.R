# What R says of groups made alike by overlap weights, and of two shares: `Rscript tests/r/overlap.R tests/r` writes overlap.csv and overlap.json.
# R 4.2.2 of Debian 12: glm, prop.test, and the sandwich of the stacked equations by finite differences. Data: pbc (Fleming and Harrington 1991) of survival 3.5-3.
suppressMessages(library(survival))
out <- commandArgs(TRUE)[1]
d <- subset(pbc, !is.na(trt) & !is.na(chol), c(id, trt, status, age, sex, bili, albumin, edema, chol))
d <- data.frame(group = d$trt == 2, y = as.integer(d$status == 2), age = d$age, female = as.integer(d$sex == "f"), bili = d$bili, albumin = d$albumin, edema = d$edema, cluster = (d$id * 7) %% 90)
# Groups that differ, so that weights have work to do.
d$group <- d$group | (d$bili > 4 & d$age < 50)
write.csv(transform(d, group = as.integer(group)), file.path(out, "overlap.csv"), row.names = FALSE, quote = FALSE)
z <- as.integer(d$group); y <- d$y; x <- model.matrix(~ age + female + bili + albumin + edema, d)
fit <- glm(z ~ x - 1, family = binomial, control = list(epsilon = 1e-14)); e <- fitted(fit)
w <- ifelse(z == 1, 1 - e, e)
m1 <- weighted.mean(y[z == 1], w[z == 1]); m0 <- weighted.mean(y[z == 0], w[z == 0])
# Stacked estimating equations at (beta, m1, m0), a row a course.
psi <- function(t) {
  b <- t[seq_len(ncol(x))]; e <- plogis(drop(x %*% b))
  cbind(x * (z - e), z * (1 - e) * (y - t[ncol(x) + 1]), (1 - z) * e * (y - t[ncol(x) + 2]))
}
t0 <- c(coef(fit), m1, m0); k <- length(t0)
bread <- sapply(seq_len(k), function(j) { h <- 1e-6 * max(1, abs(t0[j])); u <- t0; u[j] <- u[j] + h; v <- t0; v[j] <- v[j] - h; (colSums(psi(u)) - colSums(psi(v))) / (2 * h) })
sandwich <- function(p) { b <- solve(bread); (b %*% crossprod(p) %*% t(b))[c(k - 1, k), c(k - 1, k)] }
plain <- sandwich(psi(t0)); clustered <- sandwich(rowsum(psi(t0), d$cluster))
se <- function(v) sqrt(v[1, 1] + v[2, 2] - 2 * v[1, 2])
smd <- function(v) (mean(v[z == 1]) - mean(v[z == 0])) / sqrt((var(v[z == 1]) + var(v[z == 0])) / 2)
newcombe <- function(k, n, k0, n0) {
  a <- suppressWarnings(prop.test(k, n, correct = FALSE)$conf.int); b <- suppressWarnings(prop.test(k0, n0, correct = FALSE)$conf.int); p <- k / n; q <- k0 / n0
  c(p - q, p - q - sqrt((p - a[1])^2 + (b[2] - q)^2), p - q + sqrt((a[2] - p)^2 + (q - b[1])^2))
}
odds <- function(k, n, k0, n0) { g <- glm(cbind(c(k0, k), c(n0 - k0, n - k)) ~ c(0, 1), family = binomial, control = list(epsilon = 1e-14)); s <- summary(g)$coefficients[2, 1:2]; exp(s[1] + c(0, -1, 1) * qnorm(0.975) * s[2]) }
ratio <- function(k, n, k0, n0) { g <- glm(cbind(c(k0, k), c(n0 - k0, n - k)) ~ c(0, 1), family = binomial(log), start = c(log(k0 / n0), 0), control = list(epsilon = 1e-14)); s <- summary(g)$coefficients[2, 1:2]; exp(s[1] + c(0, -1, 1) * qnorm(0.975) * s[2]) }
num <- function(v) paste0("[", paste(formatC(v, digits = 10, format = "g"), collapse = ", "), "]")
tables <- list(c(56, 70, 48, 80), c(9, 10, 3, 10), c(6, 7, 2, 7), c(5, 56, 0, 29), c(0, 10, 0, 20), c(0, 10, 0, 10), c(10, 10, 0, 20), c(17, 61, 30, 74))
whole <- Filter(function(t) all(t[c(1, 3)] > 0) && all(t[c(1, 3)] < t[c(2, 4)]), tables)
apart <- suppressWarnings(glm(c(0, 0, 0, 1, 1, 1) ~ c(1, 2, 3, 3, 4, 5), family = binomial, control = list(maxit = 50)))
ess <- function(w) sum(w)^2 / sum(w^2)
writeLines(c("{",
  sprintf('"coefficient": %s,', num(coef(fit))), sprintf('"shares": %s,', num(c(m1, m0))), sprintf('"se": %s,', num(c(se(plain), se(clustered)))),
  sprintf('"se_log_ratio": %s,', num(c(sqrt(plain[1, 1] / m1^2 + plain[2, 2] / m0^2 - 2 * plain[1, 2] / (m1 * m0))))),
  sprintf('"effective": %s,', num(c(ess(w[z == 1]), ess(w[z == 0])))), sprintf('"smd": %s,', num(apply(x[, -1], 2, smd))),
  sprintf('"separated_slope": %s,', num(abs(coef(apart)[2]))),
  sprintf('"newcombe": [%s],', paste(sapply(tables, function(t) sprintf("[%s, %s]", num(t), num(do.call(newcombe, as.list(t))))), collapse = ", ")),
  sprintf('"ratios": [%s]', paste(sapply(whole, function(t) sprintf("[%s, %s, %s]", num(t), num(do.call(ratio, as.list(t))), num(do.call(odds, as.list(t))))), collapse = ", ")),
  "}"), file.path(out, "overlap.json"))
