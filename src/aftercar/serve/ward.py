"""Commands of the ward: the server, its accounts and its audit trail."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aftercar.errors import AftercarError, OptionError

if TYPE_CHECKING:
    from aftercar.ward.database import Database

app = typer.Typer(no_args_is_help=True, help="A ward's accounts, records and audit trail.", rich_markup_mode=None)

DATABASE = "AFTERCAR_DATABASE"
Database_ = Annotated[
    str,
    typer.Option(
        "--database",
        envvar=DATABASE,
        help="sqlite:///ward.db or postgresql://user@host/name; a password comes from the environment.",
    ),
]
PASSWORD = "AFTERCAR_PASSWORD"


def add_to(root: typer.Typer) -> None:
    """Add the commands."""
    root.command()(serve)
    root.add_typer(app, name="ward")


def serve(
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            envvar=DATABASE,
            help="sqlite:///ward.db or postgresql://user@host/name; without: the example cohort, forgotten at the end.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0: any that is free.")] = 8000,
    zone: Annotated[
        str | None,
        typer.Option("--zone", help="Time zone of the records, such as Europe/Berlin; by default that of this machine."),
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Whose rules of management.")] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A name by which the server may be called; may be repeated.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="For TLS: the certificate chain (PEM).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="For TLS: its private key (PEM).")] = None,
    behind_tls: Annotated[
        bool, typer.Option("--behind-tls", help="A proxy in front speaks TLS: cookies are sent over nothing else.")
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", help="A page elsewhere that may ask CDS Hooks (https://hospital.example); may be repeated."),
    ] = None,
    ehr_keys: Annotated[
        Path | None,
        typer.Option("--ehr-keys", help="A JSON file: public keys of record systems (a JWK set) by their issuer."),
    ] = None,
    fhir_server: Annotated[
        list[str] | None,
        typer.Option(
            "--fhir-server", help="The base address of a FHIR server that may be asked, and no other is; may be repeated."
        ),
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", help="A mapping file: what the hospital's codes mean in what is handed in.")
    ] = None,
) -> None:
    """Serve the ward: pages, REST and CDS Hooks. Without --database it shows made-up patients on this machine alone."""
    from aftercar.serve.server import Running, run

    loopback = _loopback(host)
    if (certificate is None) != (key is None):
        raise OptionError("TLS asks for both --certificate and --key.")
    with tempfile.TemporaryDirectory(prefix="aftercar-ward-") as room:
        run(
            Running(
                database or f"sqlite:///{room}/ward.db", example=database is None, host=host, port=port, zone=zone, profile=profile, names=tuple(name or ()),
                certificate=certificate, key=key, secure=behind_tls or certificate is not None, loopback=loopback, origins=tuple(origin or ()),
                ehr_keys=ehr_keys, fhir_servers=tuple(fhir_server or ()), mapping=map_,
            )
        )  # fmt: skip


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ---- accounts


@app.command("account")
def account(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    database: Database_,
    role: Annotated[str | None, typer.Option("--role", help="reader, charting, adjudicator or administrator.")] = None,
    off: Annotated[bool, typer.Option("--off", help="The account may no longer sign in.")] = False,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="The identity provider that knows this person; then there is no password.")
    ] = None,
    issued_to: Annotated[str | None, typer.Option("--issued-to", help="What the provider calls this person (`sub`).")] = None,
) -> None:
    """Add an account, or change its role or password. The password is read from AFTERCAR_PASSWORD, or asked for."""
    from aftercar.ward import accounts, audit

    with _open(database) as opened, opened.writing() as connection:
        known = name in {a["name"] for a in accounts.everyone(connection)}
        if not known and (role is None or off):
            raise OptionError("There is no account of that name; --role makes one.")
        password = None if off or issuer or (known and role) else _password()
        if known:
            accounts.change(connection, name, role=role, password=password, active=not off)
        else:
            accounts.add(connection, name, str(role), password, issuer=issuer, issued_to=issued_to)
        audit.note(
            connection,
            audit.SYSTEM,
            "account.change" if known else "account.add",
            detail={"account": name, "role": role, "active": not off},
        )
    print(f"{'Changed' if known else 'Added'}: {name}")


def _password() -> str:
    return os.environ.get(PASSWORD) or typer.prompt("Password", hide_input=True, confirmation_prompt=True)


@app.command("accounts")
def list_accounts(database: Database_) -> None:
    """List who may sign in."""
    from aftercar.serve import show
    from aftercar.ward import accounts

    with _open(database) as opened, opened.reading() as connection:
        found = accounts.everyone(connection)
    show.rows(
        ("name", "role", "active", "by"),
        [(a["name"], a["role"], "yes" if a["active"] else "no", a["by"]) for a in found],
        title="Accounts",
    )


@app.command("import")
def import_(
    timeline: Annotated[Path, typer.Argument(help="A timeline folder.", metavar="TIMELINE")],
    database: Database_,
) -> None:
    """Register every subject of a timeline folder, with all that was charted."""
    from aftercar.serve import show
    from aftercar.timeline.store import open_timeline
    from aftercar.ward.bulk import register_all

    with _open(database) as opened, show.counting("registering", "subjects") as step:
        n = register_all(opened, open_timeline(timeline), progress=step)
    print(f"Registered: {n}")


@app.command()
def verify(
    database: Database_,
    head: Annotated[
        str | None, typer.Option("--head", help="The last hash as it was kept elsewhere: whether it still stands in the trail.")
    ] = None,
) -> None:
    """Read the audit trail and hold every row against the one before. Exit 1 where it was changed."""
    from aftercar.ward import audit

    with _open(database) as opened, opened.reading() as connection:
        found = audit.verify(connection)
        kept = head is None or audit.holds(connection, head)
    if found.broken is not None:
        print(f"The audit trail was changed by other means: row {found.broken} does not follow from the one before.")
        raise typer.Exit(1)
    if not kept:
        print("The audit trail is whole in itself, but does not hold that hash: it was replaced or cut off.")
        raise typer.Exit(1)
    print(f"{found.rows:,} rows, unbroken. Last hash: {found.head}")


def _open(url: str) -> Database:
    try:
        from aftercar.ward.database import opened
    except ImportError as error:
        raise AftercarError("The ward needs the extra: pip install 'aftercar[ward]'.") from error
    return opened(url)
