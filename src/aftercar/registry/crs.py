"""Answers on CRS: what was charted from its onset to its resolution, by the ASTCT table; what is put down to another cause does not count."""

from __future__ import annotations

import polars as pl
from polars import col, lit

from aftercar.grade import findings
from aftercar.grade.crs import CRS_ASTCT_2019
from aftercar.grade.findings import LEAN, POSITIVE_PRESSURE, RICH
from aftercar.registry import syndrome
from aftercar.registry.charted import Charted, answers, first_of, of_all, of_first
from aftercar.registry.forms import UNKNOWN
from aftercar.timeline.concepts import concepts, of_group
from aftercar.timeline.state import infusions

SCALES = (CRS_ASTCT_2019.name,)
FEVER = 38.0 - 1e-6  # Cel: 38.0 counts, whatever it was converted from
STEROIDS = of_group("corticosteroid")
NAMED = {
    "tocilizumab": "tocilizumab",
    "siltuximab": "siltuximab",
    "anakinra": "anakinra",
    **dict.fromkeys(STEROIDS, "corticosteroids"),
}
OTHERS = (*of_group("antibody"), *of_group("jak_inhibitor"), *of_group("kinase_inhibitor"), "etoposide")
PRESSORS = (*of_group("vasopressor"), *of_group("vasopressin_like"))
BP_OTHERS = (*of_group("inodilator"), *of_group("pressure_adjunct"))
FLUIDS = of_group("fluid")
SHOWN_BY = ("temperature", "sbp", "map", "o2_device")  # what a charting without a sign of CRS consists of
CODES = (*NAMED, *OTHERS, *PRESSORS, *BP_OTHERS, *FLUIDS)
NOT_CHARTED = "not charted at some time of it"


def derive(charted: Charted) -> dict[str, pl.DataFrame]:
    """All answers on CRS by the name of the derivation."""
    pressure, oxygen = _pressure(charted), _oxygen(charted)
    return {
        "crs.present": syndrome.present(charted, SCALES, "CRS"),
        "crs.onset": syndrome.onset(charted, SCALES),
        "crs.reported": syndrome.reported(charted, SCALES),
        "crs.grade": syndrome.highest(charted, SCALES),
        "crs.resolved": syndrome.resolved(charted, SCALES, SHOWN_BY),
        "crs.fever": _fever(charted),
        **therapy(charted, "crs", SCALES, NAMED, OTHERS),
        **pressure,
        **oxygen,
    }


def states(charted: Charted) -> pl.DataFrame:
    """Pressure, vasopressors and oxygen during CRS, a row a stretch of a case: `case, at, until` and what `findings.states` knows."""
    return charted.once("crs states", lambda: charted.within(_intervals(charted), charted.spans(*SCALES)))


def _intervals(charted: Charted) -> pl.DataFrame:
    frame = findings.states(charted.rec, charted.options)
    after = pl.when(col("course").shift(-1) == col("course")).then(col("at").shift(-1)).otherwise(col("last_at") + 1)
    return frame.with_columns(until=after)


