"""Keys and sealed data: make, load, use. Each function is the command of Part 3 that it names.

Source: TPM 2.0 Library, Part 3, sections 12, 18.3 and 24.1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fedenclave.enclave.tpm.connection import NULL, PASSWORD, Command, Connection
from fedenclave.enclave.tpm.pcrs import selection
from fedenclave.enclave.tpm.templates import NO_ALGORITHM
from fedenclave.enclave.tpm.wire import Fields, sized, u16, u32

_CREATION_TICKET = 0x8021
"""TPM_ST_CREATION."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that is loaded: its handle, and its TPMT_PUBLIC."""

    handle: int
    public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """Sealed data outside the TPM, and what the TPM says of how it was made.

    Attributes:
        private: what only this TPM's storage key opens.
        public: TPMT_PUBLIC.
        creation: TPMS_CREATION_DATA: the PCR values of that moment, among others.
        ticket: TPMT_TK_CREATION, by which the TPM knows `creation` again.
    """

    private: bytes
    public: bytes
    creation: bytes
    ticket: bytes


def create_primary(tpm: Connection, hierarchy: int, template: bytes) -> Key:
    """Make, or make again, the key that the hierarchy's seed and `template` give.

    Raises:
        TpmError: the hierarchy is disabled or wants a password, or the TPM lacks an algorithm.
    """
    handle, fields = tpm.load(
        Command.CREATE_PRIMARY,
        handles=[hierarchy],
        sessions=[PASSWORD],
        parameters=_sensitive(b"") + sized(template) + sized(b"") + selection(()),
    )
    public = fields.sized()
    fields.sized()  # creation data, its digest and ticket: of no use for a key without a story
    fields.sized()
    _ticket(fields)
    fields.sized()  # the name, which follows from the public area
    fields.finish()
    return Key(handle=handle, public=public)


def create(
    tpm: Connection, parent: Key, template: bytes, data: bytes, pcrs: tuple[int, ...]
) -> Created:
    """Seal `data` under `parent`, with the values of `pcrs` in the creation data.

    Raises:
        TpmError: the TPM refuses.
    """
    fields = tpm.run(
        Command.CREATE,
        handles=[parent.handle],
        sessions=[PASSWORD],
        parameters=_sensitive(data) + sized(template) + sized(b"") + selection(pcrs),
    )
    private, public, creation = fields.sized(), fields.sized(), fields.sized()
    fields.want(sized(hashlib.sha256(creation).digest()), "creation hash")
    ticket = _ticket(fields)
    fields.finish()
    return Created(private=private, public=public, creation=creation, ticket=ticket)


def load(tpm: Connection, parent: Key, created: Created) -> int:
    """Load sealed data and return its handle.

    Raises:
        TpmError: it is not this TPM's.
    """
    handle, fields = tpm.load(
        Command.LOAD,
        handles=[parent.handle],
        sessions=[PASSWORD],
        parameters=sized(created.private) + sized(created.public),
    )
    fields.sized()  # the name
    fields.finish()
    return handle


def certify_creation(tpm: Connection, handle: int, created: Created) -> None:
    """Let the TPM confirm that it made this very object, and that `creation` is its story.

    Raises:
        TpmError: it did not, or the ticket is not that of `creation`.
    """
    # No key signs: that the command succeeds is the answer.
    tpm.run(
        Command.CERTIFY_CREATION,
        handles=[NULL, handle],
        sessions=[PASSWORD],
        parameters=sized(b"")
        + sized(hashlib.sha256(created.creation).digest())
        + u16(NO_ALGORITHM)
        + created.ticket,
    )


def unseal(tpm: Connection, handle: int, session: int) -> bytes:
    """Return the data, if `session` satisfies its policy.

    Raises:
        TpmError: it does not (`errors.POLICY_FAIL`).
    """
    fields = tpm.run(Command.UNSEAL, handles=[handle], sessions=[session])
    data = fields.sized()
    fields.finish()
    return data


def activate_credential(
    tpm: Connection, key: Key, endorsement: Key, session: int, credential: bytes, secret: bytes
) -> bytes:
    """Return what was encrypted for `endorsement`, if it was meant for `key`'s name.

    Args:
        tpm: where both keys are loaded.
        key: the one whose home is in question.
        endorsement: the key whose home is known.
        session: satisfies the endorsement key's policy.
        credential: TPMS_ID_OBJECT (an HMAC and what it covers).
        secret: TPM2B_ENCRYPTED_SECRET's contents.

    Raises:
        TpmError: it was meant for another key, or made for another endorsement key.
    """
    fields = tpm.run(
        Command.ACTIVATE_CREDENTIAL,
        handles=[key.handle, endorsement.handle],
        sessions=[PASSWORD, session],
        parameters=sized(credential) + sized(secret),
    )
    found = fields.sized()
    fields.finish()
    return found


def _sensitive(data: bytes) -> bytes:
    """Return TPM2B_SENSITIVE_CREATE: an empty password, and data to be sealed."""
    return sized(sized(b"") + sized(data))


def _ticket(fields: Fields) -> bytes:
    """Take a creation ticket: its tag, its hierarchy, its digest."""
    tag = u16(_CREATION_TICKET)
    fields.want(tag, "ticket's tag")
    return tag + u32(fields.u32()) + sized(fields.sized())
