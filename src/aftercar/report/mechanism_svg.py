"""The mechanism as a figure: nodes in columns from infusion to toxicity, signed edges, and under a node the drugs that act on it."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files

from aftercar.evidence.graph import Edge, Graph, Node, backing, edge_words
from aftercar.report.svg import esc, label, line, px, tip

BAND_PX = 176  # from one column to the next
NODE_PX = 108
PORT_PX = 7  # between edges that end at one side of a node
TAG_PX = 15  # a drug under its node
GAP_PX = 22  # between nodes of a column
HEAD_PX = 34  # the titles of the columns
LINE_PX = 12.5
CHARS = 17  # in a line of a node
HEAD, BAR = 6, 2  # how far before its end a line stops for its arrow or bar

# What kind of evidence an edge stands on; each has a stroke of its own.
EVIDENCE = {
    "clinical": "patients", "clinical_correlative": "patients", "label": "patients", "autopsy": "patients",
    "humanised_mouse": "animals", "xenograft": "animals", "mouse": "animals",
    "in_vitro": "cells", "transcriptomic": "cells", "review": "review",
}  # fmt: skip


@cache
def bands() -> dict[str, list[str]]:
    """The nodes of each column."""
    text = files("aftercar.report").joinpath("mechanism_bands.toml").read_text(encoding="utf-8")
    return {band["title"]: band["nodes"] for band in tomllib.loads(text)["band"]}


@dataclass
class _Box:
    """A node in its place, with the drugs under it (edge and label), and the edges that end at each side, from top to bottom."""

    node: Node
    lines: list[str]
    tags: list[tuple[Edge, str]]
    x: float
    y: float = 0.0
    left: list[Edge] = field(default_factory=list)
    right: list[Edge] = field(default_factory=list)

    @property
    def height(self) -> float:
        ports = max(len(self.left), len(self.right))
        return max(14 + LINE_PX * len(self.lines), PORT_PX * ports + 8)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def port(self, edge: Edge, side: str) -> tuple[float, float]:
        """Where an edge ends at a side."""
        ends = self.left if side == "left" else self.right
        y = self.middle + (ends.index(edge) - (len(ends) - 1) / 2) * PORT_PX
        return (self.x if side == "left" else self.x + NODE_PX), y


def mechanism_svg(graph: Graph) -> str:
    """The figure; its parts carry the ids of the graph in `data-` attributes."""
    boxes = _placed(graph)
    height = max(b.y + b.height + TAG_PX * len(b.tags) for b in boxes.values()) + GAP_PX
    width = BAND_PX * len(bands()) + 8  # room for the bows beside the last column
    parts = [_band(title, n, height) for n, title in enumerate(bands())]
    parts += [_edge(edge, boxes, edge_words(graph, edge)) for edge in graph.biology]
    parts += [_node(box) for box in boxes.values()]
    name = (
        "What raises or lowers what, from before the infusion on the left to toxicities on the right, with drugs under the nodes that they act on. "
        "The table of edges beneath holds the same."
    )
    return f'<svg id="mechanism" class="mech" role="group" aria-label="{name}" viewBox="0 0 {px(width)} {px(height)}">{"".join(parts)}</svg>'


def _placed(graph: Graph) -> dict[str, _Box]:
    """The nodes in their columns, each column in the middle of the height."""
    column = {node: n for n, nodes in enumerate(bands().values()) for node in nodes}
    tags: dict[str, list[tuple[Edge, str]]] = defaultdict(list)
    for edge in graph.edges:
        if graph.nodes[edge.source].kind == "drug":
            tags[edge.target].append((edge, graph.nodes[edge.source].label))
    boxes = {
        name: _Box(graph.nodes[name], _wrapped(graph.nodes[name].label), tags[name], x=16 + column[name] * BAND_PX)
        for name in column
    }
    for edge in graph.biology:
        start, end = _sides(column[edge.source], column[edge.target])
        getattr(boxes[edge.source], start).append(edge)
        getattr(boxes[edge.target], end).append(edge)
    columns = [[boxes[name] for name in nodes] for nodes in bands().values()]
    tall = max(_tall(of_column) for of_column in columns)
    for of_column in columns:
        free = (tall - _tall(of_column)) / (len(of_column) + 1)
        y = HEAD_PX + GAP_PX
        for box in of_column:
            y += free
            box.y = y
            y += box.height + TAG_PX * len(box.tags) + GAP_PX
    for box in boxes.values():  # so that lines to one side do not cross
        box.left.sort(key=partial(_other_end, box, boxes))
        box.right.sort(key=partial(_other_end, box, boxes))
    return boxes


def _other_end(box: _Box, boxes: dict[str, _Box], edge: Edge) -> float:
    """How high the node at the other end of an edge stands."""
    return boxes[edge.target if edge.source == box.node.id else edge.source].middle


def _tall(column: list[_Box]) -> float:
    return sum(b.height + TAG_PX * len(b.tags) + GAP_PX for b in column)


def _sides(source: int, target: int) -> tuple[str, str]:
    """The sides at which an edge leaves and ends: within a column it bows to the right."""
    if source == target:
        return "right", "right"
    return ("right", "left") if source < target else ("left", "right")


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= CHARS or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _band(title: str, n: int, height: float) -> str:
    x = 16 + n * BAND_PX
    return line(x - 10, HEAD_PX - 6, x + NODE_PX + 10, HEAD_PX - 6, "rule") + label(x + NODE_PX / 2, 18, title, "band", "middle")


def _edge(edge: Edge, boxes: dict[str, _Box], words: str) -> str:
    source, target = boxes[edge.source], boxes[edge.target]
    start, end = _sides(round(source.x), round(target.x))
    (x1, y1), (x2, y2) = source.port(edge, start), target.port(edge, end)
    into = 1 if end == "left" else -1  # the way in which the end points
    out = 1 if start == "right" else -1
    reach = 34 + abs(y2 - y1) * 0.12 if start == end else min(max(abs(x2 - x1) * 0.45, 40), 130)
    tail = x2 - into * (HEAD if edge.sign > 0 else BAR)
    curve = f"M{px(x1)} {px(y1)}C{px(x1 + out * reach)} {px(y1)} {px(x2 - into * reach)} {px(y2)} {px(tail)} {px(y2)}"
    classes = f"edge {EVIDENCE[edge.evidence_type]} {edge.verified}" + ("" if edge.sign > 0 else " minus")
    told = f"{words}\n{backing(edge)}" + (f"\n{edge.note}" if edge.note else "")
    # Halfway along the curve.
    mx, my = (x1 + tail + 3 * (x1 + out * reach + x2 - into * reach)) / 8, (y1 + y2) / 2
    middle = "" if edge.species == "human" else _dot(mx, my)
    middle += f'<path class="cross" d="M{px(mx - 5)} {px(my - 5)}l10 10m0 -10l-10 10"/>'
    data = f'data-edge="{esc(edge.id)}" data-from="{edge.source}" data-to="{edge.target}"'
    return f'<g class="{classes}" {data}><path class="line" d="{curve}"/>{_end(x2, y2, into, edge.sign)}{middle}{tip(told)}</g>'


def _end(x: float, y: float, into: int, sign: int) -> str:
    """An arrow for what raises, a bar for what lowers; `into` is 1 where it points to the right, else -1."""
    if sign > 0:
        return f'<path class="head" d="M{px(x)} {px(y)}l{-into * 7} -3.2v6.4z"/>'
    return f'<path class="bar" d="M{px(x - into * BAR)} {px(y - 4)}v8"/>'


def _dot(x: float, y: float) -> str:
    """The sign of what was found in mice, or in human cells in them."""
    return f'<circle class="dot" cx="{px(x)}" cy="{px(y)}" r="5"/>' + label(x, y + 2.8, "m", "dotm", "middle")


def _shape(box: _Box) -> str:
    """The outline of a node; each kind has its own, so that no colour is needed."""
    x, y, w, h = box.x, box.y, NODE_PX, box.height
    if box.node.kind in ("process", "signal"):
        return f'<path class="box" d="M{px(x + 7)} {px(y)}h{px(w - 14)}l7 {px(h / 2)}l-7 {px(h / 2)}h{px(14 - w)}l-7 {px(-h / 2)}z"/>'
    if box.node.kind == "driver":
        return f'<path class="box" d="M{px(x)} {px(y)}h{px(w - 9)}l9 {px(h / 2)}l-9 {px(h / 2)}h{px(9 - w)}z"/>'
    round_px = min(h / 2, 16) if box.node.kind == "cell" else 0 if box.node.kind == "outcome" else 4
    outline = f'<rect class="box" x="{px(x)}" y="{px(y)}" width="{w}" height="{px(h)}" rx="{px(round_px)}"/>'
    if box.node.kind == "outcome":
        outline += f'<rect class="inner" x="{px(x + 3)}" y="{px(y + 3)}" width="{w - 6}" height="{px(h - 6)}"/>'
    return outline


def _node(box: _Box) -> str:
    node, x = box.node, box.x + NODE_PX / 2
    top = box.middle - LINE_PX * (len(box.lines) - 1) / 2 + 4
    words = "".join(label(x, top + n * LINE_PX, text, "name", "middle") for n, text in enumerate(box.lines))
    told = tip(f"{node.label}: {node.kind}" + (f", {node.compartment}" if node.compartment else ""))
    drawn = f'<g class="node {node.kind}" data-node="{node.id}" role="img" aria-label="{esc(node.label)}, {node.kind}">{_shape(box)}{words}{told}</g>'
    return drawn + "".join(_tag(edge, drug, box, n) for n, (edge, drug) in enumerate(box.tags))


def _tag(edge: Edge, drug: str, box: _Box, n: int) -> str:
    """A drug under its node: a bar where it lowers the node, an arrow where it raises it."""
    x, y = box.x + 10, box.y + box.height + n * TAG_PX
    sign = f"M{px(x)} {px(y + TAG_PX - 3)}v{px(5 - TAG_PX)}" + ("m-4 0h8" if edge.sign < 0 else "m-3 3.5l3 -3.5l3 3.5")
    told = tip(f"{drug} {'raises' if edge.sign > 0 else 'lowers'} {box.node.label}: {edge.effect}\n{backing(edge)}")
    data = f'data-drug="{edge.source}" data-edge="{edge.id}"'
    return f'<g class="tag" {data}><path class="sign" d="{sign}"/>{label(x + 8, y + 12, drug.partition(" (")[0], "drugname")}{told}</g>'


def key_svg() -> str:
    """How to read the figure."""
    samples = (
        ("patients primary", 1, "raises; solid: found in patients"),
        ("animals primary minus", -1, "lowers; dashed, m: animals, or human cells in them"),
        ("cells memory", 1, "dotted: cells, thin: from memory"),
        ("review lecture-only", 1, "dash and dot: a review"),
    )
    kinds = {
        "driver": "given before", "cell": "cell", "cytokine": "cytokine, mediator", "marker": "marker", "process": "process, signal",
        "outcome": "outcome",
    }  # fmt: skip
    parts: list[str] = []
    for n, (classes, sign, text) in enumerate(samples):
        x, y = 8.0 + n % 2 * 330, 14.0 + n // 2 * 22
        dot = _dot(x + 18, y) if "animals" in classes else ""
        parts.append(
            f'<g class="edge {classes}">{line(x, y, x + 36, y, "line")}{_end(x + 42, y, 1, sign)}{dot}</g>{label(x + 52, y + 4, text)}'
        )
    for n, (kind, text) in enumerate(kinds.items()):
        box = _Box(Node("", text, kind, ""), [text], [], x=8 + n * (NODE_PX + 16), y=56)
        parts.append(_node(box))
    tag = label(28, 103, "under a node: a drug that lowers it (bar) or raises it (arrow)", "drugname")
    parts.append(f'<g class="tag"><path class="sign" d="M20 104v-10m-4 0h8"/>{tag}</g>')
    return f'<svg class="key" role="img" aria-label="Key of the figure" viewBox="0 0 900 112">{"".join(parts)}</svg>'
