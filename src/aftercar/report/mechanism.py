"""The mechanism as a page of its own: the figure, what each drug cuts in it, and all edges with their references."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any

from markupsafe import Markup, escape

from aftercar import __version__
from aftercar.evidence.graph import Cut, Graph, backing, by_outcome, cut_words, edge_words, mechanism, path_words
from aftercar.evidence.sources import references
from aftercar.evidence.tables import verified
from aftercar.files import write_text
from aftercar.report.mechanism_svg import key_svg, mechanism_svg
from aftercar.report.page import resource, template


def write_mechanism(out: FilePath) -> None:
    """Write the page as one HTML file that loads nothing from elsewhere; a former one is replaced whole."""
    write_text(FilePath(out), render_mechanism(mechanism()))


def render_mechanism(graph: Graph) -> str:
    """The page of a graph whose nodes all have a place in `mechanism_bands.toml`."""
    script = resource("mechanism.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    note, body = mechanism_parts(graph)
    return template("mechanism.html.j2").render(
        css=Markup(resource("mechanism.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=__version__,
        n_nodes=len(graph.nodes),
        n_edges=len(graph.edges),
        note=note,
        body=body,
    )


def mechanism_parts(graph: Graph) -> tuple[Markup, Markup]:
    """How to read the mechanism, and figure, drugs, edges and references, for a page that has `mechanism.css` and `mechanism.js`."""
    drugs = [_drug(graph, graph.cut_by(drug)) for drug in graph.drugs]
    found = {d["id"]: {name: d[name] for name in ("lowered", "edges", "silenced", "told")} for d in drugs}
    cited = {key for edge in graph.edges for key in edge.references}
    body = template("mechanism_body.html.j2").render(
        # Inside a script element only an end tag could break out.
        cuts=Markup(json.dumps(found, ensure_ascii=False).replace("</", "<\\/")),
        svg=Markup(mechanism_svg(graph)),
        key=Markup(key_svg()),
        drugs=drugs,
        edges=graph.edges,
        labels={node.id: node.label for node in graph.nodes.values()},
        references=[paper for key, paper in references().items() if key in cited],
        refs=_refs,
    )
    return Markup(template("mechanism_note.html.j2").render(marks=verified())), Markup(body)


def _refs(keys: Iterable[str]) -> Markup:
    """Keys that lead to the list of references."""
    links = [Markup('<a href="#ref-{0}">{0}</a>').format(escape(key)) for key in keys]
    return Markup(", ").join(links) if links else Markup("no reference")


def _drug(graph: Graph, cut: Cut) -> dict[str, Any]:
    """What the page says of a drug, and what the figure marks."""
    return {
        "id": cut.drug,
        "label": graph.nodes[cut.drug].label,
        "told": cut_words(graph, cut),
        "lowered": cut.lowered,
        "edges": [e.id for e in cut.edges],
        "silenced": cut.silenced,
        "acts": [{"text": edge_words(graph, e), "backing": backing(e), "note": e.note} for e in cut.acts],
        "paths": [
            {
                "outcome": graph.nodes[one.outcome].label,
                "n": one.n,
                "way": path_words(graph, one.shortest),
                "what": one.what,
                "steps": one.shortest.edges,
                "open": path_words(graph, one.still_open) if one.still_open else "no way is left",
            }
            for one in by_outcome(graph, cut)
        ],
    }
