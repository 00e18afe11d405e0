"""A design from TOML; what is wrong with it is told with file, place and what to do."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from aftercar.errors import OptionError, nearest
from aftercar.files import read_text, toml_of
from aftercar.grade.options import Options
from aftercar.timeline.concepts import concepts
from aftercar.told import Wrong, field_of, need, only, read_as, reading, several, share, table_of
from aftercar.trial.design import (
    Accrual,
    Arm,
    Comparison,
    Criterion,
    Design,
    Endpoint,
    Null,
    Population,
    Randomisation,
    Stop,
    Stopping,
    Stratum,
    ratio,
)
from aftercar.trial.told import check_parts, check_stopping, components, without_day


def read_design(path: Path | str) -> Design:
    """Read a design.

    Raises:
        InputError: the file is not there, is not TOML, or says something that cannot be: where, and what to do.
    """
    file = Path(path)
    return design_of(read_text(file), file.name, file.parent)


def design_of(text: str, name: str = "design.toml", folder: Path = Path()) -> Design:
    """A design from its text.

    Args:
        name: what messages call it.
        folder: where a model that it names begins.
    Raises:
        InputError: as `read_design`.
    """
    told = toml_of(text, name)
    with reading(name, "docs/trial.md"):
        design = _design(told, text, folder)
        _check(design)
    return design


# ---- reading


_TABLES = ("population", "arm", "endpoint", "test", "randomisation", "eligibility", "stopping", "accrual", "null")


def _design(told: dict[str, Any], text: str, folder: Path) -> Design:
    only(told, ("title", *_TABLES), "the file")
    for name in ("population", "arm", "endpoint", "test"):
        if name not in told:
            raise Wrong(f"[{name}]: is missing.")
    spread = table_of(told.get("randomisation", {}), "randomisation")
    strata = several(Stratum, spread.get("stratum", []), "randomisation.stratum")
    endpoint = table_of(told["endpoint"], "endpoint")
    stopping = table_of(told.get("stopping", {}), "stopping")
    return Design(
        title=field_of(str, told.get("title", "A trial without a title"), "title"),
        population=read_as(Population, told["population"], "population"),
        arms=several(Arm, told["arm"], "arm"),
        endpoint=read_as(Endpoint, without_day(endpoint), "endpoint", any_of=components(endpoint, "endpoint")),
        test=read_as(Comparison, told["test"], "test"),
        randomisation=read_as(Randomisation, spread, "randomisation", stratum=strata),
        eligibility=several(Criterion, told.get("eligibility", []), "eligibility"),
        stopping=read_as(
            Stopping, without_day(stopping), "stopping", any_of=components(stopping, "stopping"),
            at=several(Stop, stopping.get("at", []), "stopping.at"),
        ) if "stopping" in told else None,
        accrual=read_as(Accrual, told["accrual"], "accrual") if "accrual" in told else None,
        null=read_as(Null, told.get("null", {}), "null"),
        text=text,
        beside=folder,
    )  # fmt: skip


# ---- what cannot be


def _check(design: Design) -> None:
    _arms(design)
    _endpoint(design.endpoint)
    check_parts(design.stopping.any_of if design.stopping else (), "stopping")
    _baseline(design)
    _randomisation(design)
    _test(design)
    if design.stopping is not None:
        _stopping(design, design.stopping)
    if design.accrual is not None:
        need(0 < design.accrual.per_week < math.inf, "accrual.per_week: must be above 0.")


def _arms(design: Design) -> None:
    names = [arm.name for arm in design.arms]
    need(bool(names), "arm: a trial has one arm at least: [[arm]].")
    for n, arm in enumerate(design.arms, 1):
        # Columns of the tables are called by it.
        need(
            re.fullmatch(r"[A-Za-z]\w*", arm.name) is not None,
            f"arm {n}.name: {arm.name!r}: letters, digits and _, a letter first.",
        )
        need(arm.name not in names[: n - 1], f"arm {n}.name: {arm.name!r} is there already.")
        need(arm.n > 0, f"arm {n}.n: must be above 0.")


def _endpoint(endpoint: Endpoint) -> None:
    need(bool(endpoint.any_of), 'endpoint.any_of: names no toxicity; write any_of = [{ scale = "crs", grade = 3 }].')
    check_parts(endpoint.any_of, "endpoint")
    try:
        Options(endpoint.options)
    except OptionError as error:
        raise Wrong(f"endpoint.options: {error}") from None


def _baseline(design: Design) -> None:
    rows = [(f"eligibility {n}", c) for n, c in enumerate(design.eligibility, 1)]
    rows += [(f"randomisation.stratum {n}", s) for n, s in enumerate(design.randomisation.stratum, 1)]
    for where, row in rows:
        need(
            (row.charted is None) != (row.patient is None),
            f"{where}: name either a value that is `charted`, or one of the `patient`.",
        )
        known = concepts()
        if row.charted is not None and row.charted not in known:
            raise Wrong(f"{where}.charted: there is no concept {row.charted!r}. {nearest(row.charted, known)}")
        if isinstance(row, Criterion):
            need(row.least <= row.most, f"{where}: `least` is above `most`.")
            need(row.least > -math.inf or row.most < math.inf, f"{where}: give `least`, `most` or both.")
        else:
            need(bool(row.cuts) and list(row.cuts) == sorted(set(row.cuts)), f"{where}.cuts: must be numbers that rise.")


def _randomisation(design: Design) -> None:
    told, least = design.randomisation, sum(ratio(design))
    if told.method == "simple":
        need(not told.blocks and not told.stratum, 'randomisation: blocks and strata need method = "blocks".')
    for size in told.blocks:
        shown = ":".join(map(str, ratio(design)))
        need(
            size > 0 and size % least == 0,
            f"randomisation.blocks: {size} does not hold the arms {shown}; take a multiple of {least}.",
        )
    need(not told.stratum or bool(told.blocks), "randomisation.blocks: strata need the sizes of their blocks, such as [4, 6].")


def _test(design: Design) -> None:
    test, arms = design.test, len(design.arms)
    share(test.alpha, "test.alpha")
    one = test.method == "exact_binomial"
    need(
        one == (arms == 1),
        f"test.method: {test.method} is for {'one arm' if one else 'two arms or more'}, and there {'is 1' if arms == 1 else f'are {arms}'}.",
    )
    if one:
        share(test.rate, "test.rate")
    need(one or test.rate is None, "test.rate: is what one arm is held against; several arms are held against the first.")
    if test.method == "farrington_manning":
        share(test.margin, "test.margin")
        need(
            test.asked == "lower", "test.sides: non-inferiority asks whether the rate is lower than the control's and the margin."
        )
    need(test.method == "farrington_manning" or test.margin is None, 'test.margin: is for method = "farrington_manning".')
    need(arms < 3 or test.adjust is not None, 'test.adjust: several comparisons: say "bonferroni", or "none".')


def _stopping(design: Design, told: Stopping) -> None:
    names = [arm.name for arm in design.arms]
    for name in told.arms:
        need(name in names, f"stopping.arms: there is no arm {name!r}. {nearest(name, names)}")
    most = max(design.arms[k].n for k in design.monitored)
    check_stopping(told, most)
