"""The enrolment file: a client's and its organisation's names and public keys, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import Client, Member
from fedenclave.protocol.signing import PublicKey, key_from_text, key_to_text
from fedenclave.protocol.statements import checked_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """One client and the organisation that owns it."""

    client: str
    member: str
    client_key: PublicKey
    member_key: PublicKey

    def to_json(self) -> str:
        """Return the file's text."""
        return (
            json.dumps(
                {
                    "client": self.client,
                    "member": self.member,
                    "client_key": key_to_text(self.client_key),
                    "member_key": key_to_text(self.member_key),
                },
                indent=2,
            )
            + "\n"
        )


def read_enrolment(path: Path) -> Enrolment:
    """Return the enrolment in a file.

    Raises:
        ConfigurationError: it cannot be read or is not one.
    """
    try:
        fields = json.loads(path.read_bytes())
        texts = {key: str(fields[key]) for key in ("client", "member", "client_key", "member_key")}
        if len(fields) != len(texts):
            raise MalformedMessage("it has unknown fields")
        return Enrolment(
            client=checked_name(texts["client"], "client"),
            member=checked_name(texts["member"], "organisation"),
            client_key=key_from_text(texts["client_key"]),
            member_key=key_from_text(texts["member_key"]),
        )
    except OSError as error:
        raise ConfigurationError(f"cannot read enrolment {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, MalformedMessage) as error:
        raise ConfigurationError(
            f"{path} is not an enrolment file: {error}",
            hint="it is what `fedenclave client enroll` wrote",
        ) from error


def roster_of(enrolments: Sequence[Enrolment]) -> tuple[list[Member], list[Client]]:
    """Return the members and clients of a manifest.

    Raises:
        ConfigurationError: an organisation comes with two different keys.
    """
    members: dict[str, Member] = {}
    for enrolment in enrolments:
        member = Member(name=enrolment.member, key=enrolment.member_key)
        if members.setdefault(member.name, member) != member:
            raise ConfigurationError(
                f"organisation {member.name} comes with two different keys",
                hint="ask it which one is its own; somebody may be enrolling in its name",
            )
    clients = [Client(name=e.client, member=e.member, key=e.client_key) for e in enrolments]
    return list(members.values()), clients
