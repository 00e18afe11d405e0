"""FHIR bulk exports by URL, against a server that behaves as the guide says, and against ones that do not."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from aftercar.errors import InputError
from aftercar.timeline.readers import bulk, read
from aftercar.timeline.store import import_folder, open_timeline

TOKEN = "not-for-your-eyes"
HTTP = "http:" + "//"


def temperature(value: float) -> bytes:
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "subject": {"reference": "Patient/ann"},
        "effectiveDateTime": "2024-05-02T08:00:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
        "valueQuantity": {"value": value, "code": "Cel"},
    }
    return json.dumps(resource).encode() + b"\n"


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0  # bytes of the body that are never sent


class Server(ThreadingHTTPServer):
    """Answers of each path in order; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = f"{HTTP}127.0.0.1:{self.server_port}"

    def manifest(self, *files: tuple[str, str], **more: object) -> Answer:
        output = [{"type": kind, "url": self.url + path} for kind, path in files]
        content = {"transactionTime": "2024-06-01T00:00:00Z", "requiresAccessToken": True, "output": output, "error": []} | more
        return Answer(body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def exports(self, *files: tuple[str, str], **more: object) -> str:
        """Set up an export of these files; the address to ask."""
        self.answers["/fhir/$export"] = [Answer(202, headers={"Content-Location": f"{self.url}/status/1"})]
        self.answers["/status/1"] = [self.manifest(*files, **more)]
        return f"{self.url}/fhir/$export"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path, dict(self.headers)))
        answers = self.server.answers.get(path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(202 if self.command == "DELETE" else answer.status)
        body = b"" if self.command == "DELETE" else answer.body
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) - answer.cut])
        self.close_connection = True

    do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv(bulk.TOKEN, raising=False)
    served = Server()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited. Threads that other tests left sleep on."""
    waited: list[float] = []
    monkeypatch.setattr(bulk, "time", SimpleNamespace(sleep=waited.append, monotonic=time.monotonic))
    return waited


def test_an_export_is_asked_for_waited_for_and_read(server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bulk.TOKEN, TOKEN)
    url = server.exports(("Observation", "/files/1"), ("Observation", "/files/2"))
    pending = [Answer(202, headers={"Retry-After": "7", "X-Progress": "30 %"}), Answer(202, headers={"X-Progress": "80 %"})]
    server.answers["/status/1"] = [*pending, *server.answers["/status/1"]]
    server.answers["/files/1"] = [Answer(body=temperature(38) + temperature(39))]
    server.answers["/files/2"] = [Answer(body=gzip.compress(temperature(40)), headers={"Content-Encoding": "gzip"})]
    told: list[str] = []
    found = read(f"{url}?_type=Observation", progress=lambda progress: told.append(progress.name))
    assert found.timeline["numeric_value"].to_list() == [38, 39, 40]
    assert found.timeline["source"].to_list()[::2] == ["Observation.0001.ndjson:1", "Observation.0002.ndjson.gz:1"]
    assert waits == [7.0, 10.5] and "waiting for the server 80 %" in told
    kick_off = server.asked[0][2]
    assert kick_off["Accept"] == "application/fhir+json" and kick_off["Prefer"] == "respond-async"
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, _, headers in server.asked)
    assert server.asked[-1][:2] == ("DELETE", "/status/1")  # the server need not keep it


def test_a_group_is_asked_to_export(server: Server) -> None:
    server.answers["/fhir/Group/7/$export"] = [Answer(202, headers={"Content-Location": "/status/1"})]
    server.answers["/status/1"] = [server.manifest(("Observation", "/files/1"))]
    server.answers["/files/1"] = [Answer(body=temperature(38))]
    assert read(f"{server.url}/fhir/Group/7").accepted == 1


def test_a_manifest_or_a_file_by_its_address(server: Server) -> None:
    server.answers["/done.json"] = [server.manifest(("Observation", "/files/1"))]
    server.answers["/files/1"] = server.answers["/Observation.000.ndjson"] = [Answer(body=temperature(38))]
    assert read(f"{server.url}/done.json").accepted == 1
    assert read(f"{server.url}/Observation.000.ndjson").timeline["source"].to_list() == ["Observation.000.ndjson:1"]


def test_a_manifest_of_several_pages(server: Server) -> None:
    url = server.exports(("Observation", "/files/1"), link=[{"relation": "next", "url": f"{server.url}/status/2"}])
    server.answers["/status/2"] = [server.manifest(("Observation", "/files/1"))]
    server.answers["/files/1"] = [Answer(body=temperature(38))]
    assert read(url).accepted == 2


@pytest.mark.parametrize("after", ["3", None, "Mon, 01 Jan 2024 00:00:00 GMT"])
def test_a_busy_server_is_asked_again(after: str | None, server: Server, waits: list[float]) -> None:
    url = server.exports(("Observation", "/files/1"))
    busy = Answer(429, headers={"Retry-After": after} if after else {})
    server.answers["/fhir/$export"].insert(0, busy)
    server.answers["/files/1"] = [Answer(503), Answer(body=temperature(38))]
    assert read(url).accepted == 1
    assert waits == [{"3": 3.0, None: 2.0}.get(after, 1.0), 2.0]


def test_a_server_that_stays_busy(server: Server, waits: list[float]) -> None:
    server.answers["/fhir/$export"] = [Answer(503)]
    with pytest.raises(InputError, match=r"/fhir/\$export: the server answered 503"):
        read(f"{server.url}/fhir/$export")
    assert len(waits) < 10


def test_what_the_server_could_not_export_is_listed(server: Server) -> None:
    url = server.exports(("Observation", "/files/1"), error=[{"type": "OperationOutcome", "url": f"{server.url}/files/e"}])
    server.answers["/files/1"] = [Answer(body=temperature(38))]
    issue = {"severity": "error", "code": "exception", "diagnostics": "Ann Miller"}
    server.answers["/files/e"] = [Answer(body=json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode())]
    found = read(url)
    assert (found.read, found.accepted) == (2, 1)
    assert found.rejected.select("file", "reason").rows() == [("OperationOutcome_error.0002.ndjson", "export_error")]
    assert "Miller" not in str(found.rejected.rows())


def test_deleted_resources_are_not_passed_over_in_silence(server: Server) -> None:
    url = server.exports(("Observation", "/files/1"), deleted=[{"type": "Bundle", "url": f"{server.url}/files/d"}])
    server.answers["/files/1"] = [Answer(body=temperature(38))]
    assert "deleted" in read(url).skipped_files


def test_a_download_that_is_cut_off_is_tried_again(server: Server, waits: list[float]) -> None:
    url = server.exports(("Observation", "/files/1"))
    whole = temperature(38) * 50
    server.answers["/files/1"] = [Answer(body=whole, cut=100), Answer(body=whole, cut=1), Answer(body=whole)]
    assert read(url).accepted == 50
    server.answers["/files/1"] = [Answer(body=whole, cut=1)]
    with pytest.raises(InputError, match="cut off"):
        read(url)


def test_a_failed_import_leaves_nothing(server: Server, tmp_path: Path) -> None:
    url = server.exports(("Observation", "/files/1"), ("Observation", "/files/gone"))
    server.answers["/files/1"] = [Answer(body=temperature(38))]
    with pytest.raises(InputError, match=r"/files/gone: not there, or no longer \(404\)"):
        import_folder(url, tmp_path / "timeline")
    assert list(tmp_path.iterdir()) == []
    assert server.asked[-1][0] == "DELETE"
    server.answers["/files/gone"] = [Answer(body=temperature(39))]
    assert open_timeline(import_folder(url, tmp_path / "timeline")).info["accepted"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["timeline"]


@pytest.mark.parametrize(
    ("given", "match"), [(None, "asks for a token; put one into the environment"), (TOKEN, "refuses the token")]
)
def test_a_server_that_lets_nobody_in(given: str | None, match: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if given:
        monkeypatch.setenv(bulk.TOKEN, given)
    server.answers["/fhir/$export"] = [Answer(401)]
    with pytest.raises(InputError, match=match) as caught:
        read(f"{server.url}/fhir/$export?secret=1")
    assert TOKEN not in str(caught.value) and "secret" not in str(caught.value)


def test_a_token_goes_only_where_it_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bulk.TOKEN, TOKEN)
    url = server.exports(("Observation", "/signed"), requiresAccessToken=False)
    server.answers["/signed"] = [Answer(307, headers={"Location": f"{server.url}/elsewhere"})]
    server.answers["/elsewhere"] = [Answer(body=temperature(38))]
    assert read(url).accepted == 1
    assert not [path for _, path, headers in server.asked if "Authorization" in headers and path in ("/signed", "/elsewhere")]
    server.answers["/status/1"] = [server.manifest(("Observation", "/signed"))]
    read(url)  # a redirect may lead to another host
    assert not [path for _, path, headers in server.asked if "Authorization" in headers and path == "/elsewhere"]


def http_only(server: Server) -> str:
    return HTTP + "hospital.example/fhir/$export"


def redirected(server: Server) -> str:
    server.answers["/fhir/$export"] = [Answer(302, headers={"Location": HTTP + "hospital.example/fhir/$export"})]
    return f"{server.url}/fhir/$export"


def elsewhere(server: Server) -> str:
    url = server.exports()
    server.answers["/status/1"] = [server.manifest(output=[{"type": "Patient", "url": "file:" + "///etc/passwd"}])]
    return url


def with_password(server: Server) -> str:
    return "https:" + "//ann:secret@hospital.example/fhir/$export"


@pytest.mark.parametrize("where", [http_only, redirected, elsewhere, with_password])
def test_addresses_that_are_not_safe(where: Callable[[Server], str], server: Server) -> None:
    with pytest.raises(InputError, match=r"only https|no user or password") as caught:
        read(where(server))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Answer(200, b"{}"), "does not do bulk exports there"),
        (Answer(202), "does not do bulk exports there"),
        (Answer(400), "answered 400"),
        (Answer(404), "not there"),
    ],
)
def test_servers_that_do_not_export(answer: Answer, match: str, server: Server) -> None:
    server.answers["/fhir/$export"] = [answer]
    with pytest.raises(InputError, match=match):
        read(f"{server.url}/fhir/$export")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"output": 7}', b'{"output": [7]}', b'{"output": []}', b"[" * 100_000])
def test_manifests_that_are_none(body: bytes, server: Server) -> None:
    url = server.exports()
    server.answers["/status/1"] = [Answer(body=body)]
    with pytest.raises(InputError, match=r"manifest"):
        read(url)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        read(HTTP + "127.0.0.1:9/fhir/$export")
