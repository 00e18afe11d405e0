"""The middle of an ensemble as files of the model: what `--model FOLDER` reads, and what comes with the software."""

from __future__ import annotations

import csv
import io
import re
from importlib.resources import files
from pathlib import Path

import polars as pl

from aftercar.calibrate.ensemble import Parameter, centre, parameters
from aftercar.calibrate.peaks import TRIAL
from aftercar.calibrate.published import trials
from aftercar.files import write_text
from aftercar.simulate.population import SPREAD

_TABLES = ("parameters", "variability", "products", "diseases")


def adopt(ensemble: pl.DataFrame, folder: Path | str) -> list[Path]:
    """Write the files of the model with the middle of an ensemble in place of the values that are fitted; all else as in ours.

    Returns:
        the files.
    """
    middle = centre(ensemble)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    ours = files("aftercar.simulate").joinpath("model")
    written = {f"{name}.csv": _table(name, ours.joinpath(f"{name}.csv").read_text(encoding="utf-8"), middle) for name in _TABLES}
    written["observation.toml"] = _map(ours.joinpath("observation.toml").read_text(encoding="utf-8"), middle)
    for name, text in written.items():
        write_text(place / name, text)
    return [place / name for name in written]


def _table_of(p: Parameter) -> str:
    """In which file a fitted number stands."""
    if "." in p.name:
        return "variability" if p.name.startswith(SPREAD) else "observation"
    return {"product": "products", "disease": "diseases"}.get(p.level, "parameters")


def _source(p: Parameter) -> str:
    """What its value rests on, as the tables say it."""
    peaks = " and to ranges of cytokine peaks" if p.bears_on(trials()[TRIAL]) else ""
    return f"calibrated to published rates and onsets{peaks}"


def _table(name: str, text: str, middle: dict[str, float]) -> str:
    told = {(p.of, p.name.removeprefix(SPREAD)): p for p in parameters() if _table_of(p) == name}
    rows = list(csv.DictReader(io.StringIO(text)))
    key = None if name in ("parameters", "variability") else name.removesuffix("s")
    value = "sd_log" if name == "variability" else "value"
    of = "name" if name == "parameters" else "parameter"
    for row in rows:
        if (p := told.pop((row[key] if key else None, row[of]), None)) is not None:
            row |= {value: f"{middle[p.key]:.3g}", "source": _source(p), "confidence": "C"}
    assert not told, f"{name}.csv has no row for {told}"
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


_LINE = re.compile(r"^(?P<key>\w+)(?P<is>\s*=\s*)[\d.]+(?P<rest>.*)$")


def _map(text: str, middle: dict[str, float]) -> str:
    """The observation map, line by line, so that its comments stay."""
    told = {p.name: middle[p.key] for p in parameters() if _table_of(p) == "observation"}
    lines, section = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        found = _LINE.match(line)
        number = told.pop(f"{section}.{found['key']}", None) if found else None
        lines.append(line if number is None or found is None else f"{found['key']}{found['is']}{number:.3g}{found['rest']}")
    assert not told, f"observation.toml has no {list(told)}"
    return "\n".join(lines) + "\n"
