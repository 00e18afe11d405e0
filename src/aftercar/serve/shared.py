"""Options that several commands have, and what several need."""

from __future__ import annotations

from typing import Annotated

import typer

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes at a time; without: one a processor.")]
Master = Annotated[str | None, typer.Option("--master", help="With Spark, its master: local[2], spark://host:7077, yarn ...")]
SparkSettings = Annotated[
    list[str] | None, typer.Option("--spark", help="With Spark, a setting of its own: name=value. May be repeated.")
]
