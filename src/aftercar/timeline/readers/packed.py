"""A zip of records, laid out as the folder that was packed; an OMOP CDM unpacks its own tables one by one."""

from __future__ import annotations

import shutil
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aftercar.errors import InputError
from aftercar.timeline.readers.batches import DAMAGED
from aftercar.timeline.readers.piece import is_hidden

# What reading a damaged zip raises; RuntimeError: a password is wanted.
DAMAGED_ZIP = (*DAMAGED, zipfile.BadZipFile, struct.error, ValueError, KeyError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Unpacked:
    """The folder, and the files that could not be unpacked, by name, with the reason."""

    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)


def is_zip(source: Path) -> bool:
    """Whether a file is called a zip."""
    return source.suffix.casefold() == ".zip" and source.is_file()


def members(path: Path) -> list[str]:
    """The names of the files in a zip, hidden ones too.

    Raises:
        InputError: the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.filename for member in archive.infolist() if not member.is_dir()]
    except DAMAGED_ZIP as error:
        raise InputError(f"{path.name}: no zip that can be opened ({type(error).__name__}). Is it whole?") from error


def unpack(path: Path, folder: Path) -> Unpacked:
    """Unpack a zip into a folder, which is made.

    Raises:
        InputError: the zip is damaged, or larger than the disk has room for.
    """
    names = [name for name in members(path) if not is_hidden(PurePosixPath(name))]
    unpacked = Unpacked(folder)
    folder.mkdir()
    with zipfile.ZipFile(path) as archive:
        size = sum(archive.getinfo(name).file_size for name in names)
    if size > shutil.disk_usage(folder).free:
        raise InputError(f"{path.name}: unpacks to {size / 1e9:.1f} GB, for which the disk has no room.")
    for name in names:
        try:
            unpack_member(path, name, folder / name.lstrip("/"))
        except InputError as error:
            unpacked.left_out[name] = str(error)
    return unpacked


def unpack_member(path: Path, member: str, place: Path) -> None:
    """Unpack one file of a zip.

    Raises:
        InputError: it cannot be unpacked; then nothing is left at `place`.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path) as archive, archive.open(member) as packed, place.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except DAMAGED_ZIP as error:
        place.unlink(missing_ok=True)
        problem = f"cannot be unpacked ({type(error).__name__}). Is the zip whole?"
        raise InputError(f"{path.name}/{member}: {problem}") from error
