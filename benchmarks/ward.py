"""A ward at work: 200 patients with 30 days of hourly charting, 50 people and record systems who read and write at once.

Run `python -m benchmarks.ward`; `--seconds N` for a shorter look, which writes no section. The server is a process of its own, as `aftercar serve` starts it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric import ec

from aftercar.ward import accounts, record
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import opened
from benchmarks import results

PATIENTS, DAYS, CLIENTS, SECONDS = 200, 30, 50, 120
PAUSE_S = 2.0  # mean of a client between an answer and the next question
ISSUER = "https://hospital.example/ehr"
PASSWORD = "a password for a benchmark"
# What a client asks next, and how often of a hundred.
MIX = {"CDS Hooks, patient-view": 40, "patient page": 20, "ward list": 10, "grades by REST": 10, "write": 20}


def main() -> None:
    """Fill a database, start the server, ask, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    args = parser.parse_args()
    load, folder = os.getloadavg()[0], results.fresh_folder("ward")
    begun = time.perf_counter()
    url = f"sqlite:///{folder / 'ward.db'}"
    tokens = _fill(url, args.patients)
    print(f"  filled in {time.perf_counter() - begun:.0f} s", flush=True)
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys = folder / "keys.json"
    keys.write_text(json.dumps({ISSUER: {"keys": [public | {"kid": "one", "alg": "ES256", "use": "sig"}]}}))
    with _server(url, keys) as (base, process):
        begun = time.perf_counter()
        _wait_graded(base, tokens[0])
        print(f"  graded in {time.perf_counter() - begun:.0f} s", flush=True)
        alone = _alone(base, tokens[0], args.patients)
        times, errors = asyncio.run(_busy(base, key, tokens, args.patients, args.seconds))
        rush = asyncio.run(_rush(base, key, args.patients, 400))
        peak = _peak(process.pid)
    lines = [
        _line(name, found)
        for name, found in [
            *((name, times[name]) for name in MIX),
            ("patient page, one reader alone", alone),
            ("CDS Hooks, 50 at once without a pause", rush),
        ]
    ]
    table = "\n".join([HEAD, *lines])
    print(f"\n{table}\nerrors: {errors}; memory {peak:.0f} MiB")
    if args.seconds >= SECONDS and args.patients >= PATIENTS:
        n = sum(map(len, times.values()))
        text = TEMPLATE.format(
            machine=results.machine(load, "fastapi", "uvicorn", "sqlalchemy", "polars"), table=table, patients=args.patients, days=DAYS, clients=CLIENTS, pause=PAUSE_S,
            seconds=args.seconds, n=f"{n:,}", per_s=f"{n / args.seconds:.0f}", errors=errors, peak=f"{peak:,.0f}", rate=f"{len(rush) / sum(rush) * CLIENTS:.0f}",
        )  # fmt: skip
        results.write_section("ward", text)


def _fill(url: str, patients: int) -> list[str]:
    """Fill the database; a token for each client, who has signed in."""
    with opened(url) as database, database.writing() as connection:
        for n in range(patients):
            number = record.register(connection, f"P{n}", made_up=True)
            record.add(connection, number, _charted(n), "benchmark")
        for n in range(CLIENTS):
            accounts.add(connection, f"client{n}", "charting", PASSWORD)
        return [accounts.sign_in(connection, Person(f"client{n}", Role.CHARTING)) for n in range(CLIENTS)]


def _charted(seed: int) -> pl.DataFrame:
    """A patient on day 30 of hourly rounds, with a few days of fever."""
    draw, zero = (
        np.random.default_rng(seed),
        datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0) - timedelta(days=DAYS),
    )
    hourly, half_daily, daily = (np.arange(-24.0, 24 * DAYS, step) for step in (1, 12, 24))
    fever = np.where((hourly > 48) & (hourly < 72 + 4 * (seed % 20)), 1.8, 0.0)
    parts = [
        _rows(zero, [0.0], "cart_infusion", text="axi-cel"),
        _rows(zero, [-24.0], "age", [60.0], "a"),
        _rows(zero, [-24.0], "weight", [80.0], "kg"),
    ]
    parts.append(_rows(zero, hourly, "temperature", np.round(36.8 + fever + draw.normal(0, 0.3, len(hourly)), 1), "Cel"))
    for code, middle, sd, unit in (("sbp", 118, 8, "mm[Hg]"), ("map", 82, 6, "mm[Hg]"), ("spo2", 97, 1, "%")):
        parts.append(_rows(zero, hourly, code, np.round(middle + draw.normal(0, sd, len(hourly))), unit))
    parts += [
        _rows(zero, hourly, "o2_device", text="room_air"),
        _rows(zero, half_daily, "ice", np.full(len(half_daily), 10.0), "{score}"),
    ]
    for code, middle, unit in (
        ("crp", 30, "mg/L"),
        ("ferritin", 800, "ng/mL"),
        ("anc", 1500, "/uL"),
        ("platelets", 90, "10*9/L"),
    ):
        parts.append(_rows(zero, daily, code, np.round(middle * np.exp(draw.normal(0, 0.3, len(daily))), 1), unit))
    return pl.concat(parts)


def _rows(
    zero: datetime,
    hours: np.ndarray | list[float],
    code: str,
    value: np.ndarray | list[float] | None = None,
    unit: str | None = None,
    text: str | None = None,
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "time": [zero + timedelta(hours=float(h)) for h in hours], "code": code, "numeric_value": pl.Series(value, dtype=pl.Float64) if value is not None else None,
            "text_value": text, "unit": unit, "source": "benchmark",
        },
        schema_overrides={"numeric_value": pl.Float64, "text_value": pl.String, "unit": pl.String},
    )  # fmt: skip


