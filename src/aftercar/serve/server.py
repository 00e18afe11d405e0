"""Start the server of a ward."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aftercar.errors import AftercarError, InputError, OptionError

try:
    import uvicorn

    from aftercar.web import fhir_server
    from aftercar.web.app import create_app
    from aftercar.web.keys import can_sign
    from aftercar.web.settings import Client, Provider, Settings
except ImportError as error:
    raise AftercarError("The server needs the extra: pip install 'aftercar[ward]'.") from error

from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.timeline.readers import read
from aftercar.ward import accounts, audit, example, intake
from aftercar.ward.accounts import Person, Role
from aftercar.ward.database import Database, opened
from aftercar.ward.grader import Grader
from aftercar.ward.ward import Ward


@dataclass(frozen=True)
class Running:
    """What was asked of a server.

    Attributes:
        example: whether made-up patients move in.
        names: by which it may be called beside its address.
        secure: whether it is reached by TLS.
        origins, fhir_servers: as in `Settings`.
        ehr_keys, mapping: files of what `Settings` calls so.
    """

    database: str
    example: bool
    host: str
    port: int
    zone: str | None
    profile: str | None
    names: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    secure: bool
    loopback: bool
    origins: tuple[str, ...] = ()
    ehr_keys: Path | None = None
    fhir_servers: tuple[str, ...] = ()
    mapping: Path | None = None


def run(asked: Running) -> None:
    """Serve until interrupted.

    Raises:
        OptionError: it would be reached from elsewhere and nobody could sign in, or not by TLS; a time zone or profile that does not exist; an address or port at
            which it cannot listen; a certificate or key that is none.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does: what was made for it is removed
    with opened(asked.database) as database:
        _run(asked, database)


