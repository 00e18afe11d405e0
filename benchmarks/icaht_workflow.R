# The public automated ICAHT grader of E. C. Liang [liang2024], written anew with the tidyverse from a description of its rules:
#
#     Rscript icaht_workflow.R COUNTS.csv GRADES.csv
#
# COUNTS has a row a neutrophil count: patient_id, cart_date, date, anc (whole numbers per uL), progression_date,
# subsequent_therapy_date, last_fu_date. GRADES gets patient_id, early, d500, d100, late. Where the original leaves a patient out,
# or stops with an error, the patient is left out.

suppressPackageStartupMessages({
  library(dplyr)
  library(readr)
  library(tidyr)
  library(zoo)
})

LAST_EARLY <- 30
LONGEST_GAP <- 7 # missing days that are filled
SHORTEST_RECOVERY <- 3 # days above the cut

# Missing days filled: between counts along the line, at the ends from the nearest; longer gaps stay. `NULL`: the original stops.
fill_days <- function(anc) {
  known <- which(!is.na(anc))
  filled <- na.approx(anc, maxgap = LONGEST_GAP, rule = 2, na.rm = FALSE)
  if (length(known) == 1) { # no line goes through it
    far <- c(known - 1, length(anc) - known) > LONGEST_GAP
    if (any(far) && !all(far)) return(NULL)
    if (!any(far)) filled <- rep(anc[known], length(anc))
  }
  round(filled, -1) # halves to even
}

# Runs of days at or under a cut, in days of the window; a break too short to be a recovery belongs to the run, at the end too.
runs_below <- function(anc, cut) {
  runs <- rle(!is.na(anc) & anc <= cut)
  short <- !runs$values & runs$lengths < SHORTEST_RECOVERY
  short[1] <- FALSE
  runs$values[short] <- TRUE
  runs <- rle(inverse.rle(runs))
  stop <- cumsum(runs$lengths) - 1
  data.frame(start = stop - runs$lengths + 1, stop = stop, days = runs$lengths)[runs$values, ]
}

grade_window <- function(anc) {
  filled <- fill_days(anc)
  if (is.null(filled)) return(NULL)
  severe <- runs_below(filled, 500)
  d500 <- max(severe$days, 0)
  d100 <- max(runs_below(filled, 100)$days, 0)
  never_recovered <- any(severe$start <= 3 & severe$stop == length(anc) - 1)
  early <- case_when(
    never_recovered | d500 > LAST_EARLY | d100 >= 14 ~ 4,
    d500 >= 14 | d100 >= 7 ~ 3,
    d500 >= 7 ~ 2,
    d500 >= 1 ~ 1,
    TRUE ~ 0
  )
  tibble(early = early, d500 = d500, d100 = d100)
}

grade_early <- function(patients, daily) {
  windows <- patients |> transmute(patient_id, last = pmin(LAST_EARLY, last_fu_day, na.rm = TRUE))
  counted <- daily |> inner_join(windows, by = "patient_id") |> filter(day >= 0, day <= last)
  windows |>
    semi_join(counted, by = "patient_id") |>
    uncount(last + 1) |>
    group_by(patient_id) |>
    mutate(day = row_number() - 1) |>
    left_join(daily, by = c("patient_id", "day")) |>
    summarise(grades = list(grade_window(anc))) |>
    unnest(grades)
}

# The lowest count of days 31 to 100, unless the next-lowest says that it passed.
grade_late <- function(patients, daily) {
  patients |>
    transmute(patient_id, last = pmin(100, progression_day, subsequent_therapy_day, last_fu_day, na.rm = TRUE)) |>
    inner_join(daily, by = "patient_id") |>
    filter(day > LAST_EARLY, day <= last) |>
    group_by(patient_id) |>
    arrange(anc, .by_group = TRUE) |>
    summarise(lowest = anc[1], second = anc[2]) |>
    transmute(patient_id, late = case_when(
      second > 1500 ~ 0,
      lowest <= 100 ~ 4,
      lowest <= 500 ~ 3,
      lowest <= 1000 ~ 2,
      lowest <= 1500 ~ 1,
      TRUE ~ 0
    ))
}

main <- function(source, target) {
  counts <- read_csv(source, show_col_types = FALSE, progress = FALSE, col_types = cols(
    patient_id = col_integer(), anc = col_double(), .default = col_date()
  ))
  since_infusion <- function(date) as.integer(date - counts$cart_date)
  counts <- counts |> mutate(
    day = since_infusion(date),
    last_fu_day = since_infusion(last_fu_date),
    progression_day = since_infusion(progression_date),
    subsequent_therapy_day = since_infusion(subsequent_therapy_date)
  )
  patients <- counts |> distinct(patient_id, last_fu_day, progression_day, subsequent_therapy_day)
  daily <- counts |> group_by(patient_id, day) |> summarise(anc = min(anc), .groups = "drop")
  grade_early(patients, daily) |>
    left_join(grade_late(patients, daily), by = "patient_id") |>
    write_csv(target, progress = FALSE)
}

started <- proc.time()
do.call(main, as.list(commandArgs(trailingOnly = TRUE)))
used <- proc.time() - started
report <- Sys.getenv("BENCHMARK_REPORT")
if (nzchar(report)) writeLines(sprintf("[%.3f, %.3f]", used[["elapsed"]], used[["user.self"]] + used[["sys.self"]]), report)
