"""The mechanism as a graph of signed edges, and what a drug cuts in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any
from xml.etree import ElementTree

from aftercar.errors import OptionError, nearest
from aftercar.evidence.sources import keys
from aftercar.evidence.tables import table


@dataclass(frozen=True)
class Node:
    """A cell, cytokine, process, outcome or drug. `kind` and `compartment` are those of `mechanism_nodes.csv`."""

    id: str
    label: str
    kind: str
    compartment: str
    description: str = ""


@dataclass(frozen=True)
class Edge:
    """What the source does to the target: `sign` 1 raises it, -1 lowers it. The other fields are those of `mechanisms.csv`."""

    id: str
    source: str
    target: str
    sign: int
    effect: str = ""
    evidence_type: str = ""
    species: str = ""
    in_lecture: str = ""
    references: tuple[str, ...] = ()
    verified: str = ""
    note: str = ""


@dataclass(frozen=True)
class Path:
    """Edges one after the other, no node twice."""

    edges: tuple[Edge, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes, from the first to the last."""
        return (self.edges[0].source, *(e.target for e in self.edges))

    @property
    def sign(self) -> int:
        """Whether more of the first node raises (1) or lowers (-1) the last."""
        return -1 if sum(e.sign < 0 for e in self.edges) % 2 else 1


@dataclass(frozen=True)
class Cut:
    """What a drug does to the graph.

    Attributes:
        acts: its own edges.
        lowered: the nodes that it lowers. What they do to others is cut.
        edges: the edges that are cut, those that leave a lowered node.
        silenced: nodes that were reached from a beginning, and are no more.
        paths: the ways from a lowered node to an outcome, shortest first.
        still_open: a shortest way to each outcome from a beginning without a cut edge; outcomes without one have none.
    """

    drug: str
    acts: tuple[Edge, ...]
    lowered: tuple[str, ...]
    edges: tuple[Edge, ...]
    silenced: tuple[str, ...]
    paths: tuple[Path, ...]
    still_open: dict[str, Path]


@dataclass(frozen=True)
class Graph:
    """Nodes by id, and edges between them."""

    nodes: dict[str, Node]
    edges: tuple[Edge, ...]

    @cached_property
    def drugs(self) -> list[str]:
        """The drugs, in the order of the table."""
        return [n.id for n in self.nodes.values() if n.kind == "drug"]

    @cached_property
    def outcomes(self) -> list[str]:
        """The toxicities, and tumour killing."""
        return [n.id for n in self.nodes.values() if n.kind == "outcome"]

    @cached_property
    def biology(self) -> tuple[Edge, ...]:
        """The edges that no drug makes."""
        return tuple(e for e in self.edges if self.nodes[e.source].kind != "drug")

    @cached_property
    def beginnings(self) -> list[str]:
        """Nodes that nothing but a drug acts on: where the ways begin."""
        driven = {e.target for e in self.biology}
        return [n.id for n in self.nodes.values() if n.kind != "drug" and n.id not in driven]

    def cut_by(self, drug: str) -> Cut:
        """What a drug cuts.

        A drug that lowers a node takes away what the node does, so the edges that leave it are cut; what the drug raises is only told.
        An edge says that an effect was found, not how large it is: a cut path need not be one that matters in a patient.

        Raises:
            OptionError: no drug of the graph has that name.
        """
        if drug not in self.drugs:
            raise OptionError(f"{drug!r} is no drug of the graph. {nearest(drug, self.drugs)}")
        acts = tuple(e for e in self.edges if e.source == drug)
        lowered = tuple(dict.fromkeys(e.target for e in acts if e.sign < 0))
        cut = tuple(e for e in self.biology if e.source in lowered)
        left = [e for e in self.biology if e not in cut]
        before, after = _reached(self.biology, self.beginnings), _reached(left, self.beginnings)
        silenced = tuple(n for n in self.nodes if n in before and n not in after)
        paths = sorted((p for node in lowered for p in _paths(self.biology, node, self.outcomes)), key=_short_first)
        still_open = {o: path for o in self.outcomes if (path := _shortest(left, self.beginnings, o))}
        return Cut(drug, acts, lowered, cut, silenced, tuple(paths), still_open)


def mechanism() -> Graph:
    """The graph of `mechanisms.csv`.

    >>> [e.target for e in mechanism().cut_by("tocilizumab").edges]
    ['crs', 'crp']
    """
    nodes = [
        Node(r["node_id"], r["label"], r["node_type"], r["compartment"], r["description"] or "")
        for r in table("mechanism_nodes").iter_rows(named=True)
    ]
    edges = [
        Edge(
            r["edge_id"], r["source"], r["target"], r["sign"], r["effect"] or "", r["evidence_type"], r["species"], r["in_lecture"],
            tuple(keys(r["ref_id"])), r["verified"], r["note"] or "",
        )
        for r in table("mechanisms").iter_rows(named=True)
    ]  # fmt: skip
    return Graph({n.id: n for n in nodes}, tuple(edges))


# ---- ways through the graph


def _by_source(edges: Iterable[Edge]) -> dict[str, list[Edge]]:
    leaving: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        leaving[edge.source].append(edge)
    return leaving


def _reached(edges: Iterable[Edge], begin: Iterable[str]) -> set[str]:
    """The nodes that a way from one of `begin` leads to, those included."""
    leaving, found, todo = _by_source(edges), set(begin), list(begin)
    while todo:
        for edge in leaving[todo.pop()]:
            if edge.target not in found:
                found.add(edge.target)
                todo.append(edge.target)
    return found


