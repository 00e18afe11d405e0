# The estimates of `benchmarks.estimates` by R: curves with competing events and Gray's test (cmprsk), times between two looks (survival), pooled rates (lme4, metafor).
# Rscript estimates.R WHAT SOURCE TARGET
suppressMessages({library(cmprsk); library(survival); library(lme4); library(metafor)})
asked <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(asked[2])

curves <- function(d) {
  found <- cuminc(d$day, match(d$what, c("censored", "event", "competing")) - 1, d$group, cencode = 0)
  own <- grep(" 1$", names(found), value = TRUE)
  c(found$Tests[1, "stat"], sapply(own, function(g) timepoints(found[g], 28)$est[1, 1]))
}

between <- function(d) {
  until <- ifelse(is.infinite(d$until), NA, d$until)
  found <- survfit(Surv(ifelse(d$after == 0 & d$until > 0, NA, d$after), until, type = "interval2") ~ 1)
  sapply(c(7, 14, 21), function(t) 1 - summary(found, times = t, extend = TRUE)$surv)
}

pools <- function(d, fit) as.vector(sapply(split(d, d$pool), function(own) suppressWarnings(suppressMessages(fit(own)))))
by_lme4 <- function(own) {
  own$study <- factor(seq_len(nrow(own)))
  unname(fixef(glmer(cbind(events, n - events) ~ 1 + (1 | study), own, binomial, nAGQ = 15)))
}
by_metafor <- function(own) as.vector(rma.glmm(measure = "PLO", xi = own$events, ni = own$n, nAGQ = 15)$beta)

work <- switch(asked[1], curves = curves, between = between, pool_lme4 = function(d) pools(d, by_lme4), pool_metafor = function(d) pools(d, by_metafor))
started <- proc.time()
found <- work(rows)
used <- proc.time() - started
write.csv(data.frame(value = found), asked[3], row.names = FALSE)
writeLines(sprintf("[%.3f, %.3f]", used[["elapsed"]], used[["user.self"]] + used[["sys.self"]]), Sys.getenv("BENCHMARK_REPORT"))
