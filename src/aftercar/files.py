"""Writing folders so that a reader sees the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Generator
from pathlib import Path, PurePath
from typing import Any, cast

from aftercar.errors import InputError

_FULL = 1 << 20  # bytes left on a disk on which a file could not be finished
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux renameat2(2)
_RENAME_SWAP = 2  # macOS renamex_np(2)
_LOCK = ".lock"

# The file by which each kind of folder of ours is known; of one that holds several the first counts, for an export read back holds `run.json` too.
KINDS = {
    "import.json": "a timeline",
    "export.json": "an export",
    "calendar.json": "a calendar of late effects",
    "registry.json": "a registry draft",
    "rehearsal.json": "a rehearsal of alerts",
    "cohort.json": "a description of a cohort",
    "regrading.json": "a comparison of two scales",
    "validation.json": "a validation of a risk score",
    "compare.json": "a comparison with published trials",
    "interventions.json": "virtual arms of interventions",
    "translate.json": "a translation of one scale into another",
    "sensitivity.json": "a study of what toxicity hangs on",
    "trial.json": "trials of virtual patients",
    "coverage.json": "a check of forecasts on virtual records",
    "comparison.json": "a comparison of groups",
    "multiverse.json": "results under all scales and options",
    "safety.json": "a report for a safety board",
    "pooled.json": "counts of several sites",
    "run.json": "results of grading",
}


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return libc.renamex_np(os.fsencode(a), os.fsencode(b), _RENAME_SWAP) == 0
        return libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0
    except (OSError, AttributeError):
        return False


def place(path: Path | str) -> Path:
    """A file or folder; an address such as `s3://bucket/folder` is one on an object store, and takes the same methods.

    Raises:
        InputError: there is no library for that kind of address.
    """
    if "://" not in str(path):
        return Path(path)
    try:
        from upath import UPath

        # Its list of what a folder holds would be kept, and miss what other processes write.
        found = UPath(str(path), use_listings_cache=False)
        found.fs  # noqa: B018  # the library of that store is loaded when it is first asked for
        return cast(Path, found)
    except (ImportError, ValueError) as error:
        scheme = str(path).partition(":")[0]
        raise InputError(
            f"No library is installed for addresses of the kind {scheme}. For s3, pip install 'aftercar[cloud]'; "
            "other stores need that and the library that fsspec names for them (gs: gcsfs, abfss: adlfs)."
        ) from error


def reached(folder: Path) -> bool:
    """Whether a folder is there.

    Raises:
        InputError: an object store does not answer, or not to us.
    """
    try:
        return folder.is_dir()
    except Exception as error:  # each library of a store has errors of its own
        if is_local(folder):
            raise
        raise InputError(
            f"{folder} cannot be reached ({type(error).__name__}). Are address, endpoint and credentials right?"
        ) from error


def is_local(path: object) -> bool:
    """Whether a path is on a filesystem, where a file or folder can be moved in one step, and not on an object store."""
    return isinstance(path, PurePath)


@contextlib.contextmanager
def replace_folder(target: Path, *, marker: str, key: str | None = None) -> Generator[Path]:
    """Give a folder beside `target` to write; when the block ends well it takes `target`'s place.

    If the block fails or is interrupted, `target` stays as it was. A folder that stands at `target` is replaced only
    if it is a former one of the same kind, which the file `marker` shows (see `KINDS`). On an object store, which knows no such step, `target` itself is
    given, and must be new; it is whole once it holds `marker`, which the block writes last.

    Args:
        key: names the work, where it can go on from its half: what the block left in the folder before it was stopped is there
            again when the same work is begun anew. Without a key, or after an error in the input, nothing is left. On an object store, the one
            thing that may stand in the folder.
    Raises:
        InputError: `target` is a file, or a folder that is not ours or of another kind, or another process is at the same work.
    """
    if not is_local(target):
        if any(p.name != key for p in (target.iterdir() if reached(target) else ())):
            raise InputError(
                f"{target} holds other files. On an object store a folder cannot be replaced in one step: name a new one."
            )
        yield target
        return
    target = target.resolve()  # through a link, so that the link stays one
    if target.is_mount():
        raise InputError(f"{target} is where a disk is mounted, and cannot be replaced. Name a folder within it.")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file. Name a folder.")
    _refuse_other(target, marker)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{key or os.getpid()}.part")
    fresh.mkdir(exist_ok=key is not None)
    with _owned(fresh) as ours:
        if not ours:
            raise _busy(target)
        try:
            _clear(target, but=fresh)
            yield fresh
            _sync(fresh)
        except BaseException as error:
            if key is None or isinstance(error, InputError) or not any(p.is_file() and p.name != _LOCK for p in fresh.rglob("*")):
                shutil.rmtree(fresh, ignore_errors=True)
            else:
                error.add_note("What was finished is kept: the same command goes on from there.")
            raise
        (fresh / _LOCK).unlink()
        if not target.exists():
            fresh.rename(target)
        else:
            if not _exchange(fresh, target):
                aside = target.with_name(f".{target.name}.{os.getpid()}-old.part")
                target.rename(aside)
                fresh.rename(target)
                fresh = aside
            shutil.rmtree(fresh, ignore_errors=True)


def kind_of(folder: Path) -> str | None:
    """The file by which a folder of ours is known: a key of `KINDS`; None where it is not ours."""
    return next((marker for marker in KINDS if (folder / marker).is_file()), None)


def _refuse_other(target: Path, marker: str) -> None:
    """Let nothing be replaced but a former folder of the same kind, or an empty one."""
    there = kind_of(target)
    if there == marker or not target.is_dir() or not any(target.iterdir()):
        return
    if there is not None:
        raise InputError(
            f"{target} holds {KINDS[there]} ({there}), which {KINDS[marker]} would replace. Name an empty or new folder."
        )
    raise InputError(f"{target} holds other files (no {marker}). Name an empty or new folder.")


@contextlib.contextmanager
def _owned(part: Path) -> Generator[bool]:
    """Hold a half-written folder while the block runs; the system lets go of it when the process ends, however it ends."""
    with (part / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _clear(target: Path, but: Path) -> None:
    """Remove what work that nobody is at any more left beside its target.

    Raises:
        InputError: another process is at work for the same target.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if (
            left == but or "." in left.name[len(target.name) + 2 : -len(".part")]
        ):  # or of another target, whose name goes on after a dot
            continue
        with _owned(left) as nobodys:
            if not nobodys:
                raise _busy(target)
            shutil.rmtree(left, ignore_errors=True)


def _busy(target: Path) -> InputError:
    return InputError(f"Another process is writing {target} at this moment. Let it finish, or name another folder.")


def _sync(folder: Path) -> None:
    """Have the system write a folder's files out, so that they are whole even after a power cut."""
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


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Have `write` make a file, so that a reader sees none of it or all; the folder is made where there is none."""
    if not is_local(path):  # a store shows what was written to the end
        write(str(path))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(str(part))
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that it holds."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.rmdir(recursive=True)  # type: ignore[call-arg]  # as object stores have it


def read_text(path: Path) -> str:
    """The text of a file of the user's.

    Raises:
        InputError: it is not there, or no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a text file.") from error


def toml_of(text: str, name: str) -> dict[str, Any]:
    """The tables of a TOML; `name` is what messages call it.

    Raises:
        InputError: it is none.
    """
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not TOML: {error}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
