"""The mechanism graph: what a drug cuts, against every path of small graphs; and the page and files that show it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st

from aftercar.errors import OptionError
from aftercar.evidence.graph import Edge, Graph, Node, mechanism, to_graphml, to_json
from aftercar.evidence.sources import keys
from aftercar.evidence.tables import table, verified
from aftercar.report.mechanism import render_mechanism
from aftercar.report.mechanism_svg import EVIDENCE, bands

GRAPH = mechanism()
NODES = ["a", "b", "c", "d", "e", "f"]


# ---- what is cut, against every path


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to six nodes, the last one or two of them outcomes, and a drug on some of them."""
    names = NODES[: draw(st.integers(2, 6))]
    outcomes = names[-draw(st.integers(1, 2)) :]
    nodes = [Node(n, n, "outcome" if n in outcomes else "process", "") for n in names] + [Node("drug", "drug", "drug", "drug")]
    pairs = draw(st.sets(st.sampled_from([*itertools.permutations(names, 2), *((n, n) for n in names)]), max_size=14))
    acts = draw(st.dictionaries(st.sampled_from(names), st.sampled_from([1, -1]), min_size=1, max_size=3))
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=len(pairs), max_size=len(pairs)))
    edges = [Edge(f"{s}{t}", s, t, sign) for (s, t), sign in zip(sorted(pairs), signs, strict=True)]
    return Graph({n.id: n for n in nodes}, (*edges, *(Edge(f"drug-{n}", "drug", n, sign) for n, sign in acts.items())))


def every_path(graph: Graph) -> list[tuple[str, ...]]:
    """All sequences of different nodes that edges join, by trying each."""
    names = [n for n in graph.nodes if n != "drug"]
    joined = {(e.source, e.target) for e in graph.edges}
    tried = (p for k in range(2, len(names) + 1) for p in itertools.permutations(names, k))
    return [p for p in tried if all(pair in joined for pair in itertools.pairwise(p))]


@given(graphs())
def test_a_cut_is_what_trying_every_path_finds(graph: Graph) -> None:
    cut = graph.cut_by("drug")
    paths = every_path(graph)
    lowered = {e.target for e in graph.edges if e.source == "drug" and e.sign < 0}
    assert set(cut.lowered) == lowered
    assert {(e.source, e.target) for e in cut.edges} == {(e.source, e.target) for e in graph.biology if e.source in lowered}
    # Every way from a lowered node to an outcome, once, the shortest first.
    assert sorted(p.nodes for p in cut.paths) == sorted(p for p in paths if p[0] in lowered and p[-1] in graph.outcomes)
    assert [len(p.nodes) for p in cut.paths] == sorted(len(p.nodes) for p in cut.paths)
    driven = {e.target for e in graph.biology}
    begins = {n for n in graph.nodes if n != "drug" and n not in driven}
    assert set(graph.beginnings) == begins

    def reached(whole: list[tuple[str, ...]]) -> set[str]:
        return begins | {p[-1] for p in whole if p[0] in begins}

    clear = [p for p in paths if not set(p[:-1]) & lowered]
    assert set(cut.silenced) == reached(paths) - reached(clear)
    for outcome in graph.outcomes:
        ways = [p for p in clear if p[0] in begins and p[-1] == outcome]
        found = cut.still_open.get(outcome)
        assert (found is None) == (not ways)
        if found:
            assert found.nodes in ways and len(found.nodes) == min(map(len, ways))


@given(graphs())
def test_the_sign_of_a_path_is_the_product_of_its_signs(graph: Graph) -> None:
    sign = {(e.source, e.target): e.sign for e in graph.biology}
    for path in graph.cut_by("drug").paths:
        product = 1
        for pair in itertools.pairwise(path.nodes):
            product *= sign[pair]
        assert path.sign == product


# ---- the graph that ships


def cut_nodes(drug: str) -> set[tuple[str, str]]:
    return {(e.source, e.target) for e in GRAPH.cut_by(drug).edges}


def test_the_graph_is_the_tables() -> None:
    assert set(GRAPH.nodes) == set(table("mechanism_nodes")["node_id"])
    assert [e.id for e in GRAPH.edges] == table("mechanisms")["edge_id"].to_list()
    assert all(e.verified in verified() for e in GRAPH.edges)


def test_what_the_lecture_says_of_its_drugs() -> None:
    # Tocilizumab blocks signalling; it leaves IL-6 and its way into the brain, and IL-1, which is why it does not prevent ICANS.
    assert cut_nodes("tocilizumab") == {("il6r_signal", "crs"), ("il6r_signal", "crp")}
    assert [(e.target, e.sign) for e in GRAPH.cut_by("tocilizumab").acts] == [("il6r_signal", -1), ("il6", 1)]
    assert {("il1", "crs"), ("il1", "icans"), ("il1", "il6")} <= cut_nodes("anakinra")
    # Continuous IL-1 blockade may cost CAR-T activity: it cuts a push on tumour killing.
    killing = next(p for p in GRAPH.cut_by("anakinra").paths if p.nodes[-1] == "tumour_kill")
    assert killing.nodes == ("il1", "cart", "tumour_kill") and killing.sign == 1
    # GM-CSF neutralisation takes a brake off CAR-T cells: GM-CSF raises suppressor cells, which lower CAR-T.
    braked = [p for p in GRAPH.cut_by("lenzilumab").paths if p.nodes == ("gmcsf", "mdsc", "cart", "tumour_kill")]
    assert [p.sign for p in braked] == [-1]
    assert GRAPH.cut_by("tak1_inhibitor").silenced == ("p38",)
    # BCMA: two negative edges, so CAR-T raises parkinsonism.
    way = ("cart_activation", "cart", "caudate_bcma", "parkinsonism")
    assert [p.sign for p in GRAPH.cut_by("ibrutinib").paths if p.nodes == way] == [1]


