"""Who may do what: accounts, passwords, and browsers that are signed in."""

from __future__ import annotations

import enum
import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy.engine import Connection

from aftercar.errors import InputError, OptionError
from aftercar.ward.database import utc
from aftercar.ward.tables import account, login

SHORTEST = 12  # characters of a password
IDLE, LONGEST = timedelta(minutes=30), timedelta(hours=12)  # without a request, and in all, until one must sign in again

_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106 for memory-constrained machines
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))  # a name that does not exist takes as long as a wrong password


class Role(enum.StrEnum):
    """What an account may do; each may do what the ones before it may, but for the administrator, who keeps accounts and reads no record."""

    READER = "reader"
    CHARTING = "charting"
    ADJUDICATOR = "adjudicator"
    ADMINISTRATOR = "administrator"


class Right(enum.StrEnum):
    """What a route asks for."""

    READ = "read"
    CHART = "chart"
    ADJUDICATE = "adjudicate"
    ADMINISTER = "administer"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.READER: frozenset({Right.READ}),
    Role.CHARTING: frozenset({Right.READ, Right.CHART}),
    Role.ADJUDICATOR: frozenset({Right.READ, Right.CHART, Right.ADJUDICATE}),
    Role.ADMINISTRATOR: frozenset({Right.ADMINISTER}),
}


@dataclass(frozen=True)
class Person:
    """Who asks.

    Attributes:
        csrf: what every form of this browser must send along; empty where no cookie stands behind the request.
    """

    name: str
    role: Role
    csrf: str = ""

    def may(self, right: Right) -> bool:
        """Whether the role has a right."""
        return right in RIGHTS[self.role]


def add(
    connection: Connection,
    name: str,
    role: str,
    password: str | None = None,
    *,
    issuer: str | None = None,
    issued_to: str | None = None,
) -> None:
    """Add an account: with a password, or of a person whom an identity provider knows.

    Raises:
        OptionError: the role does not exist, the password is too short, or the name is taken or cannot be one.
    """
    if role not in list(Role):
        raise OptionError(f"There is no role {role!r}: {', '.join(Role)}.")
    if not _is_name(name):
        raise OptionError("A name has up to 64 letters, digits and . _ - @.")
    if connection.execute(sa.select(account.c.account_id).where(account.c.name == name)).first():
        raise OptionError("That name is taken.")
    connection.execute(
        account.insert(),
        {
            "name": name, "role": role, "password": None if password is None else _hashed(password), "issuer": issuer, "issued_to": issued_to,
            "active": True, "created_at": utc(),
        },
    )  # fmt: skip


def change(
    connection: Connection, name: str, *, role: str | None = None, password: str | None = None, active: bool | None = None
) -> None:
    """Change an account; its browsers must sign in again.

    Raises:
        InputError: there is none of that name.
        OptionError: the role does not exist, or the password is too short.
    """
    if role is not None and role not in list(Role):
        raise OptionError(f"There is no role {role!r}: {', '.join(Role)}.")
    told: dict[str, Any] = {"role": role, "active": active, "password": None if password is None else _hashed(password)}
    told = {key: value for key, value in told.items() if value is not None}
    number = connection.execute(sa.select(account.c.account_id).where(account.c.name == name)).scalar()
    if number is None:
        raise InputError("There is no account of that name.")
    if told:
        connection.execute(account.update().where(account.c.account_id == number), told)
    connection.execute(login.delete().where(login.c.account_id == number))


def everyone(connection: Connection) -> list[dict[str, Any]]:
    """All accounts: `name, role, active, by` (password, or the identity provider), `created_at`."""
    rows = connection.execute(sa.select(account).order_by(account.c.name)).mappings()
    return [
        {
            "name": r["name"],
            "role": r["role"],
            "active": r["active"],
            "by": r["issuer"] or "password",
            "created_at": r["created_at"],
        }
        for r in rows
    ]


def any_account(connection: Connection) -> bool:
    """Whether there is an account, active or not: then nobody gets in without one."""
    return connection.execute(sa.select(account.c.account_id).limit(1)).first() is not None


def by_password(connection: Connection, name: str, password: str) -> Person | None:
    """The person of a name and password; null where either is wrong or the account is not active."""
    row = connection.execute(sa.select(account).where(account.c.name == name)).mappings().first() if _is_name(name) else None
    try:
        _HASHER.verify(str(row["password"]) if row and row["password"] else _NOBODY, password)
    except VerificationError:
        return None
    return Person(row["name"], Role(row["role"])) if row and row["active"] and row["password"] else None


def by_provider(connection: Connection, issuer: str, issued_to: str) -> Person | None:
    """The person whom an identity provider calls so; null where there is no active account."""
    at = (account.c.issuer == issuer) & (account.c.issued_to == issued_to) & account.c.active
    row = connection.execute(sa.select(account).where(at)).mappings().first()
    return Person(row["name"], Role(row["role"])) if row else None


# ---- browsers


def sign_in(connection: Connection, person: Person) -> str:
    """Begin a session; the secret for the cookie, which is stored nowhere."""
    secret = secrets.token_urlsafe(32)
    number = connection.execute(sa.select(account.c.account_id).where(account.c.name == person.name)).scalar_one()
    now = utc()
    connection.execute(login.delete().where((login.c.created_at < now - LONGEST) | (login.c.seen_at < now - IDLE)))
    connection.execute(
        login.insert(),
        {
            "secret_hash": _secret(secret),
            "account_id": number,
            "csrf": secrets.token_urlsafe(24),
            "created_at": now,
            "seen_at": now,
        },
    )
    return secret


def of_browser(connection: Connection, secret: str) -> tuple[Person, bool] | None:
    """Who is signed in with a cookie, and whether `seen` should be called; null where nobody is, or was too long idle."""
    now = utc()
    row = connection.execute(
        sa.select(account.c.name, account.c.role, login.c.csrf, login.c.created_at, login.c.seen_at)
        .join(account, account.c.account_id == login.c.account_id)
        .where((login.c.secret_hash == _secret(secret)) & account.c.active)
    ).first()
    if row is None or now - row.created_at > LONGEST or now - row.seen_at > IDLE:
        return None
    return Person(row.name, Role(row.role), row.csrf), now - row.seen_at > IDLE / 10


def seen(connection: Connection, secret: str) -> None:
    """A session was used."""
    connection.execute(login.update().where(login.c.secret_hash == _secret(secret)), {"seen_at": utc()})


def sign_out(connection: Connection, secret: str) -> None:
    """End a session."""
    connection.execute(login.delete().where(login.c.secret_hash == _secret(secret)))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 64 and all(c.isalnum() or c in "._-@" for c in name)


def _hashed(password: str) -> str:
    if len(password) < SHORTEST:
        raise OptionError(f"A password has at least {SHORTEST} characters.")
    return _HASHER.hash(password)


def _secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
