"""What `forecast` and `calibrate forecast` print, within 80 columns."""

from __future__ import annotations

import polars as pl
from polars import col

from aftercar.calibrate.coverage import Coverage, summary
from aftercar.calibrate.forecast import BANNER, Forecast
from aftercar.calibrate.likeness import TOXICITIES
from aftercar.calibrate.twins import AHEAD
from aftercar.serve.show import console, rows

_SHOWN = (1, 2, 3, 5, AHEAD)  # days ahead; a file holds them all
_LEVEL = 80
_GRADES = (1, 2, 3, 4)


def forecast(found: Forecast) -> None:
    """The chances of each policy by day, then how policies differ, and what must be said beside them."""
    start = found.asked.start
    console.print(BANNER, style="bold", soft_wrap=True)
    console.print(
        f"{found.twins:,} twins of {start.product} in {start.disease}, from day {start.at_d:.2f}; {found.effective:.0f} effective; "
        f"doses given by then: {len(start.given)}."
    )
    for warning in found.warnings():
        console.print(f"Note: {warning}")
    # Numbers that few twins give look like any others: they are in the file, marked, and not on the screen.
    for toxicity in TOXICITIES if found.tells else ():
        _chances(found.table.filter(toxicity=toxicity), toxicity)
    differences = found.table.filter(days_ahead=AHEAD).drop_nulls("against")
    if found.tells and differences.height:
        _differences(differences)
    told = ", ".join(f"{name} {days} d" for name, days in found.compared.select("finding", "days").iter_rows() if days)
    console.print(f"Compared with twins: {told or 'nothing'}.")
    console.print("Intervals say how exact so many twins are, not how right the mechanism is. No advice and no prediction.")


def _chances(own: pl.DataFrame, toxicity: str) -> None:
    cells = {(r["policy"], r["days_ahead"], r["measure"]): r for r in own.filter(col("against").is_null()).to_dicts()}
    told: list[tuple[str, ...]] = []
    for policy in own["policy"].unique(maintain_order=True):
        for day in _SHOWN:
            shares = [cells[policy, day, f"P(grade >= {g})"] for g in _GRADES]
            worst = cells[policy, day, f"worst grade, {_LEVEL} %"]
            spread = f"{worst['value']:.0f} ({worst['low']:.0f}-{worst['high']:.0f})"
            told.append((policy, str(day), *(_percent(s) for s in shares), spread))
    columns = ("policy", "days", *(f">= {g}, %" for g in _GRADES), f"worst ({_LEVEL} %)")
    rows(columns, told, title=f"SIMULATED {toxicity.upper()}, worst grade from now on")


def _differences(own: pl.DataFrame) -> None:
    told = [
        (
            r["policy"],
            r["toxicity"].upper(),
            r["measure"].split("grade ")[1].rstrip(")"),
            _points(r["value"]),
            f"{_points(r['low'])} to {_points(r['high'])}",
            r["finds"],
        )
        for r in own.to_dicts()
    ]
    against = own["against"][0]
    rows(
        ("policy", "of", "grade", "points", "95 %", "finds"), told,
        title=f"SIMULATED difference from {against}, {AHEAD} days ahead, in %",
    )  # fmt: skip


def _percent(row: dict[str, float]) -> str:
    return f"{100 * row['value']:.0f} ({100 * row['low']:.0f}-{100 * row['high']:.0f})"


def _points(share: float) -> str:
    return f"{round(100 * share):+d}"


def coverage(found: Coverage) -> None:
    """How often intervals held the truth, and chances beside what happened."""
    console.print(BANNER, style="bold", soft_wrap=True)
    rows(
        ("toxicity", "interval, %", "records", "inside, %", "95 %"),
        [
            (
                r["toxicity"],
                str(r["level"]),
                str(r["n"]),
                f"{100 * r['share']:.0f}",
                f"{100 * r['low']:.0f}-{100 * r['high']:.0f}",
            )
            for r in found.intervals.to_dicts()
        ],
        title="SIMULATED records: central intervals of the worst grade of seven days",
    )
    rows(
        ("toxicity", "told, %", "records", "mean told, %", "had it, %", "95 %"),
        [
            (r["toxicity"], f"{100 * r['from']:.0f}-{100 * r['to']:.0f}", str(r["n"]), f"{100 * r['forecast']:.0f}",
             f"{100 * r['had'] / r['n']:.0f}", f"{100 * r['low']:.0f}-{100 * r['high']:.0f}")
            for r in found.reliability.to_dicts()
        ],
        title="Chance of grade 2 or more, of records that were below it",
    )  # fmt: skip
    for r in found.skill.to_dicts():
        skill = "" if r["skill"] is None else f": {100 * r['skill']:.0f} % less"
        console.print(
            f"{r['toxicity']}: mean squared error of that chance {r['brier']:.3f}, of the share of all twins {r['brier_of_all']:.3f}{skill}"
        )
    size = summary(found)
    console.print(
        f"Effective twins: median {size['effective_50']:.0f} (5th to 95th centile {size['effective_5']:.0f} to {size['effective_95']:.0f}); "
        f"99 in 100 records lie within {size['misfit_99']:.2f} widths of theirs; of {size['cannot_tell']} of {len(found.effective)} the data cannot tell."
    )
    console.print("Records and twins come from one mechanism: this checks the inference, not the mechanism.")
