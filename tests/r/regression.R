# What R says of moderators of proportions: `Rscript tests/r/regression.R tests/r` writes regression.json with the data in it. metafor 3.8-1 of Debian 12.
# Pritz 1997 and de Bruin 2009 as metadat has them, parted into groups by the rest of the number of the study by 3; made: made-up studies, one without events.
suppressMessages(library(metafor))
out <- commandArgs(TRUE)[1]
num <- function(x) paste0("[", paste(ifelse(is.na(x), "null", formatC(x, digits = 10, format = "g")), collapse = ", "), "]")
p <- dat.pritz1997; b <- dat.debruin2009
sets <- list(
  pritz = data.frame(x = p$xi, n = p$ni, z = p$ni / 100),
  debruin = data.frame(x = b$xi, n = b$ni, z = b$scq),
  made = data.frame(x = c(12, 31, 7, 0, 22, 3, 41, 18, 9), n = c(40, 101, 75, 26, 115, 61, 97, 54, 48), z = c(2017, 2018, 2018, 2019, 2020, 2020, 2021, 2022, 2024) - 2020))
rows <- c()
for (name in names(sets)) {
  d <- sets[[name]]; d$g <- factor((seq_len(nrow(d)) - 1) %% 3)
  told <- c()
  for (mods in c("z", "g")) {
    f <- as.formula(paste("~", mods))
    g <- suppressWarnings(rma.glmm(measure = "PLO", xi = x, ni = n, mods = f, data = d, nAGQ = 41, control = list(glmerCtrl = list(tolPwrss = 1e-10, optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9)))))
    l <- rma(measure = "PLO", xi = x, ni = n, mods = f, data = d, method = "REML", control = list(threshold = 1e-12, maxiter = 10000))
    told <- c(told, sprintf('"%s": {"glmm": %s, "glmm_qm": %s, "logit": %s, "logit_qm": %s}', mods,
      num(c(g$beta, g$se, g$tau2)), num(c(g$QM, g$QMp)), num(c(l$beta, l$se, l$tau2)), num(c(l$QM, l$QMp))))
  }
  rows <- c(rows, sprintf('  "%s": {"events": %s, "n": %s, "at": %s, %s}', name, num(d$x), num(d$n), num(d$z), paste(told, collapse = ", ")))
}
writeLines(c("{", paste(rows, collapse = ",\n"), "}"), file.path(out, "regression.json"))
