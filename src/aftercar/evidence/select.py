"""Rows of an evidence table about one product, toxicity or drug."""

from __future__ import annotations

import re
from functools import cache

import polars as pl
from polars import col
from polars import selectors as cs

from aftercar.errors import OptionError, nearest
from aftercar.evidence.sources import references
from aftercar.evidence.tables import Table, named, table

# Of rates beside the columns of their trials: the scale that the endpoint was graded by, and what is to be known of that. ICANS may have another scale than other neurologic events of the trial.
SCALES = cs.matches("_scale(_note)?$")
_OF_CRS, _OF_ICANS = (col("endpoint").str.starts_with(kind) for kind in ("crs", "icans"))
GRADED_BY = pl.when(_OF_CRS).then("crs_scale").when(_OF_ICANS).then("icans_scale").otherwise("nt_scale")
GRADED_BY_NOTE = pl.when(_OF_CRS).then("crs_scale_note").when(~_OF_ICANS).then("nt_scale_note")

_LABEL = re.compile(r"(\w+) \((.+)\) US prescribing information")


def select(name: str, *, product: str | None = None, toxicity: str | None = None, drug: str | None = None) -> pl.DataFrame:
    """The rows of a table that are about what is named; all rows where nothing is.

    Args:
        product: by its generic, short or trade name; in tables of classes of products also the rows of its target and of all products.
        toxicity, drug: a word of the columns that hold them, such as `crs` or `tocilizumab`.
    Raises:
        OptionError: there is no such table, the question has no meaning in it, or no row is about it.

    >>> select("onset", product="Yescarta", toxicity="crs")["disease"].to_list()
    ['LBCL', 'iNHL']
    """
    about = named(name)
    frame = table(name)
    for question, asked in {"product": product, "toxicity": toxicity, "drug": drug}.items():
        columns: tuple[str, ...] = getattr(about, question)
        if asked is None:
            continue
        if not columns:
            meant = [q for q in ("product", "toxicity", "drug") if getattr(about, q)]
            raise OptionError(
                f"--{question} has no meaning for {about.command or name}"
                + (f", but --{' and --'.join(meant)} has." if meant else ".")
            )
        wanted = _of_product(about, asked) if question == "product" else _says(columns, [asked])
        found = frame.filter(wanted)
        if found.is_empty():
            raise OptionError(
                f"No row of {about.command or name} is about {question} {asked!r}. {_hint(asked, frame, columns, question)}".rstrip()
            )
        frame = found
    return frame


def _says(columns: tuple[str, ...], words: list[str]) -> pl.Expr:
    """Whether one of the columns holds one of the words, whole; `_` parts words."""
    pattern = f"(?i)(?:^|[^a-z0-9])(?:{'|'.join(re.escape(word) for word in words)})(?:$|[^a-z0-9])"
    return pl.any_horizontal(col(c).str.contains(pattern).fill_null(False) for c in columns)


def _of_product(about: Table, asked: str) -> pl.Expr:
    names, targets = product_names(asked)
    wanted = _says(about.product, names)
    if about.classes:
        wanted |= pl.any_horizontal(col(c).eq("all").fill_null(False) for c in about.classes)
        wanted |= _says(about.classes, targets) if targets else False
    return wanted


def product_names(asked: str) -> tuple[list[str], list[str]]:
    """All names of a product that one of them names, and its targets; what no trial names stands for itself.

    >>> product_names("Abecma")
    (['abecma', 'ide', 'ide-cel', 'idecabtagene vicleucel'], ['BCMA'])
    """
    asked = asked.strip().casefold()
    for names, target in _products():
        if asked in names:
            return sorted(names), [target]
    return [asked], []


@cache
def _products() -> list[tuple[set[str], str]]:
    """The names of each product, in small letters, and its target."""
    labels = [found.groups() for paper in references().values() if (found := _LABEL.match(paper.title))]
    single = table("trials").filter(~col("product").str.contains(r"[/(]| or "), col("product_alias").str.contains("^[a-z]+-cel$"))
    made = []
    for generic, alias, target in single.select("product", "product_alias", "target").unique(maintain_order=True).iter_rows():
        # A list of products shortens them: axi/brexu/tisa-cel.
        names = {generic, alias, alias.removesuffix("-cel"), *(trade for trade, of in labels if of == generic)}
        made.append(({name.casefold() for name in names}, target))
    return made


def _hint(asked: str, frame: pl.DataFrame, columns: tuple[str, ...], question: str) -> str:
    """The nearest names to ask for, of those that are left."""
    cells = {part for c in columns for cell in frame[c].drop_nulls() for part in re.split(r"[;/]| and ", cell)}
    if question == "product":
        cells |= {name for names, _ in _products() for name in names}
    return nearest(asked, {cell.strip() for cell in cells})
