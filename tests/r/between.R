# What R says of times between two looks: `Rscript tests/r/between.R tests/r` writes between.csv and between.json. survival 3.5-3 of Debian 12 (survfit, type interval2).
suppressMessages(library(survival))
out <- commandArgs(TRUE)[1]
set.seed(7)
n <- 120; true <- rweibull(n, 1.4, 9)
first <- sample(0:3, n, TRUE); every <- sample(1:4, n, TRUE)
low <- pmax(0, first + every * floor((true - first) / every)); low[true < first] <- 0
high <- ifelse(true < first, first, low + every)
last <- sample(6:20, n, TRUE); lost <- high > last
low[lost] <- pmin(low[lost], last[lost]); high[lost] <- Inf
exact <- sample(n, 15); low[exact] <- high[exact] <- round(true[exact]) + 1
write.csv(data.frame(after = low, until = high), file.path(out, "between.csv"), row.names = FALSE, quote = FALSE)
right <- ifelse(is.infinite(high), NA, high)
fit <- survfit(Surv(ifelse(low == 0 & high > 0 , NA, low), right, type = "interval2") ~ 1)
at <- fit$time
writeLines(sprintf('{"time": [%s], "share": [%s]}', paste(at, collapse = ", "), paste(formatC(1 - fit$surv, digits = 8, format = "g"), collapse = ", ")), file.path(out, "between.json"))
