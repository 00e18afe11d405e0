"""Scores that cannot be computed: what they need was not published, or not where it could be checked. They say so, and give no number."""

from __future__ import annotations

from aftercar.risk.score import Finding, Score

NO_COEFFICIENTS = "coefficients are not published where they can be checked: not computed"


def _slot(name: str, title: str, predicts: str, population: str, source: str, why: str, *findings: Finding) -> Score:
    told = "; ".join([f"{why} [{source}]", *map(str, findings)])
    return Score(name, title, predicts, population, source, "0", findings, unpublished=told)


SCORES = (
    _slot("teachey2016_all", "cytokine model, all patients, Teachey 2016", "severe CRS (Penn grade 4-5)", "CTL019 in ALL", "teachey2016", NO_COEFFICIENTS,
          Finding("IFN-gamma, sgp130, sIL1RA in the first 3 days (three-cytokine signature)", "teachey2016"), Finding("sensitivity 86 %, specificity 89 %, AUC 0.93", "teachey2016", "M"), Finding("CRP and ferritin did not predict severe CRS", "teachey2016")),
    _slot("teachey2016_paediatric", "cytokine model, children, Teachey 2016", "severe CRS (Penn grade 4-5)", "CTL019 in ALL, children", "teachey2016", NO_COEFFICIENTS,
          Finding("IFN-gamma, IL-13, MIP-1alpha in the first 3 days; sensitivity 100 %, specificity 96 %, AUC 0.98", "teachey2016", "M")),
    _slot("teachey2016_tree", "cytokine trees, Teachey 2016", "severe CRS (Penn grade 4-5)", "CTL019 in ALL", "teachey2016", "cuts are not published where they can be checked: not computed",
          Finding("sgp130, MCP-1, eotaxin; children: IFN-gamma, disease burden", "teachey2016", "M?")),
    _slot("all_hematotox", "ALL-HEMATOTOX", "cytopenia after CAR-T in B-ALL", "B-ALL", "allht", "points are not published where they can be checked: not computed"),
    _slot("easix_f", "EASIX with ferritin, Greenbaum 2021", "CRS grade 2-4", "large B-cell lymphoma, axi-cel, n = 171", "greenbaum2021", "cuts are not published where they can be checked: not computed",
          Finding("CRS grade 2-4 in 74, 49 and 23 % of three groups", "greenbaum2021")),
    _slot("easix_fc", "EASIX with ferritin and CRP, Greenbaum 2021", "ICANS grade 2-4", "large B-cell lymphoma, axi-cel, n = 171", "greenbaum2021", "cuts are not published where they can be checked: not computed",
          Finding("ICANS grade 2-4 in 74, 51 and 29 % of three groups", "greenbaum2021")),
    _slot("hscore", "HScore, Fardet 2014", "haemophagocytic syndrome", "adults, secondary haemophagocytic syndrome", "fardet2014", "a scale over time: `aftercar grade --scale hscore` gives it"),
)  # fmt: skip
