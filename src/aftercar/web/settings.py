"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from aftercar.timeline.readers.mapping import Mappings
from aftercar.ward.accounts import Person


@dataclass(frozen=True)
class Provider:
    """An OpenID Connect provider that says who somebody is."""

    issuer: str
    client_id: str
    client_secret: str


@dataclass(frozen=True)
class Client:
    """How a record system knows this application; without a secret it is a public one."""

    client_id: str
    client_secret: str | None = None


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes:
        alone: who everybody is where nobody signs in; only on loopback.
        secure: whether it is reached by TLS: cookies are sent over nothing else, and browsers are told to come back by it.
        hosts: names by which it may be called; others are refused, so that a foreign page cannot pose as this one.
        origins: of other pages that may ask CDS Hooks (CORS).
        ehr_keys: public keys of record systems whose tokens count, by issuer: a JWK set each.
        require_ehr_token: whether CDS Hooks without such a token are refused.
        fhir_servers: base addresses of FHIR servers that may be asked: no other address is ever called for what a request says.
        smart: how the FHIR servers know this application, for launches from a record system.
        provider: who signs people in beside their passwords here.
        mapping: how codes of the hospital are read in what is handed in.
    """

    alone: Person | None = None
    secure: bool = False
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    origins: tuple[str, ...] = ()
    ehr_keys: dict[str, dict[str, object]] = field(default_factory=dict[str, "dict[str, object]"])
    require_ehr_token: bool = False
    fhir_servers: tuple[str, ...] = ()
    smart: Client | None = None
    provider: Provider | None = None
    mapping: Mappings = field(default_factory=Mappings)
