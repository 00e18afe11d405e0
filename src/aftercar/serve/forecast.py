"""The command `forecast`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import OptionError
from aftercar.serve.shared import Workers

if TYPE_CHECKING:
    import polars as pl

    from aftercar.calibrate.forecast import Forecast

ENDINGS = (".csv", ".parquet", ".json")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forecast")(forecast)


def forecast(
    timeline: Annotated[
        Path, typer.Argument(help="A timeline folder, or the results folder of one.", metavar="TIMELINE|RESULTS")
    ],
    subject: Annotated[str, typer.Option("--subject", help="The subject's id, as in the source.")],
    at: Annotated[
        str,
        typer.Option(
            "--at", help="From when: 2024-01-03T14:00, or since the infusion day4 or h:90. What came later has no part."
        ),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="How twins are treated from then on; name several. The first is the comparator."),
    ] = None,
    product: Annotated[str | None, typer.Option("--product", help="Of the mechanism; without: the record's.")] = None,
    disease: Annotated[str | None, typer.Option("--disease", help="Of the mechanism; without: the record's.")] = None,
    infusion: Annotated[int, typer.Option("--infusion", min=1, help="Which infusion of the subject.")] = 1,
    twins: Annotated[int, typer.Option("--twins", min=50, help="Virtual twins under each policy.")] = 2000,
    ensemble: Annotated[
        Path | None,
        typer.Option("--ensemble", help="The folder of a fit; without: the one that comes with aftercar.", metavar="FOLDER"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=(1 << 60) - 1, help="The same seed gives the same numbers.")] = 1,
    workers: Workers = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table: FILE.csv, .parquet or .json.")] = None,
) -> None:
    """Simulate virtual twins of one record's first days, and what becomes of them in the next seven days. No prediction for the person."""
    import polars as pl

    from aftercar.calibrate.ensemble import read
    from aftercar.calibrate.forecast import forecast as forecast_record
    from aftercar.serve import show, show_forecast
    from aftercar.serve.advise import subject_named, time_asked, timeline_of
    from aftercar.timeline.schema import conform
    from aftercar.timeline.store import open_timeline

    if out is not None and out.suffix.lower() not in ENDINGS:
        raise OptionError(f"--out names a file that ends with {', '.join(ENDINGS)}.")
    time = time_asked(at)
    assert time is not None
    folder, _ = timeline_of(timeline)
    key = subject_named(folder, subject)
    store = open_timeline(folder)
    record = conform(store.scan().filter(pl.col("subject_id") == key).collect())
    policies = policy or ["standard", "supportive"]
    with show.counting("simulating", "parts") as step:
        found = forecast_record(
            record, time, policies, read(ensemble), product=product, disease=disease, infusion=infusion, n=twins, seed=seed,
            workers=workers, progress=step,
        )  # fmt: skip
    show_forecast.forecast(found)
    show.dataset_note(store.info.get("banner"), store.simulated)
    if out is not None:
        _write(found, record.head(1)["subject_id"], seed, out)
        print(f"Written: {out}")


def _write(found: Forecast, subject: pl.Series, seed: int, out: Path) -> None:
    """The table in a file, each row with the banner; as JSON with what stands beside it."""
    import json

    import polars as pl

    from aftercar import __version__
    from aftercar.calibrate.forecast import BANNER
    from aftercar.files import write_text
    from aftercar.frames import labelled
    from aftercar.risk.cohort_files import write_table

    asked = found.asked
    if out.suffix.lower() != ".json":
        keys = {
            "subject_id": pl.lit(subject[0], subject.dtype),
            "infusion": pl.lit(asked.infusion, pl.Int32),
            "time": pl.lit(asked.time),
        }
        told = found.table.with_columns(**keys, banner=pl.lit(BANNER))
        write_table(labelled(told.select(*keys, pl.all().exclude(*keys)), simulated=True), out)
        return
    about = {
        "banner": BANNER, "simulated": True, "version": __version__, "subject_id": subject[0], "infusion": asked.infusion,
        "time": asked.time.isoformat(), "product": asked.start.product, "disease": asked.start.disease, "given": list(asked.start.given),
        "twins": found.twins, "seed": seed, "effective": found.effective, "misfit": found.misfit, "tells": found.tells,
        "warnings": found.warnings(), "compared": found.compared.to_dicts(), "forecast": found.table.to_dicts(),
    }  # fmt: skip
    write_text(out, json.dumps(about, indent=2) + "\n")
