# What R says of pooled proportions: `Rscript tests/r/proportions.R tests/r` writes proportions.json with the data in it. metafor 3.8-1 and lme4 1.1-31 of Debian 12.
# pritz: Pritz 1997, debruin: de Bruin 2009 (z: the score of care), as metadat has them; icans: events of neurotoxicity in seven made-up studies, one without any.
suppressMessages({library(metafor); library(lme4)})
out <- commandArgs(TRUE)[1]
num <- function(x) paste0("[", paste(ifelse(is.na(x), "null", formatC(x, digits = 10, format = "g")), collapse = ", "), "]")
p <- dat.pritz1997; b <- dat.debruin2009
sets <- list(
  pritz = data.frame(x = p$xi, n = p$ni, z = as.numeric(p$ni > 15)),
  debruin = data.frame(x = b$xi, n = b$ni, z = b$scq),
  zero = data.frame(x = c(12, 31, 7, 0, 22, 3, 41), n = c(40, 101, 75, 26, 115, 61, 97), z = c(1, 1, 0, 0, 0, 0, 1)),
  same = data.frame(x = c(10, 20, 30, 41, 9), n = c(100, 200, 300, 400, 95), z = c(0, 1, 0, 1, 0)))
rows <- c()
for (name in names(sets)) {
  d <- sets[[name]]; d$study <- factor(seq_len(nrow(d)))
  m <- suppressWarnings(suppressMessages(glmer(cbind(x, n - x) ~ 1 + (1 | study), d, binomial, nAGQ = 41, control = glmerControl(optCtrl = list(maxfun = 1e5), tolPwrss = 1e-10))))
  r <- suppressWarnings(suppressMessages(glmer(cbind(x, n - x) ~ z + (1 | study), d, binomial, nAGQ = 41, control = glmerControl(optCtrl = list(maxfun = 1e5), tolPwrss = 1e-10))))
  g <- suppressWarnings(rma.glmm(measure = "PLO", xi = x, ni = n, data = d, nAGQ = 41))
  l <- rma(measure = "PLO", xi = x, ni = n, data = d, method = "REML", control = list(threshold = 1e-12, maxiter = 10000))
  lz <- rma(measure = "PLO", xi = x, ni = n, mods = ~ z, data = d, method = "REML", control = list(threshold = 1e-12, maxiter = 10000))
  f <- rma(measure = "PFT", xi = x, ni = n, data = d, method = "REML", control = list(threshold = 1e-12, maxiter = 10000))
  back <- predict(f, transf = transf.ipft.hm, targs = list(ni = d$n))
  rows <- c(rows, sprintf('  "%s": {"events": %s, "n": %s, "z": %s, "glmer": %s, "glmer_z": %s, "rma_glmm": %s, "lrt": %s, "logit": %s, "logit_z": %s, "arcsine": %s, "back": %s}',
    name, num(d$x), num(d$n), num(d$z), num(c(fixef(m), sqrt(diag(as.matrix(vcov(m)))), VarCorr(m)$study[1])),
    num(c(fixef(r), sqrt(diag(as.matrix(vcov(r)))), VarCorr(r)$study[1])), num(c(g$beta, g$se, g$tau2)), num(c(g$QE.LRT, g$QEp.LRT)),
    num(c(l$beta, l$se, l$tau2, l$QE, l$QEp, l$I2 / 100)), num(c(lz$beta, lz$se, lz$tau2)), num(c(f$beta, f$se, f$tau2, f$QE)), num(c(back$pred, back$ci.lb, back$ci.ub))))
}
writeLines(c("{", paste(rows, collapse = ",\n"), "}"), file.path(out, "proportions.json"))
