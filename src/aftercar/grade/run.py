"""Grade a timeline: frames in, frames out; or a folder of shards in, a folder of results out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars import col, lit

from aftercar import __version__
from aftercar.errors import InputError, OptionError, nearest
from aftercar.files import replace_folder
from aftercar.grade import (
    b_cells,
    colitis,
    crs_others,
    ctcae,
    cytopenia,
    hlh,
    hscore,
    iechs,
    neuro_late,
    neuro_others,
    off_tumour,
    recovery,
    spm,
    table,
    ticaht,
)
from aftercar.grade.adjudicate import adjudicated
from aftercar.grade.course import blank_rows
from aftercar.grade.crs import CRS_ASTCT_2019
from aftercar.grade.days import ever
from aftercar.grade.icaht import ICAHT_EARLY, ICAHT_LATE
from aftercar.grade.icans import ICANS_ASTCT, ICANS_ASTCT_PEDS
from aftercar.grade.options import OPTIONS, Options
from aftercar.grade.scale import Scale, assess, beside, episodes
from aftercar.grade.worst import worst
from aftercar.timeline import subjects as subject_rows
from aftercar.timeline.schema import REJECTED, conform
from aftercar.timeline.state import record
from aftercar.timeline.statements import last_hash, read_statements, verify
from aftercar.timeline.store import Store, open_timeline
from aftercar.timeline.subjects import subjects

SCALES: dict[str, Scale] = {
    s.name: s
    for s in (
        CRS_ASTCT_2019, *crs_others.SCALES,
        ICANS_ASTCT, ICANS_ASTCT_PEDS, *neuro_others.SCALES,
        *iechs.SCALES, *hlh.SCALES, *hscore.SCALES,
        ICAHT_EARLY, ICAHT_LATE, *ticaht.SCALES, *recovery.SCALES, *cytopenia.SCALES,
        *b_cells.SCALES, *colitis.SCALES, *neuro_late.SCALES, *spm.SCALES, *off_tumour.SCALES,
        *ctcae.SCALES,
    )
}  # fmt: skip
SHARDS_AT_ONCE = 2  # memory is that of so many shards


@dataclass(frozen=True)
class Result:
    """The tables of one grading: `docs/tables.md` describes each."""

    grades: pl.DataFrame
    episodes: pl.DataFrame
    worst: pl.DataFrame
    subjects: pl.DataFrame


def scales_named(names: Iterable[str] | None, *, others: bool = False) -> list[Scale]:
    """Scales by name or toxicity (`crs`: its default scale, with `others` every one); `all` of them; without names the default scale of
    each toxicity.

    Raises:
        OptionError: there is none of that name.
    """
    if not names:
        return [s for s in SCALES.values() if s.default]
    names = [names] if isinstance(names, str) else names
    chosen: dict[str, Scale] = {}
    for name in names:
        found = [s for s in SCALES.values() if name in ("all", s.name) or ((s.default or others) and name == s.toxicity)]
        if name == "icaht":
            found = [s for s in SCALES.values() if s.toxicity.startswith("icaht")]
        found = found or named_in_part(name)
        if not found:
            known = {*SCALES, *(s.toxicity for s in SCALES.values()), "all"}
            raise OptionError(f"No scale is called {name!r}. {nearest(name, known)}")
        chosen |= {s.name: s for s in found}
    return [s for s in SCALES.values() if s.name in chosen]


def named_in_part(name: str) -> list[Scale]:
    """The scales that people mean by a part of a name: `lee2014`, `lee`, `ctcae`."""
    said = name.strip().lower().replace("-", "_")
    return [s for s in SCALES.values() if said and f"_{said}" in f"_{s.name}"]


def grade_timeline(
    timeline: pl.DataFrame | pl.LazyFrame,
    scales: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Result:
    """Grade whole subjects.

    Args:
        timeline: the columns of `docs/tables.md`; any MEDS frame whose codes are our concepts will do.
        scales: names of scales or toxicities, or `all`; by default the default scale of each toxicity.
        options: those that differ from the default.
    Raises:
        InputError: the frame is no timeline.
        OptionError: a scale, option or value that does not exist.
    """
    frame = timeline.collect() if isinstance(timeline, pl.LazyFrame) else timeline
    chosen = options if isinstance(options, Options) else Options(options)
    return _grade(conform(frame).lazy(), scales_named(scales), chosen)


def _grade(charted: pl.LazyFrame, scales: list[Scale], options: Options) -> Result:
    codes = sorted({c for s in scales for c in s.codes})
    # Most rows of a record are of no concern to these scales: they are read once, for where each record ends.
    wanted = charted.filter(col("code").is_in([*codes, *subject_rows.CODES]) | (col("attributable_to") == "iec"))
    ends, timeline = pl.collect_all([subject_rows.record_ends(charted), wanted])
    timeline = conform(timeline)
    courses = subjects(timeline, options["day0"], ends)
    rec = record(timeline, courses, codes, exclude_unknown=options["unknown_attribution"] == "exclude")
    over_time, windows, behind = [], [], []
    states: dict[Callable[..., pl.DataFrame], pl.DataFrame] = {}
    for n, scale in enumerate(scales):
        if scale.window is not None:
            nothing = scale.needs and not ever(rec, *scale.needs)
            rows = blank_rows(rec) if nothing else scale.window(rec, options, scale)
            windows.append(rows.with_columns(_scale=lit(n, pl.Int64), _lasts=lit(scale.lasts)))
            continue
        assert scale.state is not None
        if scale.state not in states:
            states[scale.state] = scale.state(rec, options)
        rows, ids = assess(states[scale.state], scale, options)
        behind.append(ids.with_columns(col("row") + sum(r.height for r in over_time)))
        over_time.append(beside(rows, n, rec))
    timed = pl.concat(over_time) if over_time else None
    once = pl.concat(windows).collect(engine="in-memory") if windows else None
    spells = None
    if timed is not None:
        shown = timed.filter(col("status") != "not_applicable")
        spells = episodes(shown, float(options["new_episode_gap_h"]), float(options["resolution_h"]))
    labels = table.Labels.of(scales, options)
    grades = table.grades(timed, once, behind, rec, courses, labels)
    return Result(
        grades=grades.table,
        episodes=table.episodes(spells, once, rec, labels),
        worst=worst(grades, courses),
        subjects=courses.drop("opens", "from", "until", "birth"),
    )


def grade_folder(
    timeline: Path | str,
    out: Path | str,
    scales: Iterable[str] | None = None,
    options: Mapping[str, object] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Grade a timeline folder, shard by shard, and write the results folder; memory is bounded by the shard.

    Args:
        timeline: what `aftercar import` wrote, or any MEDS dataset whose codes are our concepts.
        out: the results folder; a former one is replaced whole when the new one is complete.
        scales, options: as in `grade_timeline`.
        progress: called with the shards done and all.
    Returns:
        what `run.json` holds.
    """
    store = open_timeline(timeline)
    if not (broken := verify(store.folder)).is_empty():
        raise InputError(
            f"{store.folder}: statement {broken['n'][0]} {broken['problem'][0]}. `aftercar adjudicate {store.folder} verify` lists all; "
            "restore statements.parquet from a backup."
        )
    chosen = scales_named(scales)
    opts = options if isinstance(options, Options) else Options(options)
    with replace_folder(Path(out), marker="run.json") as fresh:

        def one(shard: tuple[int, pl.LazyFrame]) -> None:
            result = _grade(shard[1], chosen, opts)
            for f in fields(Result):
                getattr(result, f.name).write_ipc(fresh / f"{f.name}-{shard[0]:05d}.part")

        # Two shards at a time: what one does on one core leaves the other core to the other.
        with ThreadPoolExecutor(max_workers=SHARDS_AT_ONCE) as pool:
            try:
                for done, _ in enumerate(pool.map(one, enumerate(store.shards())), 1):
                    if progress:
                        progress(done, len(store.files))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        parts = {f.name: sorted(fresh.glob(f"{f.name}-*.part")) for f in fields(Result)}
        for name, files in parts.items():
            _join(files, fresh / f"{name}.parquet")
        _adjudicate(fresh / "worst.parquet", store)
        if (
            pl.scan_parquet(fresh / "subjects.parquet")
            .select(pl.struct("subject_id", "infusion").is_duplicated().any())
            .collect()
            .item()
        ):
            raise InputError("The rows of a subject stand in several files. `aftercar import` gathers them.")
        rejected = Path(timeline) / "rejected.parquet"
        (pl.read_parquet(rejected) if rejected.is_file() else _no_rejects()).write_parquet(fresh / "rejected.parquet")
        run = _run_json(store, Path(out), fresh, chosen, opts)
        (fresh / "run.json").write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return run


