"""The house rules: who may import whom, what no committed file may hold, and what starting may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "aftercar"
LOCKS = sorted(ROOT.glob("requirements*.lock"))

# The data flow of the design, lowest first: a package may import what stands in its row, and nothing else of ours.
# `errors`, `files`, `told` and `intervals` are for all; `evidence` is for all above it. A new package needs a row.
MAY_IMPORT = {
    "errors": "",
    "files": "errors",
    "frames": "errors",
    "processes": "errors",
    "told": "errors",
    "spark": "errors",
    "intervals": "",
    "evidence": "errors files frames",
    "timeline": "errors files frames evidence",
    "options": "errors timeline",
    "grade": "errors files frames processes spark intervals evidence timeline options",
    "manage": "errors files frames intervals evidence timeline options grade",
    "risk": "errors files frames intervals evidence timeline options",
    "conformance": "errors timeline options grade manage risk",  # worked cases, and what asks them of graders, scores and rules
    "cohort": "errors files frames told intervals evidence timeline options grade risk",
    "registry": "errors files frames evidence timeline options grade",
    "simulate": "errors files frames processes evidence timeline grade",
    "synthesis": "errors intervals evidence",
    "sites": "errors files frames intervals evidence timeline options grade cohort synthesis",
    "calibrate": "errors files frames processes intervals evidence timeline options grade manage simulate",
    "trial": "errors files frames told processes spark intervals evidence timeline options grade cohort simulate",
    "export": "errors files frames evidence timeline grade",
    "report": "errors files frames intervals evidence timeline options grade manage risk cohort simulate synthesis calibrate trial registry",
    "ward": "errors files frames processes evidence timeline options grade manage registry",
    "web": "errors files frames intervals evidence timeline options grade manage risk cohort registry simulate synthesis calibrate trial report ward",
    "serve": "errors files frames evidence timeline options grade manage risk conformance cohort simulate synthesis sites calibrate trial export report ward web registry",
    "__main__": "serve",
}
HEAVY = (
    "alembic",
    "antimony",
    "argon2",
    "fastapi",
    "jinja2",
    "libsbml",
    "numba",
    "numpy",
    "pandas",
    "pint",
    "polars",
    "pyarrow",
    "roadrunner",
    "scipy",
    "sqlalchemy",
    "ucumvert",
    "uvicorn",
    "yaml",
)

# Addresses that may stand in a file: literature, standards and licences. Anything else is somebody's machine.
CITED = {
    "clinicaltrials.gov",
    "doi.org",
    "graphml.graphdrawing.org",
    "hl7.org",
    "evil.example",  # names kept for documentation: they lead nowhere
    "hospital.example",
    "localhost",
    "localhost.evil.example",
    "keepachangelog.com",
    "loinc.org",
    "medical-event-data-standard.github.io",
    "physionet.org",
    "pmc.ncbi.nlm.nih.gov",
    "pubmed.ncbi.nlm.nih.gov",
    "sandbox.cds-hooks.org",  # what the public sandbox calls itself in its tokens
    "semver.org",
    "snomed.info",
    "terminology.hl7.org",
    "ucum.org",
    "unitsofmeasure.org",
    "www.ama-assn.org",
    "www.cms.gov",
    "www.nlm.nih.gov",
    "www.sbml.org",
    "www.whocc.no",
    # Names that stand for the reader's own: a database, an object store, a cluster.
    "reader@warehouse",
    "bucket",
    "host:7077",
    "user@host",
    "user:password@host",
    "host:7077,",
    "...",
    "w3.org",
    "www.apache.org",
    "www.ncbi.nlm.nih.gov",
    "www.w3.org",
}
NOWHERE = re.compile(
    r"(\w+@)?(127\.0\.0\.1|localhost|\[::1\]|[\w.-]+\.example)(:[\d{}a-z_.]*)?,?"
)  # this machine, and names kept for examples
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|tmp|home|root|Users|mnt|opt)/")
REGISTRY = re.compile(r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|conda\.anaconda\.org|deb\.debian\.org)\b")
ADDRESS = re.compile(r"\b(?!sqlite:///[\w{])[a-z][a-z0-9+.-]*://([^\s/\"'<>)\]}`]*)", re.IGNORECASE)


# ---- imports follow the arrows


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Each of our modules that `source` imports, with the line: at the top, in a function or for types only."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parent = ".".join([*base, *filter(None, [node.module])])
            # `from aftercar import grade` names a package, or what the package hands on under that name.
            names = [f"aftercar.{a.name}" for a in node.names] if parent == "aftercar" else [parent]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in ("import_module", "__import__", "files") and isinstance(node.args[0].value, str):
                names = [node.args[0].value]
        line = getattr(node, "lineno", 0)
        yield from ((line, name) for name in names if name.split(".")[0] == "aftercar")


def forbidden(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The imports in `source` that go against the arrows, as `line: module`."""
    own = module.split(".")[1]
    allowed = {own, "__version__", *MAY_IMPORT[own].split()}
    return [
        f"{line}: {name}"
        for line, name in imported(source, module, is_package=is_package)
        if [*name.split("."), ""][1] not in allowed
    ]


