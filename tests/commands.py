"""The command line as tests run it."""

from __future__ import annotations

import sys

import pytest

from aftercar.serve import cli


def run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code, and what was printed and said as an error."""
    sys.argv = ["aftercar", *map(str, words)]
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err
