"""The papers by key, the rows of `references.csv`, and the marks that say how far a rule or number is checked against them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from aftercar.evidence.tables import REFERENCES, rows, verified

# The marks of rules and cells; those of the tables are among them.
MARKS = {
    "V": "checked against a source",
    "M": "from memory",
    "M?": "from memory, to be checked against the paper",
    "P": "a convention of this project: the source is silent",
    **{mark: words for mark, words in verified().items() if mark != "primary"},
}


@dataclass(frozen=True)
class Reference:
    """A paper, label or abstract. What was not seen is blank. `verified` is a mark of the evidence tables."""

    key: str
    first_author: str
    last_author: str
    title: str
    journal: str
    year: str
    volume_pages: str
    doi: str
    pmid: str
    note: str
    verified: str

    @property
    def authors(self) -> str:
        """First and last author."""
        return " ... ".join(filter(None, (self.first_author, self.last_author)))

    @property
    def where(self) -> str:
        """Journal, year, volume and pages."""
        return f"{self.journal} {self.year}".strip() + (f";{self.volume_pages}" if self.volume_pages else "")

    @property
    def line(self) -> str:
        """The paper in one line, without its DOI."""
        told = ". ".join(filter(None, (self.authors, self.title, self.where)))
        return told + (f" ({self.note})" if self.note else "")

    @property
    def bibtex(self) -> str:
        """A BibTeX entry; the authors between the first and the last are `others`."""
        volume, _, pages = self.volume_pages.partition(":")
        fields = {
            "title": f"{{{_tex(self.title)}}}",
            "author": _bibtex_author(self.first_author) + (" and others" if self.last_author else ""),
            "journal" if volume else "howpublished": _tex(self.journal),
            "year": self.year,
            "volume": _tex(volume),
            "pages": _tex(pages).replace("-", "--"),
            "doi": self.doi,
            "pmid": self.pmid,
            "note": _tex(f"{'last author ' + self.last_author + '; ' if self.last_author else ''}{self.note}".strip("; ")),
        }
        kind = "article" if volume else "misc"
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value and value != "{}"]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


def _tex(text: str) -> str:
    """Text that TeX prints as it is."""
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def _bibtex_author(name: str) -> str:
    """`Lee DW` as family name and initials; of an institution the name stays whole."""
    person = re.fullmatch(r"(.+) ([A-Z]{1,3})", name)
    if person is None:
        return f"{{{_tex(name)}}}" if name else ""
    family, initials = person.groups()
    return f"{_tex(family)}, {' '.join(f'{i}.' for i in initials)}"


@cache
def references() -> dict[str, Reference]:
    """All papers by key.

    >>> references()["lee2019astct"].where
    'Biol Blood Marrow Transplant 2019;25:625-638'
    """
    columns = [c for c in Reference.__dataclass_fields__ if c != "key"]
    return {row["ref_id"]: Reference(row["ref_id"], *(row[c] for c in columns)) for row in rows(REFERENCES)}


def keys(cell: str | None) -> list[str]:
    """The keys in a cell of an evidence table.

    >>> keys("hay2017;locke2020")
    ['hay2017', 'locke2020']
    """
    return cell.split(";") if cell else []