def _run(asked: Running, database: Database) -> None:
    with database.reading() as connection:
        known = accounts.any_account(connection)
    if not asked.loopback:
        if not known:
            raise OptionError(
                "Nobody could sign in, so the server listens on this machine alone. `aftercar ward account NAME --role administrator` makes an account."
            )
        if not asked.secure:
            raise OptionError(
                "Beyond this machine the server is reached by TLS: give --certificate and --key, or --behind-tls where a proxy speaks it."
            )
    with Grader() as grader:
        zone, others = zone_named(asked.zone), outside(asked)
        ward = Ward(database, zone, rulebook(asked.profile or DEFAULT_PROFILE, None), find=grader.find)
        if asked.example:
            _move_in(database, ward)
        # Without accounts everybody on this machine is one person; with them everybody signs in.
        alone = None if known else Person("local", Role.ADJUDICATOR, csrf=os.urandom(24).hex())
        settings = replace(
            others, alone=alone, secure=asked.secure, hosts=(*Settings().hosts, *asked.names, _in_url(asked.host)), mapping=intake.mappings(asked.mapping, zone.key)
        )  # fmt: skip
        config = uvicorn.Config(
            create_app(ward, settings), log_level="warning", access_log=False, server_header=False, ssl_certfile=asked.certificate, ssl_keyfile=asked.key,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:  # also of TLS
            raise OptionError(f"The certificate or its key cannot be used: {error.strerror or error}.") from error
        _prompt()
        with _listening(asked.host, asked.port) as listening, contextlib.suppress(KeyboardInterrupt):
            _say(asked, listening.getsockname()[1], alone=alone is not None)
            uvicorn.Server(config).run(sockets=[listening])


def _prompt() -> None:
    """Keep short requests from waiting for long ones: threads take turns more often, and what is loaded by now is not looked through for garbage again and again."""
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()


def _say(asked: Running, port: int, *, alone: bool) -> None:
    """Where the server is, and what to know of it."""
    scheme = "https" if asked.certificate else "http"
    print(f"Ward: {scheme}://{_in_url(asked.host)}:{port}  (Ctrl-C ends it)", flush=True)
    if asked.example:
        print("Made-up patients; nothing is kept. `--database sqlite:///ward.db` keeps what is entered.", flush=True)
    if alone:
        print(
            "Nobody signs in: everybody on this machine may read, chart and adjudicate. `aftercar ward account` makes accounts.",
            flush=True,
        )


def _listening(host: str, port: int) -> socket.socket:
    """A socket at an address; at port 0 the system chooses one that is free."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except OSError as error:
        raise OptionError(
            f"The server cannot listen at {_in_url(host)}:{port}: {error.strerror}. Choose with --host and --port."
        ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def outside(asked: Running) -> Settings:
    """The settings that say who else there is: pages, record systems and servers elsewhere, and in the environment how they know this application.

    Raises:
        OptionError: an address or key that cannot be one.
    """
    for origin in asked.origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise OptionError("--origin is a scheme and a host (https://hospital.example), and nothing behind it.")
    for server in asked.fhir_servers:
        try:
            fhir_server.require_safe(server)
        except InputError as error:
            raise OptionError(f"--fhir-server: {error}") from error
    keys = _keys(asked.ehr_keys) if asked.ehr_keys else {}
    told = {name: os.environ.get(f"AFTERCAR_{name}", "") for name in (*_PROVIDER, *_SMART)}
    if any(told[n] for n in _PROVIDER) and not all(told[n] for n in _PROVIDER):
        raise OptionError(f"To sign in with an identity provider all of {', '.join(f'AFTERCAR_{n}' for n in _PROVIDER)} are set.")
    return Settings(
        origins=asked.origins, ehr_keys=keys, require_ehr_token=bool(keys), fhir_servers=asked.fhir_servers,
        provider=Provider(*(told[n] for n in _PROVIDER)) if told["OIDC_ISSUER"] else None,
        smart=Client(told["SMART_CLIENT_ID"], told["SMART_CLIENT_SECRET"] or None) if told["SMART_CLIENT_ID"] else None,
    )  # fmt: skip


_PROVIDER = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
_SMART = ("SMART_CLIENT_ID", "SMART_CLIENT_SECRET")


def _keys(path: Path) -> dict[str, dict[str, object]]:
    """Public keys by issuer.

    Raises:
        OptionError: the file is none of such, or holds a private key.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        listed = {str(issuer): [dict(key) for key in keys["keys"]] for issuer, keys in told.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OptionError('--ehr-keys is a JSON file: {"https://hospital.example/ehr": {"keys": [ … ]}}.') from error
    every = [key for keys in listed.values() for key in keys]
    if any("d" in key for key in every):
        raise OptionError("--ehr-keys holds a private key. It belongs to the record system alone: give its public part.")
    if not every or not all(can_sign(key) for key in every):
        raise OptionError("--ehr-keys: a key is RSA, or EC on P-256 or P-384.")
    return {issuer: {"keys": keys} for issuer, keys in listed.items()}


def _move_in(database: Database, ward: Ward) -> None:
    """The example cohort."""
    folder = _example()
    with database.writing() as connection:
        audit.note(connection, audit.SYSTEM, "example.import")
    found = read(folder / "data", folder / "mapping.toml")
    example.move_in(database, found.timeline, ward.now())


def _example() -> Path:
    """Where the example cohort is: in the installed package, or in the source that runs from where it was written."""
    packed = Path(str(files("aftercar.ward"))) / "example_cohort"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "examples" / "cohort"


def zone_named(name: str | None) -> ZoneInfo:
    """A time zone by its name; without one that of this machine.

    Raises:
        OptionError: there is none of that name.
    """
    if name is None:
        name = os.environ.get("TZ") or _of_machine()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # the last: a folder of zones
        raise OptionError("There is no such time zone. Names are such as Europe/Berlin.") from error


def _of_machine() -> str:
    link = Path("/etc/localtime")
    told = str(link.resolve()) if link.is_symlink() else ""
    return told.rpartition("zoneinfo/")[2] if "zoneinfo/" in told else "UTC" if time.timezone == 0 else time.tzname[0]
