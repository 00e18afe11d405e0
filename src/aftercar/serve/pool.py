"""The command `evidence pool`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aftercar.errors import AftercarError, OptionError

if TYPE_CHECKING:
    import polars as pl

    from aftercar.report.figures.forest import Own
    from aftercar.synthesis.moderators import Parted, Regression
    from aftercar.synthesis.published import Group


class By(enum.StrEnum):
    """What parts the studies of a scale."""

    product = "product"
    disease = "disease"
    scale = "scale"


class Moderator(enum.StrEnum):
    """What studies are regressed on."""

    product = "product"
    disease = "disease"
    target = "target"
    costim = "costim"
    scale = "scale"
    year = "year"
    n = "n"


def pool(
    endpoint: Annotated[str, typer.Argument(help="Such as crs:3 or crs_g3plus, icans_any, neuro, spm or nrm.")],
    product: Annotated[str | None, typer.Option("--product", help="A product by any of its names.")] = None,
    disease: Annotated[str | None, typer.Option("--disease", help="A disease group, such as LBCL.")] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Also put all scales together, and say so.")] = False,
    by: Annotated[By | None, typer.Option("--by", help="Subgroups, with a test between them.")] = None,
    moderator: Annotated[list[Moderator] | None, typer.Option("--moderator", help="Regress on it. May be repeated.")] = None,
    cohort: Annotated[Path | None, typer.Option("--cohort", help="A results folder, shown beside studies of its scale.")] = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", help="What of the cohort, such as crs:3; as the endpoint says.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A forest plot, FILE.svg or .png, or the numbers, FILE.csv or .json.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Put published rates together within each scale: how high, how far studies differ, and where a further one may lie."""
    from aftercar.report.figures.save import placed
    from aftercar.synthesis import published

    if out is not None and out.suffix.lower() not in (".svg", ".png", ".csv", ".json"):
        raise OptionError(f"{out.name}: the ending says the format, and it is .svg, .png, .csv or .json.")
    if out is not None:
        placed(out)
    name = published.endpoint_named(endpoint)
    if outcome and cohort is None:
        raise OptionError("--outcome is of a cohort: name its results folder by --cohort.")
    own, note = _own(cohort, outcome, name) if cohort else (None, None)  # what is wrong with it is told before the work
    try:
        from aftercar.serve import show_pool

        groups, left_out = published.pool(name, product=product, disease=disease, mix=mix or by is By.scale)
        alone = published.without_counts(name, product=product, disease=disease)
        parts, tests = _compared(groups, by, moderator or [], mix=mix)
    except ImportError:
        raise AftercarError("Published rates are put together with the extra: pip install 'aftercar[statistics]'.") from None
    if not mix:  # of several scales, which were compared
        groups = [g for g in groups if g.scale != published.MIXED]
    if out:
        _write(out, name, groups, parts, tests, alone, left_out, own, note, mix=mix)
    if json_:
        print(json.dumps(_told(name, groups, parts, tests, alone, left_out, own), indent=2, ensure_ascii=False))
        return
    show_pool.pooled(name, groups, parts, tests, alone, own, mix=mix, compare=bool(by or moderator))
    if own is not None:
        from aftercar.serve import show

        show.dataset_note(note, own.simulated)
    if out:
        print(f"Written: {out}" + (f", {out.with_suffix('.csv').name}" if out.suffix.lower() in (".svg", ".png") else ""))


def _compared(
    groups: list[Group], by: By | None, moderators: list[Moderator], *, mix: bool
) -> tuple[dict[str, Parted], list[Regression]]:
    """Subgroups and regressions of each scale; of `scale` itself over all of them, for there it is what is compared."""
    from aftercar.synthesis.moderators import parted, regress
    from aftercar.synthesis.published import MIXED

    whole = [g for g in groups if g.scale == MIXED]
    single = [g for g in groups if g.scale != MIXED]
    parts = (
        {g.scale: parted(g.scale, g.studies, by) for g in (groups if mix else single) if g.studies.height > 1}
        if by and by is not By.scale
        else {}
    )
    tests = [regress(MIXED, g.studies, by) for g in whole if by is By.scale]
    for moderator in moderators:
        of = whole if moderator is Moderator.scale else groups if mix else single
        if moderator is Moderator.scale and not whole and len(single) > 1:
            raise OptionError("Scales are compared across all studies: add --mix.")
        tests += [regress(g.scale, g.studies, moderator) for g in of]
    return parts, tests


