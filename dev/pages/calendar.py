"""A page of the calendar of late effects: every item with its dates, windows, conditions and source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from aftercar.manage.fields import STRENGTH
from aftercar.manage.items import ENDINGS, TOPICS, Item, calendar_items
from pages.text import LEGEND, bibliography, code, codes, listed, marked, page, plain


def page_parts(items: tuple[Item, ...]) -> Iterator[str]:
    """A section a topic, a subsection an item."""
    for topic, group in groupby(items, key=lambda i: i.topic):
        yield f"## {TOPICS[topic]}"
        for item in group:
            yield f"### {item.id}"
            yield f"{plain(item.todo)} {marked(item.basis.mark)}"
            yield _item(item)


def _item(item: Item) -> str:
    between = " and " if item.together else " or "
    return listed({
        "Due": plain(item.schedule),
        "Window": f"from {item.early.text} before to {item.late.text} after",
        "Given up": f"{item.closes.text} after" if item.closes else "",
        "Done by": between.join(code(f"{a.code} {a.word}".strip()) for a in item.done_by),
        "For": "" if item.when.text == "always" else plain(item.when.text),
        "Stops": plain(item.stop.text) if item.stop else "",
        "Ends with": ", ".join(ENDINGS[e] for e in item.ends_with),
        "Note": plain(item.note),
        "Source": f"{code(item.basis.source)}, {plain(item.basis.at)}, {plain(item.basis.date)}; {', '.join(STRENGTH[s] for s in item.basis.strength.split(', '))}",
    })  # fmt: skip


def the_page() -> tuple[str, str]:
    """All items."""
    items = calendar_items()
    return "calendar", page(
        "Items of the calendar",
        f"{len(items)} items in {len({i.topic for i in items})} topics, made from the file that `aftercar calendar` reads. A schedule to look at, never an order. Days, months and "
        "years count from the infusion; what a status means is told in [the calendar of late effects](../calendar.md). " + LEGEND,
        "    aftercar rules --calendar",
        *page_parts(items),
        "## Sources",
        bibliography(i.basis.source for i in items),
        f"Concepts that show that something was done: {codes(sorted({a.code for i in items for a in i.done_by}))}.",
    )
