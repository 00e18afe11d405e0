"""Writing folders so that a reader sees the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

from aftercar.errors import InputError

_FULL = 1 << 20  # bytes left on a disk on which a file could not be finished
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux renameat2(2)
_RENAME_SWAP = 2  # macOS renamex_np(2)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return libc.renamex_np(os.fsencode(a), os.fsencode(b), _RENAME_SWAP) == 0
        return libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0
    except (OSError, AttributeError):
        return False


@contextlib.contextmanager
def replace_folder(target: Path, *, marker: str) -> Generator[Path]:
    """Give a new, empty folder beside `target`; when the block ends well it takes `target`'s place.

    If the block fails or is interrupted, `target` stays as it was. A folder that stands at `target` is replaced only
    if it holds the file `marker`, that is if it is a former result of ours.

    Raises:
        InputError: `target` is a file, or a folder that is not ours.
    """
    target = target.resolve()  # through a link, so that the link stays one
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file. Name a folder.")
    if target.is_dir() and any(target.iterdir()) and not (target / marker).is_file():
        raise InputError(f"{target} holds other files (no {marker}). Name an empty or new folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.part")
    for left in target.parent.glob(f".{target.name}.*.part"):
        if not _alive(left):
            shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        _sync(fresh)
        if not target.exists():
            fresh.rename(target)
        elif not _exchange(fresh, target):
            aside = target.with_name(f".{target.name}.{os.getpid()}.old.part")
            target.rename(aside)
            fresh.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _alive(part: Path) -> bool:
    """Whether the process that owns a half-written folder still runs."""
    pid = next((int(p) for p in reversed(part.name.split(".")) if p.isdigit()), 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


@contextlib.contextmanager
def writing(folder: Path) -> Generator[None]:
    """Within, what Polars says when it cannot write into a folder is an OSError, as it is elsewhere."""
    import polars as pl

    try:
        yield
    except pl.exceptions.PolarsError as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        full = shutil.disk_usage(folder).free < _FULL
        number = int(told[1]) if told else errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number)) from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
