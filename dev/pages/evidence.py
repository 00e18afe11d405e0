"""Pages of the evidence tables: what each is, how far it is checked, and effects on healthy tissue in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aftercar.evidence.off_tumour import off_tumour_effects
from aftercar.evidence.sources import references
from aftercar.evidence.tables import REFERENCES, rows, tables, verified
from pages.text import LEGEND, bibliography, code, contents, marked, page, plain, table


def pages() -> Iterator[tuple[str, str]]:
    """The tables in short, effects on healthy tissue, and the papers."""
    about = [
        [code(t.command), plain(t.title), code(t.file), str(len(rows(name))), _checked(name)] for name, t in tables().items()
    ]
    yield (
        "evidence/index",
        page(
            "Evidence tables",
            "Published numbers as tables, each row with what stands behind it. `aftercar evidence NAME` prints one; how they are asked and checked is told in "
            "[evidence](../../evidence.md).",
            table(["command", "what", "file", "rows", "verified"], about),
            "## What `verified` means",
            "\n".join(f"- {code(word)}: {plain(says)}" for word, says in verified().items()),
            contents("off_tumour", "references", hidden=True),
        ),
    )
    effects = off_tumour_effects()
    yield (
        "evidence/off_tumour",
        page(
            "Effects on healthy tissue that bears the target",
            f"What the scale [`off_tumour`](../scales/off_tumour.md) looks for, by target of the product. A question mark is the source's own. {LEGEND}",
            table(
                ["target", "where it stands", "effect", "source", "mark"],
                ([plain(e.target), plain(e.site), plain(e.effect) + ("?" if e.questioned else ""), code(e.source), marked(e.mark)] for e in effects),
            ),
            "## Sources",
            bibliography(e.source for e in effects),
        ),
    )  # fmt: skip
    yield (
        "evidence/references",
        page(
            "Papers",
            f"{len(references())} papers, labels and documents by their key. `aftercar cite RESULTS` lists those behind a result, also as BibTeX. "
            f"A mark tells how far the citation itself was checked. {LEGEND}",
            bibliography(references()),
        ),
    )


def _checked(name: str) -> str:
    counts = Counter(row["verified"] for row in rows(name) if "verified" in row)
    return ", ".join(f"{n} {word}" for word, n in counts.items()) if name != REFERENCES else ""
