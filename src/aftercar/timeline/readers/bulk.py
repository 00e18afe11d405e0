"""FHIR bulk export by URL, as the Bulk Data Access guide 2.0 describes it: asked for, waited for, and brought into a folder.

A bearer token comes from the environment, is sent to the server that was named and to the file servers that it names, and is never shown;
nor is what stands after the `?` of a URL.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from aftercar import __version__
from aftercar.errors import InputError

TOKEN = "AFTERCAR_FHIR_TOKEN"

_TRIES = 6
_PATIENCE_S = 86_400.0  # for an export; hospitals have been seen to take hours
_LONGEST_WAIT_S = 300.0
_TIMEOUT_S = 60.0
_LARGEST_MANIFEST = 1 << 26
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # worth another try
_HERE = ("localhost", "127.0.0.1", "::1")


def is_url(source: Path | str) -> bool:
    """Whether a source is a web address."""
    return re.match("https?://", str(source), re.IGNORECASE) is not None


@dataclass(frozen=True)
class Export:
    """A bulk export on disk: a folder of NDJSON, and what of the export is not in it, by name, with the reason."""

    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)


def fetch(url: str, folder: Path, say: Callable[[str], None] = lambda _: None) -> Export:
    """Bring an export into a folder, which is made.

    Args:
        url: `…/$export` or `…/Group/ID`, which is asked to export; else the address of a manifest, or of one file of resources.
        folder: where the files are put.
        say: told what is being done.
    Raises:
        InputError: the server is not there, lets us not in, or does not give what it promised.
    """
    folder.mkdir()
    server = _Server(os.environ.get(TOKEN), say)
    if re.search(r"/Group/[^/]+/?$", urlsplit(url).path):
        url = _before_query(url, "/$export")
    if not urlsplit(url).path.rstrip("/").endswith("$export"):
        return _of_address(server, url, folder)
    status = server.begin(url)
    try:
        return _of_manifest(server, server.finished(status), status, folder)
    finally:  # done with, or given up: the server need not keep it
        server.forget(status)


def _before_query(url: str, more: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/") + more).geturl()


def _of_address(server: _Server, url: str, folder: Path) -> Export:
    name = Path(urlsplit(url).path).name
    path = server.download(
        url, folder, name if re.fullmatch(r"[\w.-]+\.(ndjson|json)(\.gz)?", name) else "export.ndjson", token=True
    )
    if path.stat().st_size <= _LARGEST_MANIFEST:
        with contextlib.suppress(ValueError):
            manifest = json.loads(path.read_bytes())
            if isinstance(manifest, dict) and "output" in manifest:
                path.unlink()
                return _of_manifest(server, manifest, url, folder)
    return Export(folder)


def _of_manifest(server: _Server, manifest: dict[str, Any], address: str, folder: Path) -> Export:
    files: list[tuple[str, str]] = []
    left_out: dict[str, str] = {}
    token = manifest.get("requiresAccessToken") is True
    for page in _pages(server, manifest, address):
        for kind in ("output", "error"):
            for entry in _list(page, kind):
                number = f"{len(files) + 1:04d}"
                name = re.sub(r"\W", "", str(entry.get("type") or "resources")) + ("_error" if kind == "error" else "")
                files.append((urljoin(address, str(entry.get("url"))), f"{name}.{number}.ndjson"))
        if _list(page, "deleted"):
            left_out["deleted"] = (
                "the server lists resources that were deleted since an earlier export; take a whole export instead"
            )
    if not files:
        raise InputError("The export of the server is empty: its manifest names no files.")
    for n, (url, name) in enumerate(files, 1):
        server.say(f"fetching file {n} of {len(files)}, {name}")
        server.download(url, folder, name, token=token)
    return Export(folder, left_out)


def _pages(server: _Server, manifest: dict[str, Any], address: str) -> Iterator[dict[str, Any]]:
    seen = {address}
    while True:
        yield manifest
        following = [str(link.get("url")) for link in _list(manifest, "link") if link.get("relation") == "next"]
        if not following or (address := urljoin(address, following[0])) in seen:
            return
        seen.add(address)
        manifest = server.json(address)


def _list(manifest: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = manifest.get(key) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"The manifest of the export cannot be read: its {key} is no list of files.")
    return found


class _Server:
    """Requests to a FHIR server, with a token where there is one; what passes is tried again."""

    def __init__(self, token: str | None, say: Callable[[str], None]) -> None:
        self.say = say
        self._token = token
        self._opener: OpenerDirector = build_opener(_Redirects)

    def begin(self, url: str) -> str:
        """Ask for an export; where its status is told."""
        self.say("asking for the export")
        headers = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
        with self._open(url, headers, token=True) as response:
            status = response.headers.get("Content-Location")
            if response.status != HTTPStatus.ACCEPTED or not status:
                raise InputError(f"{_shown(url)}: the server does not do bulk exports there (it answered {response.status}).")
        return urljoin(url, status)

    def finished(self, status: str) -> dict[str, Any]:
        """The manifest of an export, once the server has made it."""
        begun, wait = time.monotonic(), 1.0
        while True:
            with self._open(status, {"Accept": "application/json"}, token=True) as response:
                if response.status == HTTPStatus.OK:
                    return _manifest(response, status)
                wait = _asked_wait(response.headers) or min(wait * 1.5, 60.0)
                progress = re.sub(r"[^\w %./-]", "", response.headers.get("X-Progress") or "")[:60]
            if time.monotonic() - begun + wait > _PATIENCE_S:
                raise InputError(f"{_shown(status)}: the server has not finished its export in {_PATIENCE_S / 3600:.0f} hours.")
            self.say(f"waiting for the server {progress}".rstrip())
            time.sleep(wait)

    def json(self, url: str) -> dict[str, Any]:
        """A manifest."""
        with self._open(url, {"Accept": "application/json"}, token=True) as response:
            return _manifest(response, url)

    def forget(self, status: str) -> None:
        """Tell the server that an export is no longer needed."""
        with contextlib.suppress(InputError), self._open(status, {}, token=True, method="DELETE", tries=1):
            pass

    def download(self, url: str, folder: Path, name: str, *, token: bool) -> Path:
        """Bring a file into the folder; one that comes gzipped stays so."""
        headers = {"Accept": "application/fhir+ndjson, application/fhir+json, */*;q=0.1", "Accept-Encoding": "gzip"}
        for attempt in range(1, _TRIES + 1):
            with self._open(url, headers, token=token) as response:
                packed = response.headers.get("Content-Encoding", "").casefold() == "gzip" and not name.endswith(".gz")
                path = folder / (f"{name}.gz" if packed else name)
                promised = response.headers.get("Content-Length")
                try:
                    got = _copied(response, path)
                except (http.client.HTTPException, ConnectionError, TimeoutError):
                    got = -1
            if got >= 0 and (promised is None or got == int(promised)):
                return path
            path.unlink()
            if attempt < _TRIES:
                time.sleep(min(2.0**attempt, _LONGEST_WAIT_S))
        raise InputError(f"{_shown(url)}: the download was cut off {_TRIES} times. Try again later.")

    @contextlib.contextmanager
    def _open(
        self, url: str, headers: dict[str, str], *, token: bool, method: str = "GET", tries: int = _TRIES
    ) -> Generator[Any]:
        _require_safe(url)
        request = Request(url, headers={"User-Agent": f"aftercar/{__version__}", **headers}, method=method)
        if token and self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        for attempt in range(1, tries + 1):
            wait = min(2.0**attempt, _LONGEST_WAIT_S)
            try:
                response = self._opener.open(request, timeout=_TIMEOUT_S)
            except HTTPError as error:
                with error:
                    if error.code not in _PASSING or attempt == tries:
                        _refuse(url, error.code, had_token=bool(self._token))
                    wait = _asked_wait(error.headers) or wait
            except (OSError, http.client.HTTPException, ValueError) as error:
                if attempt == tries or isinstance(error, ValueError):
                    reason = getattr(error, "reason", error)
                    raise InputError(f"{_shown(url)}: the server cannot be reached ({type(reason).__name__}).") from None
            else:
                with response:
                    yield response
                return
            self.say(f"trying again in {wait:.0f} s")
            time.sleep(wait)


class _Redirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        try:
            _require_safe(newurl)
        except InputError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(url: str) -> None:
    try:
        parts = urlsplit(url)
        safe = bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE))
    except ValueError:
        raise InputError("The address of the export cannot be read.") from None
    if not safe:
        raise InputError(f"{_shown(url)}: only https is allowed; records and tokens would be open to others on the way.")
    if parts.username or parts.password:
        raise InputError(f"{_shown(url)}: no user or password in the address. A token goes into the environment as {TOKEN}.")


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _refuse(url: str, code: int, *, had_token: bool) -> NoReturn:
    where = _shown(url)
    if code in (401, 403):
        what = f"refuses the token in {TOKEN}" if had_token else f"asks for a token; put one into the environment as {TOKEN}"
        raise InputError(f"{where}: the server {what} ({code}).") from None
    if code in (404, 410):
        raise InputError(f"{where}: not there, or no longer ({code}). Exports expire: ask for a new one.") from None
    raise InputError(f"{where}: the server answered {code}. Its operators can say why.") from None


def _manifest(response: Any, url: str) -> dict[str, Any]:
    try:
        manifest = json.loads(response.read(_LARGEST_MANIFEST))
    except (ValueError, http.client.HTTPException, OSError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or "output" not in manifest:
        raise InputError(f"{_shown(url)}: the server sent no manifest of an export.")
    return manifest


def _asked_wait(headers: Message) -> float | None:
    """Seconds that a server asks to wait, as a number or a date: from a second to five minutes."""
    said = headers.get("Retry-After")
    if said is None:
        return None
    try:
        seconds = float(said) if said.strip().isdigit() else (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 1.0), _LONGEST_WAIT_S)


def _copied(response: Any, path: Path) -> int:
    with path.open("wb") as file:
        size = 0
        while part := response.read(1 << 20):
            size += file.write(part)
    return size
