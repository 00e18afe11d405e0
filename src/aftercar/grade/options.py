"""Every question that the papers on grading leave open, as a named option with a default.

The names and defaults are those of the grading reference.
"""

from __future__ import annotations

from aftercar.options import DAY0, Chosen, Option

OPTIONS = {
    o.name: o
    for o in (
        # All scales
        DAY0,
        Option("unknown_attribution", "include_with_warning", "Does a sign of unknown cause count?", ("include_with_warning", "exclude")),
        # Fever and its waiver
        Option("temp_round", "none", "Are temperatures rounded before they are compared?", ("none", 0.1)),
        Option(
            "fever_waiver_drugs", "antipyretic,nsaid,anticytokine,corticosteroid",
            "After which drugs is fever no longer needed? Some tables name only tocilizumab and steroids.", drugs=True,
        ),
        Option("prophylaxis_waives_fever", False, "Does a drug given before any fever waive it?", (False, True)),
        Option("waiver_duration_h", "episode", "How long does the waiver last?", ("episode",), (0, 8760)),
        Option("fever_carry_h", 24, "How long does a fever count between readings below 38.0, without a waiver?", (), (0, 8760)),
        # Hypotension
        Option("map_cut", 65, "Below which mean pressure is an adult hypotensive, where no clinician said?", ("none",), (1, 200)),
        Option("hypotension_evidence", "any", "Without a statement, must every kind of pressure be normal (all), or is one enough (any)?", ("any", "all")),
        Option("vasopressin_alone", 3, "Which grade is vasopressin as the only vasopressor?", (3, 2)),
        Option("angiotensin_counts", True, "Does angiotensin II count as a vasopressor?", (True, False)),
        Option("count_inodilators", False, "Do dobutamine, milrinone and levosimendan count as vasopressors?", (False, True)),
        Option("pressor_overlap_min", 60, "From how many minutes of overlap are two vasopressors not a hand-over?", (), (0, 1440)),
        Option("push_dose_counts", True, "Does a push dose count as a vasopressor?", (True, False)),
        # Hypoxia
        Option("baseline_o2", "subtract", "Is oxygen that the patient used before CAR-T left out?", ("subtract", "ignore")),
        Option("hfnc_le6", 2, "Which grade is a high-flow cannula set at 6 L/min or less?", (2, 3)),
        Option("untreated_hypoxia", 0, "Which grade is a low saturation without oxygen given?", (0, 2)),
        # CRS on other scales
        Option("onset_without_fever", "stated", "What begins CRS without fever, on scales that do not demand it: a sign that a person attributed to the cells, any sign, or nothing?", ("stated", "any", "never")),
        Option("fio2_estimate", "0.20+0.04xL", "How is FiO2 read from the flow of a cannula, where none is charted?", ("0.20+0.04xL", "none")),
        Option("lee_niv", "fio2", "Is non-invasive ventilation graded by FiO2 or as a ventilator (4) in Lee 2014?", ("fio2", 4)),
        Option("lee_vasopressin_counts", True, "Does vasopressin count towards multiple vasopressors in Lee 2014?", (True, False)),
        Option("penn_fever_inpatient", 2, "Which Penn grade is fever alone in hospital? 1 where patients stay by protocol.", (2, 1)),
        Option("penn_single_bolus", 2, "Which Penn grade is one fluid bolus?", (2, 3)),
        Option("mskcc_pressor_gap_h", 6, "Up to how many hours without a vasopressor do not break the 24 hours of MSKCC?", (), (0, 72)),
        Option("mskcc_fluid", 1, "Which MSKCC grade is hypotension that responds to fluid?", (1, 2)),
        Option("ctcae", "v5", "Which CTCAE grades creatinine and transaminases against an abnormal baseline?", ("v5", "v4.03")),
        # Episodes
        Option("resolution_h", 24, "How many clear hours end an episode?", (), (1, 720)),
        Option("new_episode_gap_h", 48, "From how many clear hours on is a return a new episode?", (), (1, 2160)),
        # ICANS
        Option("ice_locf_h", 0, "How long does an ICE score stand for assessments that lack one?", (), (0, 168)),
        Option("seizure_hold_h", 24, "How long does a seizure hold the grade?", (), (1, 720)),
        Option("ice_baseline", "none", "Is the ICE score read against the patient's own baseline?", ("none", "shift")),
        Option("raised_pressure_mmhg", 15, "From which opening pressure (mm[Hg]) on is it raised, for CRES grade 3?", (), (1, 20)),
        # IEC-HS and its forerunners
        Option("iechs_window_h", 72, "Within how many hours must features of IEC-HS, HScore and HLH-2004 be there together?", (), (1, 720), mark="M"),
        Option("iechs_min_common", 2, "How many common features beside ferritin make IEC-HS? The paper gives no number.", (2, 1, 3)),
        Option("ferritin_rapid", "doubling_24h", "Which rise of ferritin is rapid?", ("doubling_24h", "none")),
        Option("hscore_immunosuppressed", "explicit", "Whom does HScore count as immunosuppressed: who has HIV or takes such drugs for long, or everyone?", ("explicit", "always")),
        Option("hlh_inclusive", True, "Do the cuts of HLH-2004 include their value? Reprints differ.", (True, False)),
        # ICAHT
        Option("max_gap_days", 7, "Up to how many days without a count are filled by interpolation?", (), (0, 30), whole=True),
        Option("fill_ends", "nearest", "Are days before the first and after the last count filled?", ("nearest", "none")),
        Option("round10", False, "Are counts rounded to the nearest 10, as the peer does?", (False, True)),
        Option("recovery_days", 3, "How many consecutive days above the threshold are a recovery?", (), (1, 30), whole=True),
        Option("icaht_duration", "longest_run", "Is the duration the longest run or all days together?", ("longest_run", "cumulative")),
        Option("never_recovered_start_max_day", 3, "By which day must a run begin to count as never above 500?", (), (0, 30), whole=True),
        Option("early_censor", "last_fu", "What ends the early window?", ("last_fu", "progression_or_next_therapy")),
        Option("late_end_day", 100, "On which day does the late window end?", (), (31, 3650), whole=True),
        Option(
            "late_confirm", "any_1500", "What makes late neutropenia non-transient?", ("any_1500", "same_grade", "within_days:n")
        ),
        Option("late_no_data", "na", "What is a late window without a count?", ("na", 0)),
        Option("gcsf", "ignore", "Do counts under G-CSF count?", ("ignore", "censor_3d_after")),
        # Other cytopenia, B cells
        Option("cytopenia_min_grade", 3, "From which CTCAE grade on is a count a cytopenia, for its periods?", (3, 4)),
        Option("cytopenia_split", "lecture", "Which periods: early and delayed (lecture), or early, prolonged and late (ash)?", ("lecture", "ash")),
        Option("bca_cut", 50, "Below how many B cells per uL is B-cell aplasia? Trials differ.", (), (1, 500), mark="M?"),
    )
}  # fmt: skip


class Options(Chosen):
    """A full set of the options of grading."""

    table = OPTIONS