def _own(folder: Path, outcome: str | None, endpoint: str) -> tuple[Own, str | None]:
    """The rate of a cohort, and what its dataset says of itself."""
    from aftercar.cohort.outcome import Outcome
    from aftercar.errors import InputError
    from aftercar.grade.results import open_results
    from aftercar.report.figures.forest import endpoint_of, own_rate
    from aftercar.synthesis.published import LATE

    results = open_results(folder)
    stem, _, cut = endpoint.partition("_")
    spoken = f"{stem}:3" if cut.startswith("g3") else stem
    if endpoint in LATE and endpoint != "spm":
        raise OptionError(
            f"No outcome of a cohort is {endpoint}, so that none stands beside it; `aftercar cohort describe` tells of its deaths and second malignancies."
        )
    if outcome is None and stem == "nt":
        raise OptionError(f"No outcome of a cohort is {endpoint} by itself: name one by --outcome, such as neuro_ctcae:3.")
    asked = Outcome.of(outcome or spoken)
    if endpoint_of(asked) != endpoint:
        meant = endpoint_of(asked)
        raise OptionError(
            f"{outcome or spoken} is not {endpoint}" + (f" but {meant}." if meant else ", and no published endpoint is.")
        )
    results.require(asked.scales)
    if results.worst.is_empty():
        raise InputError(f"{folder} holds no course, so that there is nothing to show beside the studies.")
    return own_rate(results.worst, asked, simulated=results.simulated), results.run.get("timeline_note")


def _write(
    out: Path, name: str, groups: list[Group], parts: dict[str, Parted], tests: list[Regression], alone: pl.DataFrame, left_out: list[str], own: Own | None,
    note: str | None, *, mix: bool,
) -> None:  # fmt: skip
    from aftercar.files import write_text
    from aftercar.frames import labelled
    from aftercar.report.figures.forest import forest, sections
    from aftercar.report.figures.save import save
    from aftercar.report.names import endpoint_name

    simulated = own is not None and own.simulated
    shown = sections(groups, own, {scale: p.groups for scale, p in parts.items()}, mix=mix)
    figure = forest(endpoint_name(name), shown, note=note, without_counts=alone)
    kind = out.suffix.lower()
    if kind in (".svg", ".png"):
        save(figure, out, simulated=simulated)
    elif kind == ".csv":
        write_text(out, labelled(figure.data, simulated).write_csv())
    else:
        write_text(out, json.dumps(_told(name, groups, parts, tests, alone, left_out, own), indent=2, ensure_ascii=False) + "\n")


def _told(
    name: str,
    groups: list[Group],
    parts: dict[str, Parted],
    tests: list[Regression],
    alone: pl.DataFrame,
    left_out: list[str],
    own: Own | None,
) -> dict[str, Any]:
    """All of it as a plain dictionary."""
    from dataclasses import asdict

    import polars as pl

    from aftercar.synthesis import published

    every = [*groups, *(g for p in parts.values() for g in p.groups)]
    told: dict[str, Any] = {
        "endpoint": name, "rows": published.rows(name, every).to_dicts(), "tests": [asdict(t) for t in [*(p.test for p in parts.values()), *tests]], "left_out": left_out,
        "without_counts": published.shaped(alone, published.ROWS).with_columns(endpoint=pl.lit(name), studies=pl.lit(1)).to_dicts(),
    }  # fmt: skip
    if own is not None:
        low, high = own.interval
        told["cohort"] = {
            "outcome": own.outcome.name, "scale": own.scale, "events": own.events, "n": own.n, "undecided": own.undecided, "low": low, "high": high,
            "simulated": own.simulated, "note": "Derived by software, not adjudicated; not put together with the studies.",
        }  # fmt: skip
    return told