def module_of(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_follow_the_data_flow(path: Path) -> None:
    module = module_of(path)
    assert module.split(".")[1] in MAY_IMPORT, "a new package needs a row in MAY_IMPORT"
    assert forbidden(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py") == []


def test_the_rows_are_in_order_so_no_circle_is_possible() -> None:
    rows = list(MAY_IMPORT)
    for n, (package, others) in enumerate(MAY_IMPORT.items()):
        assert set(others.split()) <= set(rows[:n]), package


@pytest.mark.parametrize(
    "line",
    [
        "import aftercar",
        "import aftercar.serve.cli",
        "from aftercar import grade",
        "from aftercar import read",
        "from aftercar.grade import crs",
        "from aftercar.report.html import page",
        "from ...grade import run",
        "def f():\n    from aftercar.cohort import incidence",
        "if TYPE_CHECKING:\n    from aftercar.grade.scale import Scale",
        "importlib.import_module('aftercar.grade.run')",
    ],
)
def test_an_import_against_the_arrows_is_seen(line: str) -> None:
    assert len(forbidden(line, "aftercar.timeline.readers.table")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "from aftercar import __version__",
        "from aftercar.errors import InputError",
        "from aftercar.timeline.schema import conform",
        "from .mapping import Mapping",
        "from ..schema import conform",
        "import polars as pl",
    ],
)
def test_an_import_along_the_arrows_is_free(line: str) -> None:
    assert forbidden(line, "aftercar.timeline.readers.table") == []
    assert forbidden("from .mapping import Mapping", "aftercar.timeline.readers", is_package=True) == []


def test_the_package_itself_imports_ours_only_when_asked() -> None:
    tree = ast.parse((SRC / "__init__.py").read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [name for node in at_once for _, name in imported(ast.unparse(node), "aftercar", is_package=True)] == []


def test_the_package_needs_only_what_it_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = {
        "argon2-cffi": "argon2",
        "pyjwt": "jwt",
        "libroadrunner": "roadrunner",
        "python-libsbml": "libsbml",
        "pyyaml": "yaml",
        "resvg-py": "resvg_py",
        "universal-pathlib": "upath",
    }
    extras = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {modules.get(name, name) for name in (Requirement(line).name for line in lines)}
    declared |= {"markupsafe"}  # the strings of jinja2
    declared |= {"right_hand_side"}  # ours: written from the model, and compiled with the kernel
    used: dict[str, Path] = {}
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        more = set(re.findall(r"\.to_(numpy|pandas|arrow|torch|jax)\(", text))
        # What simulates, and the statistics of cohorts, cannot be without it.
        numeric = ("aftercar.simulate.", "aftercar.calibrate.", "aftercar.trial.", "aftercar.cohort.")
        more -= {"numpy"} if module_of(path).startswith(numeric) else set()
        assert not more, f"{path}: polars needs more than itself for it"
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            used |= {name.split(".")[0]: path for name in names}
    foreign = {name: path for name, path in used.items() if name not in {*sys.stdlib_module_names, "aftercar"}}
    assert {name: path for name, path in foreign.items() if name not in declared} == {}
    # What others need and do not say: ucumvert an old pint, upath s3fs, PySpark pandas, FastAPI python-multipart, SQLAlchemy psycopg, and
    # uvicorn httptools and uvloop, without which each answer waits 40 ms for the other side's acknowledgement.
    others_use = {"pint", "markupsafe", "s3fs", "pandas", "python-multipart", "psycopg", "httptools", "uvloop"}
    assert declared - set(foreign) <= others_use, "declared, but not used"


# ---- starting is cheap


@pytest.mark.parametrize(
    "start",
    [
        "import aftercar",
        "from aftercar.serve.cli import app; app(['--help'], standalone_mode=False)",
        "from aftercar.serve.cli import app; app(['grade', '--help'], standalone_mode=False)",
    ],
    ids=["import", "help", "help of a command"],
)
def test_starting_loads_nothing_heavy(start: str) -> None:
    code = f"import sys\n{start}\nprint(); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# ---- what is committed


def committed() -> list[Path]:
    """Every file that git has or would take."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in sorted(set(done.stdout.split("\0"))) if name and (path := ROOT / name).is_file()]


def addresses(text: str) -> Iterator[str]:
    """What in a text would not hold on another machine: paths, registries, addresses that are no citation."""
    yield from (found.group() for found in MACHINE_PATH.finditer(text))
    yield from (found.group() for found in REGISTRY.finditer(text))
    hosts = ((found.group(), found.group(1).lower()) for found in ADDRESS.finditer(text))
    yield from (address for address, host in hosts if host not in CITED and not NOWHERE.fullmatch(host))


def test_no_committed_file_holds_a_machine_path_or_a_foreign_address() -> None:
    found: dict[str, list[str]] = {}
    for path in committed():
        data = path.read_bytes()
        if b"\0" in data or path == Path(__file__):  # Parquet and pictures; and the examples below
            continue
        if there := list(addresses(data.decode("utf-8"))):
            found[str(path.relative_to(ROOT))] = there
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["see /work/main/x", "'/home/ann/data'", "cd /tmp/x", "https://example.org/a", "index pypi.org", "file:///srv"],
)
def test_a_machine_path_or_a_foreign_address_is_seen(text: str) -> None:
    assert list(addresses(text))


@pytest.mark.parametrize(
    "text", ["https://doi.org/10.1/x", "docs/work/x", "../tmp/x", "out/tmp/", "//", "LOINC//8310-5", "mm/home"]
)
def test_citations_and_relative_paths_are_free(text: str) -> None:
    assert not list(addresses(text))


# ---- locks and wheel


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.split(r"\n(?=[a-z])", text.strip())
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []


def pins(lock: str) -> dict[str, list[str]]:
    """Package -> its pinned versions; more than one where they differ by Python."""
    found: dict[str, list[str]] = {}
    for name, pin in re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(pin)
    return found


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    run = project["project"]["dependencies"] + groups["build"]
    wanted = {
        "requirements.lock": run,
        "requirements-dev.lock": run + groups["dev"] + groups["docs"],
        "requirements-bench.lock": run + groups["bench"],
        "requirements-ward.lock": run
        + [need for extra in ("ward", "simulate") for need in project["project"]["optional-dependencies"][extra]],
    }
    assert [path.name for path in LOCKS] == sorted(wanted)
    for lock, lines in wanted.items():
        locked = pins(lock)
        for need in map(Requirement, lines):
            assert locked.get(need.name), f"{need.name} is not in {lock}: run `make lock`"
            assert all(need.specifier.contains(pin) for pin in locked[need.name]), f"{lock}: {need}: run `make lock`"


def test_the_larger_locks_agree_with_the_small_one() -> None:
    small = pins("requirements.lock")
    for lock in LOCKS:
        assert {name: pins(lock.name).get(name) for name in small} == small, lock.name


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """Tables, templates and rules ship beside the code; nothing else does."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {path.relative_to(SRC.parent).as_posix() for path in committed() if path.is_relative_to(SRC)}
    example = ROOT / "examples" / "cohort"  # a ward shows it
    ours |= {
        f"aftercar/ward/example_cohort/{path.relative_to(example).as_posix()}"
        for path in committed()
        if path.is_relative_to(example)
    }
    assert shipped == ours
    assert any(name.endswith(".toml") for name in ours)
    assert wheel.name.startswith(f"aftercar-{version('aftercar')}-")
