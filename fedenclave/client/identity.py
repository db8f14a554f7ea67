"""Who a client is: client.toml in its folder, with where its signing keys are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fedenclave.client.files import read_file
from fedenclave.keys.pkcs11_signing import is_token
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse

IDENTITY_FILE = "client.toml"
KEY_FILE = "client.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The client's and its organisation's names, and where the client's signing keys are.

    Attributes:
        client: the client's name.
        member: its organisation's.
        signing_key: a file of the folder, or a token's key by its URI.
        next_signing_key: the one that takes its place; empty where none is to.
    """

    client: str
    member: str
    signing_key: str = KEY_FILE
    next_signing_key: str = ""

    @property
    def signing_keys(self) -> list[str]:
        """Return where the keys are, the one in use first."""
        return [where for where in (self.signing_key, self.next_signing_key) if where]

    def to_toml(self) -> bytes:
        """Return the text of the file. A JSON string of these values is one of TOML."""
        lines = {"client": self.client, "member": self.member}
        if self.signing_key != KEY_FILE:
            lines["signing_key"] = self.signing_key
        if self.next_signing_key:
            lines["next_signing_key"] = self.next_signing_key
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()).encode()


def read_identity(folder: Path) -> Identity:
    """Return who the client in a folder is.

    Raises:
        ConfigurationError: there is no client in the folder, or its file is not right.
    """
    path = folder / IDENTITY_FILE
    if not path.exists():
        raise ConfigurationError(
            f"{folder} holds no client", hint="make one: fedenclave client enroll"
        )
    table = parse(read_file(path, "client file"), IDENTITY_FILE)
    keys = {
        name: _checked_where(table.take_text(name))
        for name in ("signing_key", "next_signing_key")
        if name in table
    }
    identity = Identity(client=table.take_text("client"), member=table.take_text("member"), **keys)
    table.finish()
    return identity


def _checked_where(where: str) -> str:
    if is_token(where) or (where and Path(where).name == where and where != ".."):
        return where
    raise ConfigurationError(
        f"{IDENTITY_FILE} names the signing key {where[:80]!r}, want a file of the folder, or a "
        "token by its pkcs11: URI"
    )
