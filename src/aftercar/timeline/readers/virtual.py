"""Whether a source holds virtual patients: what aftercar itself wrote says so in the manifest beside it."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aftercar.timeline.readers.packed import DAMAGED_ZIP, is_zip, members
from aftercar.timeline.readers.piece import files_in

_EXPORT, _TIMELINE = "export.json", "import.json"


def says_simulated(source: Path) -> bool:
    """Whether the manifest of an export, or of a timeline that is the source itself, says that its patients are virtual.

    Raises:
        InputError: the source is a zip that is damaged.
    """
    return any(_simulated(text) for text in _manifests(source))


def _manifests(source: Path) -> Iterator[bytes]:
    if is_zip(source):
        found = [name for name in members(source) if PurePosixPath(name).name == _EXPORT]
        with contextlib.suppress(*DAMAGED_ZIP), zipfile.ZipFile(source) as archive:
            yield from map(archive.read, found)
    elif source.is_dir():
        yield from (p.read_bytes() for p in files_in(source) if p.name == _EXPORT or p == source / _TIMELINE)
    elif (beside := source.parent / _EXPORT).is_file():
        yield beside.read_bytes()


def _simulated(text: bytes) -> bool:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and "aftercar" in told and told.get("simulated") is True
