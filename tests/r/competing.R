# What R says of competing risks, Kaplan-Meier curves and tests of groups: `Rscript tests/r/competing.R tests/r` writes competing.json and the data that it read.
# survival 3.5-3 and cmprsk 2.2-11 of Debian 12. mgus2: Kyle et al 2002, N Engl J Med 346:564, as the package survival has it.
suppressMessages({library(survival); library(cmprsk)})
out <- commandArgs(TRUE)[1]
num <- function(x) paste0("[", paste(ifelse(is.na(x), "null", formatC(x, digits = 10, format = "g")), collapse = ", "), "]")
m <- mgus2
time <- ifelse(m$pstat == 1, m$ptime, m$futime)
what <- ifelse(m$pstat == 1, 1, 2 * m$death)
band <- cut(m$age, c(0, 60, 70, 80, 200), labels = c("a", "b", "c", "d"), right = FALSE)
set.seed(20261127)
few <- data.frame(day = sample(1:12, 60, TRUE), what = sample(0:2, 60, TRUE, c(.3, .4, .3)), group = sample(c("a", "b", "c"), 60, TRUE))
few$what[few$group == "c" & few$what == 1] <- 2            # a group without an event
alone <- transform(few, what = ifelse(what == 2, 0, what), group = ifelse(group == "c", "a", group)) # nothing competes
sets <- list(
  mgus_sex = data.frame(day = time, what = what, group = as.character(m$sex)),
  mgus_age = data.frame(day = time, what = what, group = as.character(band)),
  few = few, alone = alone)
words <- c("censored", "event", "competing")
rows <- c()
for (name in names(sets)) {
  d <- sets[[name]]
  write.csv(transform(d, what = words[what + 1]), file.path(out, paste0(name, ".csv")), row.names = FALSE, quote = FALSE)
  all <- cuminc(d$day, d$what, cencode = 0)
  at <- c(2, 5, 8, 12, 60, 120, 240); at <- at[at <= max(d$day)]
  cif <- timepoints(all["1 1"], at)$est[1, ]
  tests <- cuminc(d$day, d$what, d$group, cencode = 0)$Tests
  diff <- survdiff(Surv(d$day, d$what == 1) ~ d$group)
  km <- summary(survfit(Surv(d$day, d$what != 0) ~ 1, conf.type = "log-log"), times = at, extend = TRUE)
  med <- summary(survfit(Surv(d$day, d$what != 0) ~ 1, conf.type = "log-log"))$table[c("median", "0.95LCL", "0.95UCL")]
  rows <- c(rows, sprintf('  "%s": {"at": %s, "incidence": %s, "gray": %s, "gray_competing": %s, "logrank": %s, "survival": %s, "low": %s, "high": %s, "median": %s}',
    name, num(at), num(cif), num(tests[1, c("stat", "pv", "df")]), if (nrow(tests) > 1) num(tests[2, c("stat", "pv", "df")]) else "null",
    num(c(diff$chisq, pchisq(diff$chisq, length(diff$n) - 1, lower = FALSE))), num(km$surv), num(km$lower), num(km$upper), num(med)))
}
writeLines(c("{", paste(rows, collapse = ",\n"), "}"), file.path(out, "competing.json"))
