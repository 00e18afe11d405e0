"""Every question that the papers on risk scores leave open, as a named option with a default."""

from __future__ import annotations

from aftercar.options import DAY0, Chosen, Option

OPTIONS = {
    o.name: o
    for o in (
        DAY0,
        Option("ht_window_days", "-10..-3", "Which days, both included, are before lymphodepletion? The last value before its first dose counts.", span=(-60, 0)),
        Option("ht_ties", "anc0_hb0_crp1", "How many points has a value exactly at the cut of CAR-HEMATOTOX (ANC 1200, Hb 9.0, CRP 3.0)?", ("anc0_hb0_crp1", "all_0", "all_1")),
        Option("ht_tiers", 2, "Has CAR-HEMATOTOX two groups, or three (0-1, 2-4, 5 and more) as some secondary literature?", (2, 3), mark="M?"),
        Option("ht_in_all", "refuse", "Is CAR-HEMATOTOX, built in lymphoma, given in acute lymphoblastic leukaemia?", ("refuse", "score")),
        Option("crp_lod", "half", "What is a CRP below what the assay measures, such as <0.3: half of that limit, or the limit?", ("half", "value")),
        Option("hay_max_gap_h", 12, "Up to how many hours without a temperature is no fever in the first 36 hours still known?", (), (1, 36)),
        Option("mnt_min", 2, "How many features put a patient on the watch list for movement and neurocognitive toxicity?", (), (1, 4), whole=True, mark="M"),
    )
}  # fmt: skip


class Options(Chosen):
    """A full set of the options of risk scores."""

    table = OPTIONS
