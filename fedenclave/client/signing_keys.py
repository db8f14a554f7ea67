"""A client's signing keys: the one in use, in a file of the folder or a token, and the next one.

A key is exchanged in three steps. The client makes the next one, whose public half the members put
into the manifest that takes this one's place; they approve that; and from the moment at which the
enclave goes by it, it refuses the former key. The client signs with whichever of its two keys the
manifest of the round names, so that nobody has to tell it.

Rules:
  * Every step is an event in `keys.audit.jsonl`, announced before it is begun (keys/audit.py).
    Signatures are not: the receipts say those.
  * The former key is deleted once the manifest in force names the next one, and not before.
  * A token's former key stays in the token: deleting it there is its owner's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.files import read_key, write_key, write_whole
from fedenclave.client.identity import IDENTITY_FILE, read_identity
from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import NotRecorded
from fedenclave.keys.pkcs11_signing import is_token, make_signer, open_signer, without_access
from fedenclave.keys.pkcs11_token import Ask
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import Signer, key_to_text, public_key

AUDIT_FILE = "keys.audit.jsonl"
NEXT_ENROLMENT = "next-enrolment.json"


class SigningKeys:
    """The signing keys of the client in a folder."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Use the folder; `clock` gives Unix seconds for the events."""
        self._folder, self._audit = folder, AuditLog(folder / AUDIT_FILE, clock)
        self._open: dict[str, Signer] = {}

    def make(self, where: str, ask: Ask | None = None) -> Signer:
        """Make a key: in a token, or in a file of the folder.

        Args:
            where: a PKCS #11 URI, or the file's name.
            ask: asks for a token's PIN.

        Raises:
            ConfigurationError, KeysRefused: there is one already, or it cannot be made.
        """
        self._audit.begin("signing-key-created", where=without_access(where))
        if is_token(where):
            made: Signer = make_signer(where, ask)
            self._audit.finish("signing-key-created", **_facts(where, made))
        else:
            made = Ed25519PrivateKey.generate()
            write_key(self._folder / where, made)
            try:
                self._audit.record("signing-key-created", **_facts(where, made))
            except NotRecorded:
                (self._folder / where).unlink()  # no key without a record
                raise
        self._open[where] = made
        return made

    def of(self, under: Manifest | None = None) -> Signer:
        """Return the key that signs updates.

        Args:
            under: the manifest of the round, which may name the next key; None for the first.

        Raises:
            ConfigurationError, KeysRefused: it is not there, or its token does not open.
        """
        identity = read_identity(self._folder)
        entry = under.roster.get(identity.client) if under is not None else None
        if entry is not None and identity.next_signing_key:
            for where in identity.signing_keys:
                if public_key(found := self._at(where)) == entry.key:
                    return found
        return self._at(identity.signing_key)

    def make_next(self, where: str | None, ask: Ask | None = None) -> Signer:
        """Make the key that is to take the place of this one, and return it.

        Args:
            where: a token's URI; None for a file of the folder.
            ask: asks for a token's PIN.

        Raises:
            ConfigurationError: there is a next key already.
            KeysRefused: a token makes no key.
        """
        identity = read_identity(self._folder)
        if identity.next_signing_key:
            raise ConfigurationError(
                f"{self._folder} has a next signing key already",
                hint=f"its enrolment is {NEXT_ENROLMENT}: the members put it into a manifest",
            )
        where = where or self._free_file()
        made = self.make(where, ask)
        self._write(replace(identity, next_signing_key=where).to_toml())
        return made

    def next(self) -> Signer | None:
        """Return the key that is to take the place of this one; None where none is.

        Raises:
            ConfigurationError, KeysRefused: it is not there, or its token does not open.
        """
        where = read_identity(self._folder).next_signing_key
        return self._at(where) if where else None

    def take_up_next(self, in_force: Manifest) -> None:
        """Give the former key up, once the manifest in force names the next one.

        Raises:
            ConfigurationError, KeysRefused: a key is not there, or a file cannot be written.
        """
        identity = read_identity(self._folder)
        entry = in_force.roster.get(identity.client)
        if not identity.next_signing_key or entry is None:
            return
        # The one in use first: while that counts, the next one's token may be away.
        if entry.key == public_key(self._at(identity.signing_key)):
            return
        new = self._at(identity.next_signing_key)
        if entry.key != public_key(new):
            return
        after = replace(identity, signing_key=identity.next_signing_key, next_signing_key="")
        facts = _facts(after.signing_key, new)
        self._audit.begin("signing-key-replaced", **facts)
        # In this order: killed in between, the folder has one key too many and not one too few.
        self._write(after.to_toml())
        (self._folder / NEXT_ENROLMENT).unlink(missing_ok=True)
        if not is_token(identity.signing_key):
            (self._folder / identity.signing_key).unlink(missing_ok=True)
        self._audit.finish("signing-key-replaced", **facts)

    def _at(self, where: str) -> Signer:
        # Opened once: a token counts its logins, and takes its time over them.
        if where not in self._open:
            file = self._folder / where
            self._open[where] = open_signer(where) if is_token(where) else read_key(file)
        return self._open[where]

    def _free_file(self) -> str:
        number = 2
        while (self._folder / f"client-{number}.key").exists():
            number += 1
        return f"client-{number}.key"

    def _write(self, identity: bytes) -> None:
        write_whole(self._folder / IDENTITY_FILE, identity)


def _facts(where: str, key: Signer) -> dict[str, str | int]:
    return {"where": without_access(where), "public_key": key_to_text(public_key(key))}