@contextlib.contextmanager
def _server(url: str, keys: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [
        sys.executable,
        "-m",
        "aftercar",
        "serve",
        "--database",
        url,
        "--port",
        "0",
        "--zone",
        "UTC",
        "--ehr-keys",
        str(keys),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http\S+", process.stdout.readline())
            assert found, "the server did not start"
            yield found[0].rstrip("/"), process
        finally:
            process.terminate()


def _wait_graded(base: str, token: str) -> None:
    while "being graded" in httpx.get(base, headers={"Authorization": f"Bearer {token}"}, timeout=60).text:
        time.sleep(1)


def _alone(base: str, token: str, patients: int) -> list[float]:
    """One reader, one page after the other."""
    found = []
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for n in range(40):
            begun = time.perf_counter()
            client.get(f"/patients/{1 + n % patients}").raise_for_status()
            found.append(time.perf_counter() - begun)
            time.sleep(0.1)
    return found


async def _busy(
    base: str, key: ec.EllipticCurvePrivateKey, tokens: list[str], patients: int, seconds: int
) -> tuple[dict[str, list[float]], int]:
    """Clients that pause between questions: seconds of each answer, by kind, and how many were no answers."""
    times: dict[str, list[float]] = defaultdict(list)
    errors, until = 0, time.perf_counter() + seconds
    limits = httpx.Limits(max_connections=2 * CLIENTS, max_keepalive_connections=2 * CLIENTS)

    async def one(n: int) -> None:
        nonlocal errors
        draw = random.Random(n)
        headers = {"Authorization": f"Bearer {tokens[n]}"}
        while time.perf_counter() < until:
            await asyncio.sleep(draw.expovariate(1 / PAUSE_S))
            kind = draw.choices(list(MIX), list(MIX.values()))[0]
            begun = time.perf_counter()
            answer = await _ask(client, kind, key, headers, 1 + draw.randrange(patients), draw)
            times[kind].append(time.perf_counter() - begun)
            errors += answer.status_code >= 400

    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(one(n) for n in range(CLIENTS)))
    return times, errors


async def _ask(
    client: httpx.AsyncClient,
    kind: str,
    key: ec.EllipticCurvePrivateKey,
    headers: dict[str, str],
    number: int,
    draw: random.Random,
) -> httpx.Response:
    match kind:
        case "patient page":
            return await client.get(f"/patients/{number}", headers=headers)
        case "ward list":
            return await client.get("/", headers=headers)
        case "grades by REST":
            return await client.get(f"/api/v1/patients/{number}/grades", headers=headers)
        case "write":
            at = datetime.now(UTC).replace(tzinfo=None).isoformat()
            rows = [
                {"time": at, "code": "temperature", "numeric_value": round(draw.gauss(37.5, 1), 1), "unit": "Cel"},
                {"time": at, "code": "sbp", "numeric_value": round(draw.gauss(115, 9)), "unit": "mm[Hg]"},
                {"time": at, "code": "o2_device", "text_value": "room_air"},
            ]
            return await client.post(f"/api/v1/patients/{number}/events", json={"rows": rows}, headers=headers)
        case _:
            return await _hook(client, key, number)


async def _hook(client: httpx.AsyncClient, key: ec.EllipticCurvePrivateKey, number: int) -> httpx.Response:
    now, path = int(time.time()), "/cds-services/aftercar-grades"
    told = {
        "iss": ISSUER,
        "sub": "client",
        "aud": f"{client.base_url}{path}".replace("//cds", "/cds"),
        "iat": now,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
    }
    token = jwt.encode(told, key, "ES256", headers={"kid": "one"})
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": f"P{number - 1}"},
    }
    return await client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})


async def _rush(base: str, key: ec.EllipticCurvePrivateKey, patients: int, calls: int) -> list[float]:
    """As many calls as there are clients at once, without a pause."""
    found: list[float] = []
    left = iter(range(calls))

    async def one() -> None:
        for n in left:
            begun = time.perf_counter()
            (await _hook(client, key, 1 + n % patients)).raise_for_status()
            found.append(time.perf_counter() - begun)

    async with httpx.AsyncClient(base_url=base, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:
        await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return found


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def _line(name: str, found: list[float]) -> str:
    ms = sorted(1000 * t for t in found)
    cut = [ms[min(int(len(ms) * q), len(ms) - 1)] for q in (0.95, 0.99)]
    return f"| {name} | {len(ms):,} | {statistics.median(ms):.0f} | {cut[0]:.0f} | {cut[1]:.0f} | {ms[-1]:.0f} |"


HEAD = """| | answers | median, ms | 95th centile | 99th centile | longest |
| --- | --: | --: | --: | --: | --: |"""
TEMPLATE = """## A ward at work

{patients} patients with {days} days of hourly charting in SQLite; {clients} clients, each pausing {pause:g} s on average between an answer and the next question, for {seconds} s: {n} answers, {per_s} a
second, {errors} of them no answer. Every write is on disk and in the audit trail before it is answered, and is graded in a process of its own; hooks and pages wait for the grades of the
latest entry. The clients run on the same machine. {machine}

{table}

Without a pause 50 callers at once are answered at {rate} calls a second. Peak memory of the server {peak} MiB.
"""


if __name__ == "__main__":
    main()
