"""Start the server of a ward."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aftercar.errors import AftercarError, OptionError

try:
    import uvicorn

    from aftercar.web.app import create_app
    from aftercar.web.settings import Settings
except ImportError as error:
    raise AftercarError("The server needs the extra: pip install 'aftercar[ward]'.") from error

from aftercar.manage.rules import DEFAULT_PROFILE, rulebook
from aftercar.timeline.readers import read
from aftercar.ward import accounts, audit, example
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


def run(asked: Running) -> None:
    """Serve until interrupted.

    Raises:
        OptionError: it would be reached from elsewhere and nobody could sign in, or not by TLS; a time zone or profile that does not exist.
    """
    database = opened(asked.database)
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
        ward = Ward(database, zone_named(asked.zone), rulebook(asked.profile or DEFAULT_PROFILE, None), find=grader.find)
        if asked.example:
            _move_in(database, ward)
        # Without accounts everybody on this machine is one person; with them everybody signs in.
        alone = None if known else Person("local", Role.ADJUDICATOR, csrf=os.urandom(24).hex())
        settings = Settings(
            alone=alone, secure=asked.secure, hosts=(*Settings().hosts, *asked.names, *(() if asked.loopback else (asked.host,)))
        )
        app = create_app(ward, settings)
        config = uvicorn.Config(
            app, host=asked.host, port=asked.port, log_level="warning", access_log=False, server_header=False, ssl_certfile=asked.certificate, ssl_keyfile=asked.key,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        _Server(config, asked, alone is not None).run()


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, asked: Running, alone: bool) -> None:
        super().__init__(config)
        self._asked, self._alone = asked, alone

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.should_exit:
            return
        scheme = "https" if self._asked.certificate else "http"
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"Ward: {scheme}://{self._asked.host}:{port}  (Ctrl-C ends it)", flush=True)
        if self._asked.example:
            print("Made-up patients; nothing is kept. `--database` keeps what is entered.", flush=True)
        if self._alone:
            print(
                "Nobody signs in: everybody on this machine may read, chart and adjudicate. `aftercar ward account` makes accounts.",
                flush=True,
            )


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
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise OptionError("There is no such time zone. Names are such as Europe/Berlin.") from error


def _of_machine() -> str:
    link = Path("/etc/localtime")
    told = str(link.resolve()) if link.is_symlink() else ""
    return told.rpartition("zoneinfo/")[2] if "zoneinfo/" in told else "UTC" if time.timezone == 0 else time.tzname[0]
