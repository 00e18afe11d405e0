"""Options that several commands have, and what several need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from aftercar.errors import AftercarError

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes at a time; without: one a processor.")]
Master = Annotated[str | None, typer.Option("--master", help="With Spark, its master: local[2], spark://host:7077, yarn ...")]
SparkSettings = Annotated[
    list[str] | None, typer.Option("--spark", help="With Spark, a setting of its own: name=value. May be repeated.")
]


def need_statistics() -> None:
    """
    Raises:
        AftercarError: the libraries of the extra `statistics` are not installed.
    """
    if any(find_spec(name) is None for name in ("numpy", "scipy")):
        raise AftercarError("Statistics need the extra: pip install 'aftercar[statistics]'.")
