"""The commands `cohort`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import typer

from aftercar.serve import compare

app = typer.Typer(
    help="Many subjects counted, described and compared. DIR is a results folder.", no_args_is_help=True, rich_markup_mode=None
)
compare.add_to(app)
