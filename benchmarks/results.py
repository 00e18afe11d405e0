"""What the benchmarks share outside the measured work: their folder for data, and `RESULTS.md`, of which each writes its section."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measure import Run

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
DATA = HERE / ".data"
# Modules of this folder, in the order of the file.
SECTIONS = ("run", "engines", "icaht", "fhir", "advise", "estimates", "simulate", "trial", "fit", "ward", "scale")
INTRO = """# Benchmarks

`make bench` writes all sections but those of `benchmarks.scale`, which takes hours, and `benchmarks.fit`, which asks for a fit. Each section says on which machine it was measured, and how busy
that was. CPU is that of all processes of a run; peak memory likewise, shared pages once.
"""
MARK = re.compile(r"^<!-- python -m benchmarks\.(\w+) -->\n", re.MULTILINE)


def fresh_folder(section: str) -> Path:
    """An empty folder for the data of a section."""
    folder = DATA / section
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (DATA / ".gitignore").write_text("*\n")
    return folder


def write_section(section: str, text: str, path: Path = RESULTS) -> None:
    """Put the text in place of a section, and leave the other sections as they are.

    Args:
        section: one of `SECTIONS`.
        text: Markdown that begins with its heading.
    Raises:
        ValueError: no such section.
    """
    if section not in SECTIONS:
        raise ValueError(f"No section {section!r}; there are {', '.join(SECTIONS)}.")
    _, *parts = MARK.split(path.read_text(encoding="utf-8")) if path.exists() else [""]
    found = dict(zip(parts[::2], parts[1::2], strict=True)) | {section: text}
    body = (f"<!-- python -m benchmarks.{name} -->\n{found[name].strip()}\n" for name in SECTIONS if name in found)
    path.write_text("\n".join([INTRO, *body]), encoding="utf-8")


def machine(load: float, *packages: str) -> str:
    """The machine in words, with the versions of packages, and whether other work ran beside.

    Args:
        load: the load average before the first run.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = ", ".join([f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)])
    busy = f" Other work ran beside (load average {load:.1f} before): trust CPU time more than wall time." if load > 0.5 else ""
    return f"Machine: {cores} cores ({platform.machine()}), {memory:.0f} GiB memory, {platform.system()}, {used}.{busy}"


def table(runs: Mapping[str, Run], base: str) -> str:
    """Runs as a table, a row each under its name, beside the first of them.

    Args:
        base: what the first is called.
    """
    lines = [
        f"| | wall, s | CPU, s | peak memory, MiB | wall / {base} | CPU / {base} |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    first, *_ = runs.values()
    for name, run in runs.items():
        ratios = f"{run.wall / first.wall:.2f} | {run.cpu / first.cpu:.2f}"
        lines.append(f"| {name} | {run.wall:.1f} | {run.cpu:.1f} | {run.peak:,.0f} | {ratios} |")
    return "\n".join(lines)


def r_versions(*packages: str) -> str | None:
    """R and packages of it in words; None where one is missing."""
    if not (rscript := shutil.which("Rscript")):
        return None
    names = ", ".join(f'"{name}"' for name in packages)
    say = f'cat(paste0("R ", getRversion()), sapply(c({names}), function(p) paste(p, packageVersion(p))), sep = ", ")'
    told = subprocess.run([rscript, "-e", say], capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else None
