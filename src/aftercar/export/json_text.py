"""JSON as expressions: each gives a column of JSON text, null where there is nothing to say, so that a field without a value is left out."""

from __future__ import annotations

import json

import polars as pl
from polars import lit


def literal(value: str) -> pl.Expr:
    """A word that is the same in every row."""
    return lit(json.dumps(value, ensure_ascii=False))


def text(value: pl.Expr) -> pl.Expr:
    """A string, quoted and escaped.

    >>> pl.select(text(lit('a "b"'))).item()
    '"a \\\\"b\\\\""'
    """
    wrapped = pl.struct(value.cast(pl.String).alias("v")).struct.json_encode()
    return pl.when(value.is_not_null()).then(wrapped.str.strip_prefix('{"v":').str.strip_suffix("}"))


def number(value: pl.Expr) -> pl.Expr:
    """A number as Polars writes it: the shortest text that reads back as the same value."""
    return value.cast(pl.String)


def plain(value: pl.Expr) -> pl.Expr:
    """A string that holds nothing to escape: an id or a time of ours."""
    return pl.concat_str(lit('"'), value, lit('"'))


def obj(**fields: pl.Expr) -> pl.Expr:
    """An object of the fields that have a value; null where none has.

    >>> pl.select(obj(a=number(lit(1)), b=text(lit(None, pl.String)))).item()
    '{"a":1}'
    """
    members = [pl.concat_str(lit(f'"{name}":'), value) for name, value in fields.items()]
    return _enclosed("{", pl.concat_str(members, separator=",", ignore_nulls=True), "}")


def array(*items: pl.Expr) -> pl.Expr:
    """An array of the items that have a value (each may be several, joined by commas); null where none has."""
    return _enclosed("[", pl.concat_str(items, separator=",", ignore_nulls=True), "]")


def row(*cells: pl.Expr) -> pl.Expr:
    """An array of all cells; one without a value is `null`."""
    return pl.concat_str(lit("["), pl.concat_str([c.fill_null("null") for c in cells], separator=","), lit("]"))


def _enclosed(left: str, inner: pl.Expr, right: str) -> pl.Expr:
    # `inner` stands once: an expression that stood twice would be worked out twice at each level.
    return pl.concat_str(lit(left), inner.replace("", None), lit(right))