def _paths(edges: Iterable[Edge], begin: str, ends: Iterable[str]) -> Iterator[Path]:
    """Every way from a node to one of `ends`, no node twice; a way may lead on through an end."""
    leaving, wanted = _by_source(edges), set(ends)
    todo: list[tuple[Edge, ...]] = [(e,) for e in leaving[begin]]
    while todo:
        way = todo.pop()
        been = {begin, *(e.target for e in way)}
        if len(been) <= len(way):  # back at a node
            continue
        if way[-1].target in wanted:
            yield Path(way)
        todo += [(*way, e) for e in leaving[way[-1].target]]


def _shortest(edges: Iterable[Edge], begin: Iterable[str], end: str) -> Path | None:
    """A way with the fewest edges, or none; a beginning needs no way to itself."""
    leaving = _by_source(edges)
    ways: list[tuple[Edge, ...]] = [(e,) for b in begin for e in leaving[b]]
    been = set(begin)
    for way in ways:
        if way[-1].target == end:
            return Path(way)
        if way[-1].target not in been:
            been.add(way[-1].target)
            ways += [(*way, e) for e in leaving[way[-1].target]]
    return None


def _short_first(path: Path) -> tuple[int, tuple[str, ...]]:
    return len(path.edges), tuple(e.id for e in path.edges)


# ---- in words


def backing(edge: Edge) -> str:
    """What an edge stands on."""
    seen_in = dict.fromkeys((edge.evidence_type.replace("_", " "), edge.species))
    return f"{', '.join(seen_in)}; {', '.join(edge.references) or 'no reference'}; verified: {edge.verified}"


def edge_words(graph: Graph, edge: Edge) -> str:
    """What an edge says."""
    does = "raises" if edge.sign > 0 else "lowers"
    return f"{graph.nodes[edge.source].label} {does} {graph.nodes[edge.target].label}: {edge.effect}"


def path_words(graph: Graph, path: Path) -> str:
    """A path: an arrow where a node raises the next, a bar where it lowers it."""
    text = graph.nodes[path.nodes[0]].label
    for edge in path.edges:
        text += f" {'→' if edge.sign > 0 else '⊣'} {graph.nodes[edge.target].label}"
    return text


def cut_words(graph: Graph, cut: Cut) -> str:
    """What a drug does, in a sentence or two."""

    def names(ids: Iterable[str]) -> str:
        return ", ".join(graph.nodes[n].label for n in ids)

    targets = names(dict.fromkeys(e.target for e in cut.edges))
    text = f"{graph.nodes[cut.drug].label} lowers {names(cut.lowered)}, and so cuts the effects on {targets}."
    return text + (f" Reached by cut edges only: {names(cut.silenced)}." if cut.silenced else "")


@dataclass(frozen=True)
class OutcomeCut:
    """The ways to an outcome that a drug cuts: how many, and the `shortest`; and a way that is `still_open`, where one is left."""

    outcome: str
    n: int
    shortest: Path
    still_open: Path | None

    @property
    def what(self) -> str:
        """Whether the shortest raises the outcome, so that the drug works against it, or lowers it."""
        return "a push" if self.shortest.sign > 0 else "a brake"


def by_outcome(graph: Graph, cut: Cut) -> list[OutcomeCut]:
    """What a drug cuts, an outcome at a time; outcomes of which it cuts no way are left out."""
    ways: dict[str, list[Path]] = defaultdict(list)
    for path in cut.paths:
        ways[path.nodes[-1]].append(path)
    return [OutcomeCut(o, len(ways[o]), ways[o][0], cut.still_open.get(o)) for o in graph.outcomes if ways[o]]


# ---- as files


def to_json(graph: Graph) -> str:
    """Nodes, edges and what each drug cuts, as JSON: the node-link form of graph libraries, with `cuts` beside it."""

    def of_cut(cut: Cut) -> dict[str, Any]:
        return {
            "lowered": cut.lowered,
            "edges": [e.id for e in cut.edges],
            "silenced": cut.silenced,
            "paths": [{"edges": [e.id for e in p.edges], "to": p.nodes[-1], "sign": p.sign} for p in cut.paths],
            "still_open": {outcome: [e.id for e in path.edges] for outcome, path in cut.still_open.items()},
        }

    content = {
        "directed": True,
        "multigraph": False,
        "graph": {"name": "mechanism of toxicities after CAR-T therapy"},
        "nodes": [asdict(n) for n in graph.nodes.values()],
        "edges": [asdict(e) for e in graph.edges],
        "cuts": {drug: of_cut(graph.cut_by(drug)) for drug in graph.drugs},
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def to_graphml(graph: Graph) -> str:
    """Nodes and edges with all that is known of them, as GraphML."""
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    nodes = [{**asdict(n)} for n in graph.nodes.values()]
    edges = [{**asdict(e), "references": ";".join(e.references)} for e in graph.edges]
    for where, names in (("node", nodes[0]), ("edge", edges[0])):
        for name, value in names.items():
            if name not in ("id", "source", "target"):
                kind = "int" if isinstance(value, int) else "string"
                ElementTree.SubElement(root, "key", {"id": f"{where}_{name}", "for": where, "attr.name": name, "attr.type": kind})
    body = ElementTree.SubElement(root, "graph", id="mechanism", edgedefault="directed")
    for where, things in (("node", nodes), ("edge", edges)):
        for thing in things:
            own = {name: thing[name] for name in ("id", "source", "target") if name in thing}
            element = ElementTree.SubElement(body, where, own)
            for name, value in thing.items():
                if name not in own and value != "":
                    ElementTree.SubElement(element, "data", key=f"{where}_{name}").text = str(value)
    ElementTree.indent(root)
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + ElementTree.tostring(root, encoding="unicode") + "\n"
