"""The page of a registry draft: every course with its answers, and the source line of each field that an audit looks up."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup
from polars import col

from aftercar.registry.draft import HANGS, KEY, Draft
from aftercar.report.page import resource, template

LIMIT = 200  # courses with a section of their own
_REVIEW = {
    "open": "", "accepted": "accepted", "corrected": "corrected", "marked_unknown": "marked unknown", "changed": "changed since accepted", "not_asked": "",
}  # fmt: skip


def registry_page(draft: Draft, rows: pl.DataFrame, limit: int = LIMIT) -> str:
    """The page, of the first `limit` courses.

    Args:
        rows: `decisions.reviewed`.
    """
    fields = {f.id: f for f in draft.form.fields}
    courses = draft.courses.select("subject_id", "infusion", "day0", "product")
    shown = courses.head(limit)
    own = rows.join(shown, on=["subject_id", "infusion"], how="inner", maintain_order="left").filter(
        col("status").cast(pl.String) != "not_asked"
    )
    sections: dict[tuple[Any, ...], dict[str, Any]] = {
        (c["subject_id"], c["infusion"]): c | {"periods": {}, "n": n} for n, c in enumerate(shown.iter_rows(named=True), start=1)
    }
    for row in own.iter_rows(named=True):
        told = row | {"review": _REVIEW[str(row["review"])], "critical": fields[row["field"]].critical}
        sections[row["subject_id"], row["infusion"]]["periods"].setdefault(row["period"], []).append(told)
    for section in sections.values():
        for period, answers in section["periods"].items():
            hanging = [r for r in answers if r["reason"].startswith(HANGS) and not r["review"]]
            section["periods"][period] = {"answers": [r for r in answers if r not in hanging], "hanging": len(hanging)}
    counts = rows.group_by("review").len().sort("review")
    return template("registry.html.j2").render(
        css=Markup(resource("page.css")),
        facts=draft.facts,
        form=draft.form,
        simulated=draft.simulated,
        counts={str(name).replace("_", " "): n for name, n in counts.iter_rows()},
        sections=list(sections.values()),
        n_courses=courses.height,
        n_answers=rows.select(KEY).height,
        marks={"V": "read in the source named", "M": "from memory: confirm before use"},
    )
