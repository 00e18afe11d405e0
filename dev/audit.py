"""Ask the OSV database for known vulnerabilities of all that the lock files name; part of `make check`.

    .venv/bin/python dev/audit.py

Fails if there is one that `IGNORED` does not name. Where the database does not answer, as behind a closed network, it says so on stderr and goes on; with
`AFTERCAR_AUDIT=required` it fails then too. `AFTERCAR_AUDIT_URL` is another address that speaks as OSV does, such as a mirror.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is known of a dependency and does not touch us: the advisory, and why not. Take it out again when the dependency was mended.
IGNORED: dict[str, str] = {}
LONGEST_S = 300  # in all
ANSWER_S = 10  # of one question


def main() -> None:
    locks = sorted(ROOT.glob("requirements*.lock"))
    try:
        asked = subprocess.run(command(locks), cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        sys.exit(not_audited(f"no answer within {LONGEST_S} s"))
    try:
        told = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):  # it exits with 1 whether something was found or it could not ask
        sys.exit(not_audited(last_line(asked.stderr)))
    if left := [each["name"] for each in told if "skip_reason" in each]:
        sys.exit(not_audited(f"nothing is known of {', '.join(left)}"))
    if found := [(each, fault) for each in told for fault in each["vulns"]]:
        print(
            "Known vulnerabilities; run `make lock`, or name the advisory in dev/audit.py with a reason if it does not touch us:",
            file=sys.stderr,
        )
        for each, fault in found:
            mended = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"  {each['name']} {each['version']}: {fault['id']}, mended in {mended}", file=sys.stderr)
        sys.exit(1)
    print(f"No known vulnerability in {len({each['name'] for each in told})} packages of {len(locks)} locks.")


def command(locks: list[Path]) -> list[str]:
    """The question: of what the locks name, without resolving or installing anything."""
    url = os.environ.get("AFTERCAR_AUDIT_URL")
    return [
        sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json", "--timeout", str(ANSWER_S),
        "--vulnerability-service", "osv", *(["--osv-url", url] if url else []),
        *(word for lock in locks for word in ("--requirement", str(lock))), *(word for advisory in IGNORED for word in ("--ignore-vuln", advisory)),
    ]  # fmt: skip


def not_audited(why: str) -> int:
    """Say it; the exit code."""
    required = os.environ.get("AFTERCAR_AUDIT") == "required"
    more = "" if required else " `AFTERCAR_AUDIT=required` makes this a failure."
    print(f"not audited: {why}. The locks were not held against known vulnerabilities.{more}", file=sys.stderr)
    return int(required)


def last_line(text: str) -> str:
    """What a program said at its end, such as the error of a traceback."""
    return ([line for line in text.splitlines() if line.strip()] or ["pip-audit said nothing"])[-1].strip()[:300]


if __name__ == "__main__":
    main()