def _adjudicate(worst: Path, store: Store) -> None:
    """Put beside the worst grades what two readers locked in the timeline's statements."""
    adjudicated(pl.read_parquet(worst), read_statements(store.folder)).write_parquet(worst)


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECTED)


def _join(parts: list[Path], target: Path) -> None:
    """The shards' parts as one Parquet file, in order."""
    pl.scan_ipc(parts).sink_parquet(target, maintain_order=True)
    for part in parts:
        part.unlink()


def _run_json(store: Store, out: Path, fresh: Path, scales: list[Scale], options: Options) -> dict[str, Any]:
    family = {s.name: s.family for s in scales}
    table = pl.scan_parquet(fresh / "worst.parquet").group_by("scale", "grade", "status").len().collect()
    counts = {f: {} for f in dict.fromkeys(family.values())}
    for name, level, status, n in table.sort("scale", "grade", "status").iter_rows():
        key = (
            f"grade {level}"
            if status in ("graded", "not_met")
            else f"grade {level} at least"
            if status == "incomplete"
            else str(status)
        )
        counts[family[name]][key] = counts[family[name]].get(key, 0) + n
    return {
        "aftercar": __version__,
        "polars": pl.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "timeline_fingerprint": store.fingerprint,
        "statements": last_hash(store.folder),
        "timeline": os.path.relpath(store.folder.absolute(), out.absolute()),
        "counts": {
            **{k: store.info.get(k) for k in ("read", "accepted", "rejected")},
            "subjects": pl.scan_parquet(fresh / "subjects.parquet").select(col("subject_id").n_unique()).collect().item(),
            "infusions": pl.scan_parquet(fresh / "subjects.parquet").select(col("day0").is_not_null().sum()).collect().item(),
        },
        "graded": counts,
        "rules": [s.rules for s in scales],
        "marks": {s.name: s.marks for s in scales if s.marks},
        "sources": sorted({s.source for s in scales}),
        "options": {n: options[n] for n in OPTIONS if any(n in s.options for s in scales)},
        "timeline_note": store.info.get("banner"),
        "simulated": bool(store.info.get("simulated", False)),
    }
