"""Make `.venv` and install aftercar in it from a lock file with hashes. Needs Python 3.11 or newer and nothing else.

    python3 dev/setup.py            what aftercar needs to run
    python3 dev/setup.py --dev      and its tests, linter, type checker and documentation
    python3 dev/setup.py --bench    and what the benchmarks compare against

uv does the work where it is on PATH, else pip, with the package index that they are set up for. Where everything is in
place already, nothing is done. An interrupted run leaves no stamp, and the next one starts afresh.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "aftercar needs Python 3.11 or newer; {} is {}.{}.\nInstall a newer one and name it: make PY=python3.12 demo".format(
            sys.executable, *sys.version_info[:2]
        )
    )

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"  # lock -> its hash when it was installed; written last
LOCKS = {
    "run": "requirements.lock",
    "dev": "requirements-dev.lock",
    "bench": "requirements-bench.lock",
    "ward": "requirements-ward.lock",
}
# An environment cannot be moved, nor pass from one Python to another.
HOME = f"{sys.version} in {sys.base_prefix}, {VENV}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make .venv and install aftercar in it.")
    parser.add_argument("--dev", action="store_true", help="also the tests, linter, type checker and documentation")
    parser.add_argument("--ward", action="store_true", help="also the server of a ward, and what simulates")
    parser.add_argument("--bench", action="store_true", help="also what the benchmarks compare against")
    args = parser.parse_args()
    chosen = [name for name in ("dev", "bench", "ward") if getattr(args, name)] or ["run"]
    wanted = {name: fingerprint(name) for name in chosen}
    if wanted.items() <= installed().items():
        return
    if os.name == "nt":
        sys.exit("aftercar is set up on Linux and macOS; on Windows, use WSL.")
    with alone():
        done = installed()
        if wanted.items() <= done.items():  # another run was faster
            return
        started = time.monotonic()
        print(f"Setting up .venv from {', '.join(LOCKS[name] for name in chosen)} ...", flush=True)
        if not done:
            make_venv()
        STAMP.unlink(missing_ok=True)
        for name in chosen:
            install(LOCKS[name])
        # Each lock holds all that running needs.
        write_stamp(done | wanted | {"run": fingerprint("run"), "home": HOME})
        print(f"Ready in {time.monotonic() - started:.0f} s.", flush=True)


def fingerprint(name: str) -> str:
    """Hash of a lock file and `pyproject.toml`, together all that an environment is made from."""
    digest = hashlib.sha256()
    for path in (ROOT / LOCKS[name], ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed() -> dict[str, str]:
    """What the stamp says; empty where there is none, or where it was made for another place or Python."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if stamp.get("home") == HOME and PYTHON.exists() else {}


def write_stamp(stamp: dict[str, str]) -> None:
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    part.replace(STAMP)


@contextlib.contextmanager
def alone():
    """Wait until no other run is at work here."""
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def make_venv() -> None:
    if find_spec("venv") is None:
        sys.exit(missing("venv"))
    import venv

    venv.create(VENV, clear=True, symlinks=True, with_pip=False)


def install(lock: str) -> None:
    """Install a lock, then aftercar itself, as editable and without asking the network again."""
    wheels = ["--only-binary", ":all:"] if lock == LOCKS["run"] else []  # PySpark is published as source alone
    steps = (
        ["--require-hashes", *wheels, "-r", lock],
        ["--no-deps", "--no-build-isolation", "-e", "."],
    )
    uv = shutil.which("uv")
    if uv and all(run(uv, "pip", "install", "-q", "--python", str(PYTHON), *step) is None for step in steps):
        return
    # uv does not read pip's settings, so where it fails pip may yet know of an index.
    if not any(VENV.glob("lib/*/site-packages/pip")):
        if find_spec("ensurepip") is None:
            sys.exit(missing("ensurepip"))
        fail_on(run(str(PYTHON), "-m", "ensurepip"))
    for step in steps:
        fail_on(run(str(PYTHON), "-m", "pip", "install", "-q", "--no-user", "--disable-pip-version-check", *step))


def run(*command: str) -> str | None:
    """None if the command went well, else what it printed."""
    # A caller's PYTHONPATH would make pip take what lies there for installed.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(command, cwd=ROOT, env=env, stdin=null, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode else None


def fail_on(output: str | None) -> None:
    if output is not None:
        sys.exit(
            f"{output}\nThe installation failed. Is there a network? A package index of your own is read from\n"
            "pip.conf or PIP_INDEX_URL. Then run the same command again."
        )


def missing(module: str) -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"This Python ({sys.executable}) lacks its module {module}. On Debian or Ubuntu:\n"
        f"    sudo apt install python{version}-venv\nThen run the same command again."
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted. Run the same command again; it starts afresh.")
