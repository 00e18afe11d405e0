"""Endpoints and stopping rules from a TOML; what cannot be is told with place and what to do."""

from __future__ import annotations

from typing import Any

from aftercar.errors import OptionError
from aftercar.grade.run import scales_named
from aftercar.told import Wrong, listed, need, several, share, table_of
from aftercar.trial.design import Component, Stopping


def components(told: dict[str, Any], where: str) -> tuple[Component, ...]:
    """The parts of an endpoint; one that names no day has that of the whole."""
    where = f"{where}.any_of"
    whole = {k: told[k] for k in ("by_day",) if k in told}
    return several(Component, [whole | table_of(part, where) for part in listed(told.get("any_of", []), where)], where)


def without_day(told: dict[str, Any]) -> dict[str, Any]:
    """An endpoint without the day that its parts have from it."""
    return {k: v for k, v in told.items() if k != "by_day"}


def check_parts(parts: tuple[Component, ...], table: str) -> None:
    """Refuse parts of an endpoint that no scale, grade or day can be."""
    for n, part in enumerate(parts, 1):
        where = f"{table}.any_of {n}"
        try:
            found = {s.toxicity for s in scales_named([part.scale])}
        except OptionError as error:
            raise Wrong(f"{where}.scale: {error}") from None
        need(
            len(found) == 1,
            f"{where}.scale: {part.scale!r} names scales of several toxicities ({', '.join(sorted(found))}); name one.",
        )
        need(1 <= part.grade <= 5, f"{where}.grade: must be 1 to 5.")
        need(0 <= part.by_day <= 3650, f"{where}.by_day: must be 0 to 3650.")


def check_stopping(told: Stopping, most: int) -> None:
    """Refuse a rule that an arm of `most` patients cannot have."""
    need(told.first > 0 and told.every > 0, "stopping: `first` and `every` count patients, from 1 on.")
    need(told.first <= most, f"stopping.first: the arm has {most} patients.")
    if told.method == "table":
        need(bool(told.at), "stopping.at: is missing; write at = [{ events = 3, of = 6 }].")
        rows = [(s.of, s.events) for s in told.at]
        need(
            rows == sorted(set(rows)) and all(0 < e <= n <= most for n, e in rows),
            f"stopping.at: `of` must rise, up to {most}, and `events` be 1 to `of`.",
        )
        need(len({n for n, _ in rows}) == len(rows), "stopping.at: the same `of` stands there twice.")
        return
    need(not told.at, 'stopping.at: is for method = "table".')
    share(told.limit, "stopping.limit")
    if told.method == "bayes":
        need(min(told.prior) > 0, "stopping.prior: must be two numbers above 0.")
        need((told.certainty is None) != (told.chance is None), "stopping: `bayes` needs either `certainty` or `chance`.")
    need(
        told.certainty is None or told.method == "bayes", 'stopping.certainty: is for method = "bayes"; the others take `chance`.'
    )
    if told.certainty is None:
        share(told.chance, "stopping.chance")
    else:
        share(told.certainty, "stopping.certainty")
