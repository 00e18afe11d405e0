"""`aftercar serve` and `aftercar ward` as one starts them."""

from __future__ import annotations

import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from commands import run
from ward_support import PASSWORD, ROOT, a_server, csrf_of

from aftercar.timeline.readers import read
from aftercar.timeline.store import write_timeline
from aftercar.ward import record
from aftercar.ward.database import opened


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_without_anything_it_shows_the_example_cohort_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    room = tmp_path / "room"
    room.mkdir()
    with a_server(tmp_path, environment={"TMPDIR": str(room)}) as live:
        assert urlsplit(live.url)[:2] == ("http", f"127.0.0.1:{urlsplit(live.url).port}")
        assert live.process.stdout is not None
        said = live.process.stdout.readline() + live.process.stdout.readline()
        assert "Made-up patients" in said and "Nobody signs in" in said
        page = httpx.get(live.url, timeout=60).text
        assert page.count("made-up patient") >= 39 and "Local time" in page and "Intended use" in page
        assert list(room.iterdir())
        live.kill(how)
        assert live.process.returncode in (0, 130)
        assert not list(room.glob("aftercar-ward-*"))
        assert "Traceback" not in live.logged()


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("serve", "--database", f"sqlite:///{tmp_path}/ward.db", "--port", port, capsys=capsys)
    assert code == 2 and f"127.0.0.1:{port}" in err and "--port" in err


@pytest.mark.parametrize("zone", ["Nowhere/Town", "", "../etc/passwd", "Europe"])
def test_a_zone_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], zone: str) -> None:
    code, _, err = run("serve", "--database", f"sqlite:///{tmp_path}/ward.db", "--zone", zone, capsys=capsys)
    assert code == 2 and "time zone" in err


def test_accounts_are_added_listed_changed_and_turned_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERCAR_DATABASE", f"sqlite:///{tmp_path}/ward.db")
    monkeypatch.setenv("AFTERCAR_PASSWORD", "short")
    code, _, err = run("ward", "account", "anna", "--role", "reader", capsys=capsys)
    assert code == 2 and "12 characters" in err
    monkeypatch.setenv("AFTERCAR_PASSWORD", PASSWORD)
    assert run("ward", "account", "anna", capsys=capsys)[0] == 2
    assert run("ward", "account", "anna", "--role", "physician", capsys=capsys)[0] == 2
    assert run("ward", "account", "anna", "--role", "reader", capsys=capsys)[0] == 0
    assert run("ward", "account", "anna", "--role", "charting", capsys=capsys)[0] == 0
    monkeypatch.setenv("AFTERCAR_PASSWORD", PASSWORD + "!")
    assert run("ward", "account", "anna", capsys=capsys)[0] == 0
    assert "charting" in run("ward", "accounts", capsys=capsys)[1]
    assert run("ward", "account", "anna", "--off", capsys=capsys)[0] == 0
    listed = run("ward", "accounts", capsys=capsys)[1]
    assert "anna" in listed and "no" in listed.split() and PASSWORD not in listed
    code, out, _ = run("ward", "verify", capsys=capsys)
    assert code == 0 and out.startswith("4 rows, unbroken")


def test_a_timeline_is_registered_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/ward.db"
    cohort = ROOT / "examples" / "cohort"
    source = read(cohort / "data", cohort / "mapping.toml")
    timeline = write_timeline(source, tmp_path / "timeline")
    assert run("ward", "import", timeline, "--database", url, capsys=capsys)[1].strip().endswith("Registered: 40")
    assert run("ward", "import", timeline, "--database", url, capsys=capsys)[1].strip().endswith("Registered: 0")
    with opened(url) as database, database.reading() as connection:
        kept = sum(len(record.history(connection, who.subject_id)) for who in record.patients(connection))
    assert kept == source.timeline.filter(code="record_complete").height * -1 + source.timeline.height


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return folder / "certificate.pem", folder / "key.pem"


@pytest.mark.slow
def test_beyond_this_machine_it_speaks_tls_and_asks_who_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/ward.db"
    monkeypatch.setenv("AFTERCAR_PASSWORD", PASSWORD)
    assert run("ward", "account", "anna", "--role", "charting", "--database", url, capsys=capsys)[0] == 0
    chain, key = certificate(tmp_path)
    words = ("--database", url, "--host", "0.0.0.0", "--name", "ward.example", "--certificate", str(chain), "--key", str(key))
    with a_server(tmp_path, *words) as live:
        address = live.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=address, verify=False, headers={"host": "ward.example"}) as client:
            assert client.get("/").headers["location"] == "/sign-in"
            answer = client.post("/sign-in", data={"name": "anna", "password": PASSWORD})
            assert answer.status_code == 303 and "Secure" in answer.headers["set-cookie"]
            assert "strict-transport-security" in answer.headers
            assert client.get("/", headers={"host": "evil.example"}).status_code == 400
        with pytest.raises(httpx.TransportError):
            httpx.get(address.replace("https", "http"))
        assert "Traceback" not in live.logged() and PASSWORD not in live.logged()


@pytest.mark.slow
def test_what_was_entered_is_there_after_a_restart(url: str, tmp_path: Path) -> None:
    with opened(url) as database, database.writing() as connection:
        number = record.register(connection, "P-1")
    with (
        a_server(tmp_path, "--database", url, "--zone", "America/New_York") as live,
        httpx.Client(base_url=live.url, timeout=60) as client,
    ):
        page = client.get(f"/patients/{number}/enter").text
        assert "America/New_York (UTC-0" in page
        form = {"csrf": csrf_of(page), "time": "2026-03-02T08:00", "temperature": "38.4"}
        assert client.post(f"/patients/{number}/enter", data=form).status_code == 303
        live.kill(signal.SIGTERM)
    with a_server(tmp_path, "--database", url) as live:
        assert "38.4" in httpx.get(f"{live.url}/patients/{number}/enter", timeout=60).text


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("ward", "--help", capsys=capsys)
    assert code == 0
    for command in ("account", "accounts", "import", "verify"):
        assert command in out
