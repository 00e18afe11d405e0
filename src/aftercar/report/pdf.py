"""A report as PDF, printed by a browser that is installed here; without a network, and without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from aftercar.errors import AftercarError, InputError

VARIABLE = "AFTERCAR_BROWSER"
NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chrome-headless-shell",
    "microsoft-edge",
    "microsoft-edge-stable",
    "msedge",
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
WAIT_S = 600  # a long report of many subjects takes minutes


def browser() -> str:
    """The browser that prints: the one that the variable names, else the first on the PATH.

    Raises:
        AftercarError: there is none.
    """
    told = os.environ.get(VARIABLE)
    if told:
        found = shutil.which(told)
        if found is None:
            raise AftercarError(f"{VARIABLE} names {told}, which is no program here.")
        return found
    for name in (*NAMES, *PLACES):
        found = shutil.which(name)
        if found is not None:
            return found
    raise AftercarError(
        f"A PDF is printed by Chromium, Chrome or Edge, and none is on the PATH. Install one, name one by {VARIABLE}, or print the HTML report from a browser."
    )


def ready(out: Path) -> str:
    """The browser, if the file can be written; asked before the work.

    Raises:
        AftercarError: there is no browser.
        InputError: the folder is not there.
    """
    program = browser()
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: name a file in a folder that is there.")
    return program


def write_pdf(page: str, out: Path, *, paper: str = "a4") -> None:
    """Print a page that loads nothing.

    Args:
        page: HTML.
        paper: `a4` or `letter`.
    Raises:
        AftercarError: there is no browser, or it fails.
        InputError: the folder cannot be written.
    """
    program = ready(out)
    sized = page.replace("</style>", f"@page {{ size: {paper}; }}</style>", 1)
    with tempfile.TemporaryDirectory(prefix="aftercar-") as folder:
        source, printed = Path(folder, "report.html"), Path(folder, "report.pdf")
        source.write_text(sized, encoding="utf-8")
        _print(program, source, printed, Path(folder, "profile"))
        part = out.with_name(f".{out.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(printed, part)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)


def _print(program: str, source: Path, printed: Path, profile: Path) -> None:
    command = [
        program, "--headless", "--disable-gpu", "--disable-extensions", "--disable-background-networking", "--disable-sync", "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={printed}", source.as_uri(),
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.insert(
            1, "--no-sandbox"
        )  # Chromium refuses to run as root with its sandbox; the page is ours, and runs no script
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=WAIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise AftercarError(
            f"{Path(program).name} did not finish printing within {WAIT_S} s. --limit draws fewer subjects."
        ) from None
    except OSError as error:
        raise AftercarError(
            f"{Path(program).name} cannot be started ({error.strerror}). {VARIABLE} names another browser."
        ) from None
    if not printed.is_file() or printed.stat().st_size == 0:
        raise AftercarError(
            f"{Path(program).name} printed nothing. {VARIABLE} names another browser; the HTML report can be printed from any."
        )