def known_drugs(charted: Charted, spans: pl.DataFrame) -> pl.DataFrame:
    """Cases in whose spans the record of drugs is complete throughout: `case`."""
    covered = findings.covered(charted.rec, "drugs").with_columns(course=col("at") // findings.SPAN)
    held = (
        charted.within(covered.select("course", "at", "until"), spans).group_by("case").agg(had=(col("until") - col("at")).sum())
    )
    whole = spans.group_by("case").agg(wanted=(col("end") - col("begin")).sum())
    return whole.join(held, on="case", how="inner").filter(col("had") >= col("wanted")).select("case")


def given(charted: Charted, codes: tuple[str, ...], spans: pl.DataFrame) -> pl.DataFrame:
    """Doses and infusions of drugs within spans, the end of a span included: `case, at, code, event_id, prophylaxis`."""
    rows = charted.events(*codes).filter(col("numeric_value").fill_null(1.0) != 0)
    rows = rows.join(spans.select("case", "begin", "end"), on="case", how="inner", maintain_order="left")
    rows = rows.filter(col("at").is_between("begin", "end"))
    prophylaxis = (col("text_value") == "prophylaxis").fill_null(False)
    return rows.select("case", "at", "code", "event_id", prophylaxis=prophylaxis).unique(maintain_order=True)


def therapy(
    charted: Charted, part: str, scales: tuple[str, ...], named: dict[str, str], others: tuple[str, ...], *, prophylaxis: bool = True
) -> dict[str, pl.DataFrame]:  # fmt: skip
    """Drugs given from onset to resolution: whether, which of the named, and which others.

    Args:
        named: drug -> answer of the form.
        prophylaxis: whether prophylaxis that goes on after onset counts.
    """
    spans = charted.spans(*scales)
    rows = given(charted, (*named, *others), spans).filter(lit(prophylaxis) | ~col("prophylaxis"))
    rows = rows.with_columns(which=col("code").replace_strict(named, default="other", return_dtype=pl.String))
    known = known_drugs(charted, spans)
    told = pl.format("given from onset to resolution: {}", _listed(col("code")))
    none, open_ = (
        "none of them from onset to resolution, in a complete record of drugs",
        "the record of drugs is not said to be complete",
    )
    no, unknown = answers(known, "no", none), answers(spans.unique("case", maintain_order=True), UNKNOWN, open_)
    other = rows.filter(col("which") == "other")
    return {
        f"{part}.therapy": first_of(of_all(rows, "yes", told), no, unknown),
        f"{part}.drugs": first_of(
            of_all(rows, col("which").unique().sort().str.join("; "), told), answers(known, "none", none), unknown
        ),
        f"{part}.other_drug": first_of(
            of_all(other, _listed(col("code")), "given from onset to resolution"), answers(known, "none", none), unknown
        ),
    }


def _listed(code: pl.Expr) -> pl.Expr:
    """The labels of different drugs, one after the other."""
    labels = {name: c.label for name, c in concepts().items() if c.kind == "drug"}
    return code.replace_strict(labels, default=code, return_dtype=pl.String).unique().sort().str.join(", ")


def _fever(charted: Charted) -> pl.DataFrame:
    rows = charted.events("temperature")
    rows = rows.join(charted.spans(*SCALES).select("case", "begin", "end"), on="case", how="inner").filter(
        col("at").is_between("begin", "end") & col("numeric_value").is_not_null()
    )
    hot = of_first(rows.filter(col("numeric_value") >= FEVER), "first temperature of 38.0 C or more")
    cool = answers(rows.unique("case", maintain_order=True), "no", "no temperature of 38.0 C or more during CRS")
    return first_of(hot, cool, _open(charted, "no temperature is charted during it"))


def _open(charted: Charted, why: str) -> pl.DataFrame:
    return answers(charted.spans(*SCALES).unique("case", maintain_order=True), UNKNOWN, why)


# ---- pressure


def _pressure(charted: Charted) -> dict[str, pl.DataFrame]:
    """Hypotension that needed therapy, and which therapy it was."""
    frame, spans = states(charted), charted.spans(*SCALES)
    known = known_drugs(charted, spans)
    agents = charted.within(infusions(charted.rec, list(PRESSORS)), spans)
    fluids, others = (given(charted, codes, spans) for codes in (FLUIDS, BP_OTHERS))
    low = frame.filter(col("hypotension").fill_null(False)).select("case", "at", event_id="bp_event_id")
    signs = pl.concat([low, agents.select("case", "at", "event_id")])
    treated = pl.concat([t.select("case") for t in (agents, fluids, others)]).unique()
    unseen = frame.filter(col("hypotension").is_null()).select("case").unique()
    never = (
        spans.select("case").unique(maintain_order=True).join(signs, on="case", how="anti").join(unseen, on="case", how="anti")
    )
    untreated = signs.join(treated, on="case", how="anti")
    no_drugs = "none during CRS, in a complete record of drugs"
    unknown = _open(charted, "the record of drugs is not said to be complete")
    running = of_all(agents, "yes", pl.format("during CRS: {}", _listed(col("code"))))
    number = pl.when(col("code").n_unique() >= 2).then(lit("2_or_more")).otherwise(lit("1"))
    return {
        "crs.low_bp": first_of(
            of_first(
                signs.join(treated, on="case", how="semi"), "first low pressure or vasopressor during CRS, and therapy for it"
            ),
            answers(
                untreated.select("case").unique().join(known, on="case", how="semi"),
                "no",
                "low pressure, and no therapy in a complete record of drugs",
            ),
            answers(untreated.select("case").unique(), UNKNOWN, "low pressure; whether it was treated is not said to be charted"),
            answers(never, "no", "pressure was never low while CRS went on, and no vasopressor ran"),
            _open(charted, f"blood pressure was {NOT_CHARTED}"),
        ),
        "crs.fluids": first_of(of_first(fluids, "a fluid bolus during CRS"), answers(known, "no", no_drugs), unknown),
        "crs.pressors": first_of(running, answers(known, "no", no_drugs), unknown),
        "crs.pressors_n": of_all(agents, number, pl.format("{} different: {}", col("code").n_unique(), _listed(col("code")))),
        "crs.bp_other": first_of(
            of_all(others, "yes", pl.format("during CRS: {}", _listed(col("code")))), answers(known, "no", no_drugs), unknown
        ),
        "crs.bp_other_what": of_all(others, _listed(col("code")), "during CRS"),
        "crs.bp_controlled": _controlled(charted, frame, agents),
    }


def _controlled(charted: Charted, frame: pl.DataFrame, agents: pl.DataFrame) -> pl.DataFrame:
    """How pressure stood when CRS ended."""
    last = frame.sort("case", "at").group_by("case", maintain_order=True).last()
    running = agents.group_by("case").agg(stopped=col("until").max())
    last = charted.case_column(last.join(running, on="case", how="left", maintain_order="left"), "death")
    on = (col("stopped") >= col("end")).fill_null(False)
    ended = (
        charted.spans(*SCALES)
        .group_by("case")
        .agg(col("end").max())
        .join(charted.bounds, on="case")
        .filter(col("end") < col("to_at"))
    )
    seen = col("case").is_in(ended["case"].implode())
    answer = (
        pl.when(seen & (col("hypotension") == False) & ~on).then(lit("yes"))  # noqa: E712
        .when(~seen & col("death").is_not_null() & ((col("hypotension") == True) | on)).then(lit("no"))  # noqa: E712
        .otherwise(lit(UNKNOWN))
    )  # fmt: skip
    reason = (
        pl.when(answer == "yes").then(lit("normal pressure without a vasopressor when CRS ended"))
        .when(answer == "no").then(lit("the patient died with low pressure or on a vasopressor"))
        .otherwise(lit("neither normal pressure at the end of CRS nor a low one at death is charted"))
    )  # fmt: skip
    return answers(last, answer, reason, ids=pl.concat_list("bp_event_id").list.drop_nulls())


# ---- oxygen


def _oxygen(charted: Charted) -> dict[str, pl.DataFrame]:
    """Oxygen by its share and by pressure; a device whose share is not known leaves both open."""
    frame = states(charted)
    ids = pl.concat_list("o2_event_id", "o2_flow_event_id", "fio2_event_id").list.drop_nulls().list.unique().list.sort()
    frame = frame.with_columns(ids=ids)
    lean, rich = (frame.filter((col("share") == share) & (col("share_upper") == share)) for share in (LEAN, RICH))
    told = {LEAN: "below 40 %", RICH: "of 40 % or more"}
    how = pl.when(col("share_estimated")).then(lit(", estimated from the flow")).otherwise(lit(""))

    def share(found: pl.DataFrame, which: int) -> pl.DataFrame:
        maybe = (col("share").is_null() | (col("share") <= which)) & (col("share_upper") >= which).fill_null(True)
        opened = frame.filter(maybe & ~((col("share") == 0) & (col("share_upper") == 0)))
        never = frame.select("case").unique(maintain_order=True).join(opened.select("case"), on="case", how="anti")
        some = opened.filter(col("share") >= LEAN)
        return first_of(
            of_first(found.select("case", "at", "ids", how=how), pl.format("first oxygen {}{}", lit(told[which]), "how")),
            answers(never, "no", f"no oxygen {told[which]} while CRS went on"),
            answers(
                some.unique("case", maintain_order=True), UNKNOWN, "oxygen whose share is not charted, nor a flow that tells it"
            ),
            _open(charted, f"oxygen was {NOT_CHARTED}"),
        )

    pushed = frame.filter(col("o2") == POSITIVE_PRESSURE)
    maybe = frame.filter(col("o2_upper").fill_null(POSITIVE_PRESSURE) >= POSITIVE_PRESSURE)
    never = frame.select("case").unique(maintain_order=True).join(maybe, on="case", how="anti")
    return {
        "crs.o2_lean": share(lean, LEAN),
        "crs.o2_rich": share(rich, RICH),
        "crs.ppv": first_of(
            of_first(pushed.select("case", "at", "ids"), "first positive pressure during CRS"),
            answers(never, "no", "no positive pressure while CRS went on"),
            _open(charted, f"oxygen was {NOT_CHARTED}"),
        ),
    }
