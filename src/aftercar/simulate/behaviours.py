"""Behaviours that a mechanism of these toxicities must show, from the lecture and its sources; each is asked of virtual patients, none is fitted.

The same patients (the same seed) go through every arm, so that an arm differs from another by its treatment alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from polars import col

from aftercar.grade.options import Options
from aftercar.grade.run import grade_lazy, scales_named
from aftercar.simulate.engine import Floats
from aftercar.simulate.model import load_model
from aftercar.simulate.run import Course, Scenario, simulate

_AXI = ("axi-cel", "LBCL")


@dataclass(frozen=True)
class Arm:
    """What became of the virtual patients of one scenario."""

    course: Course
    worst: pl.DataFrame
    episodes: pl.DataFrame

    def rate(self, toxicity: str, least: int) -> float:
        """Per cent whose worst grade (lower bound) is at least this."""
        own = self.worst.filter(toxicity=toxicity)
        return 100.0 * float((own["grade"] >= least).sum()) / own.height

    def of(self, state: str) -> Floats:
        """A state, `[patient, time]`."""
        return self.course.states.of(state)

    def peak(self, state: str) -> float:
        """Median of the highest values."""
        return float(np.median(self.of(state).max(axis=1)))

    def at(self, state: str, day: float) -> float:
        """Median at a day."""
        return float(np.median(self.of(state)[:, self.place(day)]))

    def place(self, day: float) -> int:
        """The round at or after a day."""
        return int(np.searchsorted(self.course.states.times, day))

    def onsets(self, toxicity: str) -> pl.DataFrame:
        """`subject_id, onset`, in days since the infusion."""
        first = self.episodes.filter(toxicity=toxicity).group_by("subject_id").agg(col("onset").min())
        zero = self.course.timeline.filter(code="cart_infusion").select("subject_id", zero="time")
        return first.join(zero, on="subject_id").select(
            "subject_id", onset=(col("onset") - col("zero")).dt.total_seconds() / 86_400
        )

    def onset(self, toxicity: str) -> float:
        """Median day of onset of those who had it."""
        return float(self.onsets(toxicity)["onset"].median() or np.nan)  # type: ignore[arg-type]


class Laboratory:
    """Arms by scenario, each simulated once."""

    def __init__(self, n: int, seed: int, folder: str | None = None) -> None:
        """Ask of so many patients."""
        self.n, self.seed, self.folder = n, seed, folder
        self._arms: dict[Scenario, Arm] = {}

    def arm(
        self,
        product: str = "axi-cel",
        disease: str = "LBCL",
        policy: str = "standard",
        drugs: tuple[str, ...] = (),
        changed: dict[str, float] | None = None,
    ) -> Arm:
        """The arm of a scenario; `changed` are parameters or initial states."""
        scenario = Scenario(product, disease, policy, drugs, tuple((changed or {}).items()), 45.0, self.folder)
        if scenario not in self._arms:
            course = simulate(scenario, self.n, self.seed)
            graded = grade_lazy(course.timeline.lazy(), scales_named(["crs", "icans"]), Options(None))
            self._arms[scenario] = Arm(course, graded.worst, graded.episodes)
        return self._arms[scenario]

    @cached_property
    def standard(self) -> Arm:
        """Axi-cel under the standard policy."""
        return self.arm()

    @cached_property
    def untreated(self) -> Arm:
        """Axi-cel under supportive care."""
        return self.arm(policy="supportive")

    def value(self, name: str) -> float:
        """What a parameter or initial state is in the table."""
        equations = load_model(self.folder).equations
        return {**equations.states, **equations.parameters}[name]


@dataclass(frozen=True)
class Behaviour:
    """One behaviour: `ask` says of each of its parts whether it holds, with the numbers."""

    number: int
    text: str
    ask: Callable[[Laboratory], list[tuple[str, bool]]]


def _onsets(lab: Laboratory) -> list[tuple[str, bool]]:
    arms = {
        p: lab.arm(p, d).onset("crs")
        for p, d in (
            ("ide-cel", "MM"),
            _AXI,
            ("brexu-cel", "MCL"),
            ("tisa-cel", "LBCL"),
            ("liso-cel", "LBCL"),
            ("cilta-cel", "MM"),
        )
    }
    told = ", ".join(f"{p} {d:.1f}" for p, d in arms.items())
    return [
        (f"median onset of CRS between day 1 and 7: {told}", all(1 <= d <= 7.5 for d in arms.values())),
        (f"ide-cel first ({arms['ide-cel']:.1f} d)", arms["ide-cel"] == min(arms.values())),
        (f"cilta-cel last ({arms['cilta-cel']:.1f} d)", arms["cilta-cel"] == max(arms.values())),
    ]  # fmt: skip


def _icans_later(lab: Laboratory) -> list[tuple[str, bool]]:
    arm = lab.standard
    both = arm.onsets("crs").join(arm.onsets("icans"), on="subject_id", suffix="_icans")
    lag = float((both["onset_icans"] - both["onset"]).median() or 0)  # type: ignore[arg-type]
    severe = set(arm.worst.filter((col("toxicity") == "crs") & (col("grade") >= 3))["subject_id"])
    icans = set(arm.worst.filter((col("toxicity") == "icans") & (col("grade") >= 1))["subject_id"])
    return [
        (f"ICANS {lag:.1f} days after CRS (1 to 3)", 1 <= lag <= 3),
        (f"ICANS without severe CRS in {len(icans - severe)} of {lab.n}", bool(icans - severe)),
    ]


def _tocilizumab(lab: Laboratory) -> list[tuple[str, bool]]:
    without, given = lab.untreated, lab.arm(policy="supportive", drugs=("tocilizumab@day6",))
    il6, fever, crp, cns = (
        given.at(s, d) / without.at(s, d) for s, d in (("il6", 6.5), ("fever", 7.5), ("crp", 8.0), ("il6_cns", 7.0))
    )
    return [
        (f"free IL-6 in plasma rises ({il6:.1f} times)", il6 > 1.2), (f"fever falls ({fever:.2f} times)", fever < 0.8), (f"CRP falls ({crp:.2f} times)", crp < 0.8),
        (f"IL-6 in the CNS does not ({cns:.2f} times)", cns >= 0.95),
        (f"ICANS is not prevented ({without.rate('icans', 1):.0f} -> {given.rate('icans', 1):.0f} %)", given.rate("icans", 1) >= 0.8 * without.rate("icans", 1)),
    ]  # fmt: skip


def _lower(what: str, less: float, than: float, by: float = 0.0) -> tuple[str, bool]:
    return f"{what}: {than:.4g} -> {less:.4g}", less < than - by


def _higher(what: str, more: float, than: float) -> tuple[str, bool]:
    return f"{what}: {than:.4g} -> {more:.4g}", more > than


def _killed(arm: Arm) -> float:
    """Median share of the tumour that is gone by day 28, in per cent."""
    tumour = arm.of("tumour")
    return 100.0 * float(np.median(1 - tumour[:, arm.place(28)] / tumour[:, 0]))


def _halved(what: str, less: float, than: float) -> tuple[str, bool]:
    return f"{what}: {than:.4g} -> {less:.4g}", less < than / 2


def _gmcsf(lab: Laboratory) -> list[tuple[str, bool]]:
    base = lab.standard
    parts: list[tuple[str, bool]] = []
    for name, arm in (("antibody", lab.arm(drugs=("lenzilumab@day0",))), ("knock-out", lab.arm(changed={"gmcsf_knockout": 1.0}))):
        parts += [
            _lower(f"{name}, active macrophages", arm.peak("macrophage_active"), base.peak("macrophage_active")),
            _lower(f"{name}, CRS >= 2 (%)", arm.rate("crs", 2), base.rate("crs", 2)), _lower(f"{name}, ICANS (%)", arm.rate("icans", 1), base.rate("icans", 1)),
            _higher(f"{name}, CAR-T peak", arm.peak("effector"), base.peak("effector")),
        ]  # fmt: skip
    return parts


def _ifng(lab: Laboratory) -> list[tuple[str, bool]]:
    base, arm = lab.standard, lab.arm(drugs=("emapalumab@day0",))
    return [
        _lower("active macrophages", arm.peak("macrophage_active"), base.peak("macrophage_active")),
        (
            f"tumour killed by day 28 within 5 %: {_killed(base):.4g} -> {_killed(arm):.4g} %",
            abs(_killed(arm) / _killed(base) - 1) < 0.05,
        ),
    ]


def _anakinra(lab: Laboratory) -> list[tuple[str, bool]]:
    base, short, long = lab.standard, lab.arm(drugs=("anakinra@day3-8",)), lab.arm(drugs=("anakinra@day0-45",))
    return [
        _lower("a short course lowers ICANS (%)", short.rate("icans", 1), base.rate("icans", 1), 1),
        _lower("a continuous one lowers the CAR-T peak", long.peak("effector"), base.peak("effector")),
        _higher("and leaves more tumour at day 28", long.at("tumour", 28), base.at("tumour", 28)),
    ]


def _il5_tnf(lab: Laboratory) -> list[tuple[str, bool]]:
    base, il5, tnf = lab.standard, lab.arm(drugs=("mepolizumab@day0",)), lab.arm(drugs=("etanercept@day3-10",))
    return [
        _lower("IL-5 block, CRS >= 2 (%)", il5.rate("crs", 2), base.rate("crs", 2)), _lower("IL-5 block, ICANS (%)", il5.rate("icans", 1), base.rate("icans", 1)),
        (f"not less activity: tumour at day 28 {base.at('tumour', 28):.3g} -> {il5.at('tumour', 28):.3g}", il5.at("tumour", 28) <= base.at("tumour", 28) * 1.02),
        (f"etanercept does little: CRS {base.rate('crs', 1):.0f} -> {tnf.rate('crs', 1):.0f} %", abs(tnf.rate("crs", 1) - base.rate("crs", 1)) <= 10),
    ]  # fmt: skip


def _dasatinib(lab: Laboratory) -> list[tuple[str, bool]]:
    base, arm = lab.untreated, lab.arm(policy="supportive", drugs=("dasatinib:100/6h@day3-10",))
    usual = lab.arm(policy="supportive", drugs=("dasatinib:100/12h@day3-10",))
    left = (arm.at("effector", 10) + arm.at("memory", 10)) / (base.at("effector", 10) + base.at("memory", 10))
    return [
        _halved("every 6 h: IFN-g a day after the first dose", arm.at("ifng", 4), base.at("ifng", 4)),
        _halved("every 12 h: the same", usual.at("ifng", 4), base.at("ifng", 4)),
        (f"CAR-T not eliminated: {left:.2f} of those without it on day 10", arm.at("effector", 10) + arm.at("memory", 10) > 0.5 * (arm.at("effector", 3) + arm.at("memory", 3))),
        _higher("on withdrawal they expand", float(np.median(arm.of("effector")[:, arm.place(11) :].max(axis=1))), arm.at("effector", 10.5)),
        _higher("and cytokines return", float(np.median(arm.of("ifng")[:, arm.place(11) :].max(axis=1))), arm.at("ifng", 10)),
    ]  # fmt: skip


def _macrophages(lab: Laboratory) -> list[tuple[str, bool]]:
    arm = lab.arm(policy="supportive", changed={"monocyte": 0.0, "monocyte_supply": 0.0})
    return [
        (f"IL-6 stays near its baseline: peak {arm.peak('il6'):.3g} pg/mL", arm.peak("il6") < 5 * lab.value("il6_baseline")),
        (f"no severe CRS: {arm.rate('crs', 3):.1f} %", arm.rate("crs", 3) == 0),
        (f"little ICANS: {arm.rate('icans', 1):.0f} % of {lab.untreated.rate('icans', 1):.0f} %", arm.rate("icans", 1) < 0.5 * lab.untreated.rate("icans", 1)),
    ]  # fmt: skip


def _prophylaxis(lab: Laboratory) -> list[tuple[str, bool]]:
    base, arm = lab.standard, lab.arm(drugs=("dexamethasone:10@day0", "dexamethasone:10@day1", "dexamethasone:10@day2"))
    share = arm.peak("effector") / base.peak("effector")
    return [
        _lower("CRS >= 3 (%)", arm.rate("crs", 3), base.rate("crs", 3)),
        (f"CAR-T peak {share:.2f} of it (above 0.7)", share > 0.7),
    ]


def _tak1(lab: Laboratory) -> list[tuple[str, bool]]:
    base, arm = lab.untreated, lab.arm(policy="supportive", changed={"tak1": 0.0})
    return [
        _lower("ICANS (%)", arm.rate("icans", 1), base.rate("icans", 1)),
        (f"CRS {base.rate('crs', 1):.0f} -> {arm.rate('crs', 1):.0f} %", abs(base.rate("crs", 1) - arm.rate("crs", 1)) < 1),
    ]


def _monotone(lab: Laboratory) -> list[tuple[str, bool]]:
    parts: list[tuple[str, bool]] = []
    for name in ("tumour", "car_infused", "inflammation"):
        median = _median_of(lab, name)
        arms = [lab.arm(policy="supportive", changed={name: median * factor}) for factor in (0.5, 1.0, 2.0)]
        for what in ("crs", "icans"):
            rates = [arm.rate(what, 2) for arm in arms]
            parts.append(
                (
                    f"{name} x 0.5, 1, 2: {what.upper()} >= 2 {rates[0]:.0f}, {rates[1]:.0f}, {rates[2]:.0f} %",
                    rates == sorted(rates) and rates[2] > rates[0],
                )
            )
    axi, tisa = lab.arm(policy="supportive"), lab.arm("tisa-cel", "LBCL", policy="supportive")
    slow = lab.arm(policy="supportive", changed={"binder_dwell": 0.1})
    return [
        *parts,
        (f"CD28 earlier: CRS day {axi.onset('crs'):.1f}, 4-1BB {tisa.onset('crs'):.1f}", axi.onset("crs") < tisa.onset("crs")),
        (f"and more ICANS: {axi.rate('icans', 1):.0f} %, 4-1BB {tisa.rate('icans', 1):.0f} %", axi.rate("icans", 1) > tisa.rate("icans", 1)),
        _lower("a binder that lets go: CRS >= 2 (%)", slow.rate("crs", 2), axi.rate("crs", 2)),
        (f"with activity kept: tumour killed by day 28 {_killed(axi):.4g} -> {_killed(slow):.4g} %", _killed(slow) > 0.98 * _killed(axi)),
    ]  # fmt: skip


def _median_of(lab: Laboratory, name: str) -> float:
    from aftercar.simulate.population import values_of

    return float(values_of(load_model(lab.folder), *_AXI)[name])


def _kinases(lab: Laboratory) -> list[tuple[str, bool]]:
    base = lab.standard
    arms = {d: lab.arm(drugs=(f"{d}@day0-14",)) for d in ("ruxolitinib", "itacitinib", "ibrutinib")}
    high = lab.arm(drugs=("ruxolitinib:50@day0-14",))
    return [
        *(_lower(f"{d}: CRS >= 2 (%)", a.rate("crs", 2), base.rate("crs", 2)) for d, a in arms.items()),
        _lower("high exposure costs expansion: CAR-T peak", high.peak("effector"), 0.9 * base.peak("effector")),
    ]


def _marrow(lab: Laboratory) -> list[tuple[str, bool]]:
    arm = lab.standard
    grade = arm.worst.filter(toxicity="crs").sort("subject_id")["grade"].to_numpy()
    severe, mild = grade >= 3, grade <= 1
    if not severe.any() or not mild.any():
        return [("some have severe CRS and some mild", False)]
    low = (arm.of("neutrophils") < 0.5) @ np.diff(arm.course.states.times, prepend=0.0)
    plates = arm.of("platelets")[:, arm.place(30)]
    depth = arm.of("neutrophils").min(axis=1)
    lost = arm.of("normal_target")[:, arm.place(28)]
    persists = arm.of("effector")[:, arm.place(28)] + arm.of("memory")[:, arm.place(28)]
    return [
        _lower("severe CRS: a deeper nadir of neutrophils", float(np.median(depth[severe])), float(np.median(depth[mild]))),
        _higher("and longer below 0.5 (days)", float(np.mean(low[severe])), float(np.mean(low[mild]))),
        _lower("platelets at day 30", float(np.median(plates[severe])), float(np.median(plates[mild]))),
        (f"B cells gone where CAR-T persist: {np.median(lost[persists > np.median(persists)]):.2f} of normal", float(np.median(lost[persists > np.median(persists)])) < 0.3),
    ]  # fmt: skip


def _numbers(lab: Laboratory) -> list[tuple[str, bool]]:
    lowest = min(float(a.course.states.values.min()) for a in (lab.standard, lab.untreated))
    return [(f"no state below zero: lowest {lowest:.2g}", lowest >= 0)]


BEHAVIOURS = (
    Behaviour(1, "CRS begins on day 1 to 7, by dose and product", _onsets),
    Behaviour(2, "ICANS comes after CRS, also without severe CRS", _icans_later),
    Behaviour(3, "Tocilizumab: free IL-6 rises, fever and CRP fall, the brain is not reached", _tocilizumab),
    Behaviour(4, "GM-CSF antibody or knock-out: less toxicity, more CAR-T", _gmcsf),
    Behaviour(5, "IFN-g antibody: fewer active macrophages, the kill unchanged", _ifng),
    Behaviour(6, "Anakinra: short helps, continuous costs activity", _anakinra),
    Behaviour(7, "IL-5 block helps and costs nothing; etanercept does little", _il5_tnf),
    Behaviour(8, "Dasatinib pauses and does not kill", _dasatinib),
    Behaviour(9, "No macrophages, no CRS", _macrophages),
    Behaviour(10, "Prophylactic dexamethasone lowers severe CRS and spares expansion", _prophylaxis),
    Behaviour(11, "Microglia without TAK1: no ICANS, CRS as before", _tak1),
    Behaviour(
        12, "More burden, dose, inflammation: more of everything; CD28 earlier; a binder that lets go is milder", _monotone
    ),
    Behaviour(13, "JAK inhibitors and ibrutinib lower CRS; much JAK inhibitor costs expansion", _kinases),
    Behaviour(14, "Severe CRS: deeper and longer cytopenia; B cells gone while CAR-T persist", _marrow),
    Behaviour(15, "No state is negative", _numbers),
)


def asked(n: int = 200, seed: int = 1, folder: str | None = None) -> pl.DataFrame:
    """Ask all behaviours: `behaviour, text, part, holds`."""
    lab = Laboratory(n, seed, folder)
    rows = [(b.number, b.text, part, bool(holds)) for b in BEHAVIOURS for part, holds in b.ask(lab)]
    return pl.DataFrame(
        rows, schema={"behaviour": pl.Int64, "text": pl.String, "part": pl.String, "holds": pl.Boolean}, orient="row"
    )


def page(found: pl.DataFrame, n: int, seed: int) -> str:
    """The answers as a page of Markdown."""
    lines = [
        "# Behaviours of the mechanism",
        "",
        f"Printed by `aftercar model behaviours --markdown`: {n} virtual patients an arm, seed {seed}; the same patients go through every arm. Median values",
        "and rates of one simulated population, without intervals. `NO` is a misfit that stands as it was found. While the model was written its structure and",
        "values were changed in sight of behaviours 2, 6, 7, 10, 13 and 14, and later rates and onsets of trials and ranges of cytokine peaks were",
        "fitted (calibration.md). Rates and onsets bear on 1, 2 and 12, ranges on the levels in 3, 8 and 9: that these hold describes the model and validates nothing.",
        "",
        f"{found['holds'].sum()} of {found.height} parts hold.",
        "",
        "| | holds | asked |",
        "| --- | --- | --- |",
    ]
    for row in found.iter_rows(named=True):
        lines.append(f"| {row['behaviour']}. {row['text']} | {'yes' if row['holds'] else '**NO**'} | {row['part']} |")
    return "\n".join(lines) + "\n"
