"""All patients of the ward, or those of a product and disease, counted together."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from aftercar.cohort.needs import need_statistics
from aftercar.errors import OptionError
from aftercar.report import cohort as counted
from aftercar.report import cohort_figures
from aftercar.report.figures.sankey import sankey
from aftercar.web import cohort, render
from aftercar.web.access import Reader, TheWard
from aftercar.web.pages.evidence import refs

router = APIRouter(prefix="/cohort", include_in_schema=False)


@router.get("")
def see(
    request: Request, ward: TheWard, person: Reader, product: str = "", disease: str = "", outcome: str = "", cut: str = "1", by: str = "",
    first: str = "", second: str = "",
) -> Response:  # fmt: skip
    """Who they are, worst grades, incidence, onset and duration, deaths and second malignancies, and completeness; with `first` and `second` how grades move from the one scale to the other."""
    need_statistics()
    from aftercar.web import described  # and with it the libraries, at the first page of a cohort

    found = cohort.gathered(ward, product, disease)
    chosen = {"product": product, "disease": disease, "outcome": outcome, "cut": cut, "by": by, "first": first, "second": second}
    ward.note(person, "cohort.read", detail={"patients": 0 if found is None else len(found.cohort.people)})
    shown = found is not None and not found.cohort.subjects.is_empty()
    context: dict[str, Any] = {
        "found": found, "chosen": chosen, "shown": shown, "pairs": cohort.pairs(), "groups": cohort.GROUPS, "shift": None,
        "outcomes": cohort.outcomes(found.cohort) if found else [],
    }  # fmt: skip
    if found is not None and shown:
        own = found.cohort
        told = described.shown(ward, own, f"{outcome}:{cut}" if outcome else None, by or None)
        shift = _shift(ward, own, first, second) if first and second else None
        context |= _counted(own) | {
            "own": own,
            "told": told,
            "refs": refs,
            "days": described.DAYS,
            "cuts": described.CUTS,
            "shift": shift,
        }
    return render.page(request, "cohort.html.j2", person, **context)


@lru_cache(maxsize=8)
def _counted(found: cohort.Cohort) -> dict[str, Any]:
    """What is told whatever outcome is asked for; once, however often it is looked at."""
    charted, blank = counted.charted(found.worst)
    table = counted.worst_table(charted)
    return {
        "table": table, "blank": blank, "diagnoses": counted.diagnoses(charted), "worst_figure": Markup(cohort_figures.worst_svg(table)),
        "timing": counted.timing_table(found.episodes), "onset_figure": Markup(cohort_figures.onset_svg(found.episodes)),
        "unsettled": counted.unsettled(charted), "completeness": cohort.completeness(found), "most_listed": counted.MOST_LISTED,
    }  # fmt: skip


def _shift(ward: TheWard, found: cohort.Cohort, first: str, second: str) -> dict[str, Any]:
    """What the page says of two scales.

    Raises:
        OptionError: they cannot be compared.
    """
    names = {family: (toxicity, name) for toxicity, families in cohort.pairs().items() for family, name in families}
    if first not in names or second not in names or first == second or names[first][0] != names[second][0]:
        raise OptionError("Choose two different scales of one toxicity.")
    result = cohort.REGRADINGS.shift(ward, found, first, second)
    columns, rows = cohort.shift_table(result)
    return {
        "from": names[first][1], "to": names[second][1], "columns": columns, "rows": rows, "agreement": result.agreement.row(0, named=True),
        "incidence": result.incidence.to_dicts(), "figure": Markup(sankey(result).svg),
    }  # fmt: skip