def test_an_unknown_drug_is_said_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean tocilizumab"):
        GRAPH.cut_by("tocilizumb")


# ---- the page and the files


class Page(HTMLParser):
    """What a page loads, its ids and links, and the data of its figure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.data: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "xlink:href") or (tag in ("link", "use", "image") and name == "href"):
                self.loads.append(str(value))
            elif name == "id":
                self.ids.append(str(value))
            elif name == "href":
                self.links.append(str(value))
            elif name.startswith("data-"):
                self.data.setdefault(name, []).append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in self.open:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text() -> str:
    return render_mechanism(GRAPH)


def test_every_node_has_a_place_and_every_evidence_a_stroke() -> None:
    placed = [node for nodes in bands().values() for node in nodes]
    assert sorted(placed) == sorted(n.id for n in GRAPH.nodes.values() if n.kind != "drug")
    assert {e.evidence_type for e in GRAPH.edges} <= set(EVIDENCE)


def test_the_page_holds_every_edge_twice_and_loads_nothing(text: str) -> None:
    page = Page(text)
    assert page.open == [] and page.loads == []
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all(link.startswith(("#", "https://doi.org/10.")) for link in page.links)
    assert sorted(page.data["data-edge"]) == sorted(e.id for e in GRAPH.edges)  # in the figure, drugs as tags
    assert {e.id for e in GRAPH.edges} <= set(page.ids)  # in the table
    assert sorted(filter(None, page.data["data-node"])) == sorted(n.id for n in GRAPH.nodes.values() if n.kind != "drug")
    for drug in GRAPH.drugs:
        assert f"drug-{drug}" in page.ids and drug in page.data["data-drug"]


def test_only_the_script_of_the_page_may_run(text: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_script_has_what_the_graph_says(text: str) -> None:
    (data,) = re.findall(r'<script type="application/json" id="cuts">(.*?)</script>', text, re.S)
    cuts = json.loads(data)
    assert list(cuts) == GRAPH.drugs
    for drug, told in cuts.items():
        cut = GRAPH.cut_by(drug)
        assert told["edges"] == [e.id for e in cut.edges]
        assert told["lowered"] == list(cut.lowered) and told["silenced"] == list(cut.silenced)


def test_names_of_a_graph_cannot_break_the_page() -> None:
    nodes = dict(GRAPH.nodes)
    nodes["crs"] = Node("crs", '</script><img src="x">', "outcome", "systemic")
    page = Page(render_mechanism(Graph(nodes, GRAPH.edges)))
    assert page.loads == [] and page.open == []


def test_json_and_graphml_hold_the_graph() -> None:
    told = json.loads(to_json(GRAPH))
    edges = tuple(Edge(**{**e, "references": tuple(e["references"])}) for e in told["edges"])
    assert Graph({n["id"]: Node(**n) for n in told["nodes"]}, edges) == GRAPH
    assert {d: len(c["paths"]) for d, c in told["cuts"].items()} == {d: len(GRAPH.cut_by(d).paths) for d in GRAPH.drugs}

    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    root = ElementTree.fromstring(to_graphml(GRAPH))
    types = {key.get("id"): key.get("attr.type") for key in root.findall("g:key", space)}

    def fields(element: ElementTree.Element) -> dict[str, Any]:
        own: dict[str, Any] = dict(element.attrib)
        for data in element.findall("g:data", space):
            key = str(data.get("key"))
            own[key.partition("_")[2]] = int(data.text or 0) if types[key] == "int" else data.text or ""
        return own

    read = [fields(edge) for edge in root.findall("g:graph/g:edge", space)]
    edges = tuple(Edge(**{**edge, "references": tuple(keys(edge.get("references")))}) for edge in read)
    nodes = [Node(**fields(node)) for node in root.findall("g:graph/g:node", space)]
    assert Graph({n.id: n for n in nodes}, edges) == GRAPH


def test_the_command_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("m.html", "m.graphml", "m.json"):
        code, out, _ = run("evidence", "graph", "--out", tmp_path / name, capsys=capsys)
        assert code == 0 and "Written" in out and (tmp_path / name).stat().st_size > 10_000
    code, out, _ = run("evidence", "graph", "--drug", "anakinra", capsys=capsys)
    flat = " ".join(out.split())
    assert (
        code == 0
        and "Anakinra lowers IL-1b" in flat
        and "giavridis2018; verified: primary" in flat
        and "conflicts with Norelli" in flat
    )
    for words, says in (
        (["--out", tmp_path / "m.png"], ".html, .graphml or .json"),
        ([], "Name a file by --out"),
        (["--drug", "x"], "no drug of the graph"),
    ):
        code, _, err = run("evidence", "graph", *words, capsys=capsys)
        assert code == 2 and says in err
