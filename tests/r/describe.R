# What R says of a cohort's counts: `Rscript tests/r/describe.R tests/r` writes describe.json and nonrelapse.csv, sir.csv and differences.csv, which it read.
# stats (binom.test, poisson.test), cmprsk 2.2-11 and survival 3.5-3 of Debian 12; standardised differences by their formulas.
suppressMessages({library(cmprsk); library(survival)})
out <- commandArgs(TRUE)[1]
num <- function(x) paste0("[", paste(ifelse(is.na(x), "null", formatC(x, digits = 10, format = "g")), collapse = ", "), "]")
set.seed(20261127)
k <- c(0, 1, 3, 10, 39, 40, 17, 5000); n <- c(7, 10, 3, 40, 40, 40, 35, 10000)
exact <- mapply(function(a, b) binom.test(a, b)$conf.int, k, n)
count <- c(0, 1, 4, 25, 300); years <- c(12.5, 80, 33.3, 410, 9000)
rates <- mapply(function(a, b) poisson.test(a, b)$conf.int, count, years) * 1000

# Deaths by cause: 0 censored, 1 infection, 2 of the therapy, 3 another, 4 not known, 5 relapse
d <- data.frame(day = sample(1:120, 150, TRUE), ending = sample(0:5, 150, TRUE, c(.4, .15, .05, .05, .05, .3)))
words <- c("", "infection", "iec", "other", "unsure", "relapse")
write.csv(transform(d, ending = words[ending + 1]), file.path(out, "nonrelapse.csv"), row.names = FALSE, quote = FALSE)
at <- c(14, 28, 60, 100)
by_cause <- timepoints(cuminc(d$day, d$ending, cencode = 0), at)$est
merged <- function(members) timepoints(cuminc(d$day, ifelse(d$ending %in% members, 1, ifelse(d$ending == 0, 0, 2)), cencode = 0), at)$est["1 1", ]

# Person-years by age and sex, split by hand year by year, and the ratio to a reference
b <- data.frame(sex = rep(c("female", "male"), each = 3), age_from = c(0, 50, 70), age_to = c(50, 70, NA), rate = c(120, 800, 1900, 100, 950, 2800), source = "made up")
write.csv(b, file.path(out, "sir_rates.csv"), row.names = FALSE, quote = FALSE, na = "")
p <- data.frame(sex = sample(c("female", "male"), 80, TRUE), age_y = round(runif(80, 20, 80), 1), years = round(rexp(80, 0.3), 3), event = rbinom(80, 1, .08))
write.csv(p, file.path(out, "sir.csv"), row.names = FALSE, quote = FALSE)
upper <- ifelse(is.na(b$age_to), Inf, b$age_to)
py <- sapply(seq_len(nrow(b)), function(i) with(p[p$sex == b$sex[i], ], sum(pmax(0, pmin(age_y + years, upper[i]) - pmax(age_y, b$age_from[i])))))
expected <- sum(py * b$rate / 1e5); observed <- sum(p$event)
ratio <- c(observed, expected, observed / expected, poisson.test(observed, expected)$conf.int)

# Standardised differences
s <- data.frame(group = rep(c("a", "b"), c(30, 45)), x = round(c(rnorm(30, 50, 9), rnorm(45, 56, 12)), 1), y = c(sample(c("p", "q", "r"), 30, TRUE, c(.5, .3, .2)), sample(c("p", "q", "r"), 45, TRUE, c(.3, .3, .4))))
write.csv(s, file.path(out, "differences.csv"), row.names = FALSE, quote = FALSE)
means <- with(s, abs(mean(x[group == "a"]) - mean(x[group == "b"])) / sqrt((var(x[group == "a"]) + var(x[group == "b"])) / 2))
share <- function(g) as.vector(prop.table(table(factor(s$y[s$group == g], c("p", "q", "r")))))[-1]
cv <- function(v) diag(v) - v %o% v
gap <- share("a") - share("b")
shares <- sqrt(drop(t(gap) %*% solve((cv(share("a")) + cv(share("b"))) / 2) %*% gap))

# Durations that are uncertain at both ends
m <- 90; onset <- rexp(m, 0.4); len <- rweibull(m, 1.3, 5)
first <- ceiling(onset); before <- pmax(0, first - sample(1:2, m, TRUE))
last <- floor(first + len); clear <- last + sample(1:3, m, TRUE); lost <- sample(m, 12)
least <- last - first; greatest <- clear - before; greatest[lost] <- Inf
write.csv(data.frame(least, greatest), file.path(out, "durations.csv"), row.names = FALSE, quote = FALSE)
fit <- survfit(Surv(ifelse(least == 0, NA, least), ifelse(is.infinite(greatest), NA, greatest), type = "interval2") ~ 1)

writeLines(c("{", paste(c(
  sprintf('  "exact": {"k": %s, "n": %s, "low": %s, "high": %s}', num(k), num(n), num(exact[1, ]), num(exact[2, ])),
  sprintf('  "rates": {"count": %s, "years": %s, "low": %s, "high": %s}', num(count), num(years), num(rates[1, ]), num(rates[2, ])),
  sprintf('  "nonrelapse": {"at": %s, "infection": %s, "iec": %s, "other": %s, "unsure": %s, "relapse": %s, "all": %s, "infection_most": %s}', num(at),
    num(by_cause["1 1", ]), num(by_cause["1 2", ]), num(by_cause["1 3", ]), num(by_cause["1 4", ]), num(by_cause["1 5", ]), num(merged(1:3)), num(merged(c(1, 4)))),
  sprintf('  "sir": %s', num(ratio)), sprintf('  "smd": %s', num(c(means, shares))),
  sprintf('  "durations": {"time": %s, "share": %s}', num(fit$time), num(1 - fit$surv))), collapse = ",\n"), "}"), file.path(out, "describe.json"))
