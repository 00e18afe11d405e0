"""All patients of the ward, or those of a product and disease, counted together."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from aftercar.errors import OptionError
from aftercar.report import cohort as counted
from aftercar.report import cohort_figures
from aftercar.web import cohort, render
from aftercar.web.access import Reader, TheWard

router = APIRouter(prefix="/cohort", include_in_schema=False)

_REGRADINGS = cohort.Regradings()


@router.get("")
def see(
    request: Request, ward: TheWard, person: Reader, product: str = "", disease: str = "", first: str = "", second: str = ""
) -> Response:  # fmt: skip
    """Worst grades, incidence, onset, duration and completeness; with `first` and `second` how grades move from the one scale to the other."""
    found = cohort.gathered(ward, product, disease)
    chosen = {"product": product, "disease": disease, "first": first, "second": second}
    ward.note(person, "cohort.read", detail={"patients": 0 if found is None else len(found.people)})
    if found is None or found.subjects.is_empty():
        return render.page(
            request, "cohort.html.j2", person, found=found, chosen=chosen, pairs=cohort.pairs(), shift=None, shown=False
        )
    shift = _shift(ward, found, first, second) if first and second else None
    return render.page(
        request, "cohort.html.j2", person, found=found, chosen=chosen, shown=True, **_counted(found), days=cohort.DAYS, most_listed=counted.MOST_LISTED,
        pairs=cohort.pairs(), shift=shift, made_up=any(p.made_up for p in found.people),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _counted(found: cohort.Cohort) -> dict[str, Any]:
    """The tables and figures of a cohort; once, however often it is looked at."""
    charted, blank = counted.charted(found.worst)
    table, curves = counted.worst_table(charted), cohort.incidence(found)
    return {
        "table": table, "blank": blank, "diagnoses": counted.diagnoses(charted), "worst_figure": Markup(cohort_figures.worst_svg(table)),
        "incidence": cohort.incidence_table(curves), "incidence_figure": Markup(cohort_figures.incidence_svg(curves)),
        "timing": counted.timing_table(found.episodes), "onset_figure": Markup(cohort_figures.onset_svg(found.episodes)),
        "unsettled": counted.unsettled(charted), "completeness": cohort.completeness(found),
    }  # fmt: skip


def _shift(ward: TheWard, found: cohort.Cohort, first: str, second: str) -> dict[str, Any]:
    """What the page says of two scales.

    Raises:
        OptionError: they cannot be compared.
    """
    names = {family: (toxicity, name) for toxicity, families in cohort.pairs().items() for family, name in families}
    if first not in names or second not in names or first == second or names[first][0] != names[second][0]:
        raise OptionError("Choose two different scales of one toxicity.")
    result = _REGRADINGS.shift(ward, found.people, first, second)
    columns, rows = cohort.shift_table(result)
    return {
        "from": names[first][1], "to": names[second][1], "columns": columns, "rows": rows, "agreement": result.agreement.row(0, named=True),
        "incidence": result.incidence.to_dicts(),
    }  # fmt: skip
