"""The keyring's file: keys sealed by a passphrase.

    "FKR1" ‖ SHA-256 of what follows ‖ KeyringFile, a record in deterministic CBOR

The sealed part is `Contents`, by AES-256-GCM under Argon2id of the passphrase. The digest in front
is no protection: it tells a file that was cut or damaged from a passphrase that is wrong, which
look the same to AES-GCM. A file that somebody changed on purpose, digest and all, is taken for a
wrong passphrase, and opens as little.

Rules:
  * Argon2id's cost stands in the file, and is bounded before any memory is taken for it.
  * Every writing has a fresh nonce; a new passphrase has a fresh salt.
  * A file of version 1, whose keys never expire, is read; what is written is of version 2.

Source: RFC 9106 (Argon2id, its second recommended set of parameters).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from fedenclave.keys.errors import KeyringDamaged, WrongPassphrase
from fedenclave.protocol.digests import DIGEST_SIZE, equal, sha256
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

MAGIC = b"FKR1"
VERSION = 2
SALT_SIZE, NONCE_SIZE, SECRET_SIZE = 16, 12, 32
MAX_FILE = 8 << 20
MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES = 1 << 20, 64, 64
"""1 GiB and 64 passes are minutes: more is a damaged file, or one made to stop the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost(Record):
    """What a guess at the passphrase costs: memory in KiB, passes over it, lanes side by side."""

    memory_kib: int = 64 << 10
    passes: int = 3
    lanes: int = 4

    def bounded(self) -> bool:
        """Return whether Argon2id takes these, and ends."""
        return (
            1 <= self.lanes <= MAX_LANES
            and 1 <= self.passes <= MAX_PASSES
            and 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion(Record):
    """One version of a key; `secret` has 32 bytes, and none once it is destroyed."""

    key: str
    version: int
    created: int
    expires: int
    destroyed: int
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents(Record):
    """What is sealed: all versions, sorted by key and version."""

    MAX_SIZE: ClassVar[int] = MAX_FILE

    versions: tuple[StoredVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _FormerVersion(Record):
    """A `StoredVersion` of the file's version 1."""

    key: str
    version: int
    created: int
    destroyed: int
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _FormerContents(Record):
    """The `Contents` of the file's version 1."""

    MAX_SIZE: ClassVar[int] = MAX_FILE

    versions: tuple[_FormerVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyringFile(Record):
    """What stands in the clear, and the sealed contents."""

    MAX_SIZE: ClassVar[int] = MAX_FILE

    version: int
    cost: Cost
    salt: bytes
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The key that a passphrase gives, and what it was made with."""

    cost: Cost
    salt: bytes
    key: bytes

    @classmethod
    def derive(cls, passphrase: bytes, cost: Cost, salt: bytes) -> Lock:
        """Return the key of `passphrase`: a third of a second, and `cost.memory_kib` of memory."""
        kdf = Argon2id(
            salt=salt,
            length=32,
            iterations=cost.passes,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
        return cls(cost=cost, salt=salt, key=kdf.derive(passphrase))

    @classmethod
    def fresh(cls, passphrase: bytes, cost: Cost) -> Lock:
        """Return the key of `passphrase` with a salt of its own."""
        return cls.derive(passphrase, cost, os.urandom(SALT_SIZE))


def _bound(version: int, cost: Cost, salt: bytes) -> bytes:
    head = KeyringFile(version=version, cost=cost, salt=salt, nonce=b"", sealed=b"")
    return b"fedenclave/keyring/v1\x00" + head.to_bytes()


def write_contents(contents: Contents, lock: Lock) -> bytes:
    """Return the file that holds `contents`."""
    nonce = os.urandom(NONCE_SIZE)
    bound = _bound(VERSION, lock.cost, lock.salt)
    sealed = AESGCM(lock.key).encrypt(nonce, contents.to_bytes(), bound)
    file = KeyringFile(
        version=VERSION, cost=lock.cost, salt=lock.salt, nonce=nonce, sealed=sealed
    ).to_bytes()
    return MAGIC + sha256(file) + file


def read_head(data: bytes) -> KeyringFile:
    """Return what stands in a keyring's file.

    Raises:
        KeyringDamaged: it was cut or changed, or is another file.
    """
    start = len(MAGIC) + DIGEST_SIZE
    if not data.startswith(MAGIC):
        raise KeyringDamaged(
            f"the keyring has {len(data)} bytes and begins with {data[:4].hex() or 'none'}, want "
            f"{MAGIC.hex()}: it is no keyring",
            hint="is it the right file? else put it back from a backup",
        )
    if not equal(sha256(data[start:]), data[len(MAGIC) : start]):
        raise KeyringDamaged(
            f"the keyring of {len(data)} bytes does not have the digest that stands in it: it was "
            "cut or damaged",
            hint="put it back from a backup; no passphrase opens it as it is",
        )
    try:
        file = KeyringFile.from_bytes(data[start:])
    except MalformedMessage as error:
        raise KeyringDamaged(f"the keyring does not decode: {error.message}") from error
    if not 1 <= file.version <= VERSION:
        raise KeyringDamaged(
            f"the keyring has version {file.version}, want at most {VERSION}",
            hint="a newer program wrote it: use that",
        )
    if not file.cost.bounded() or len(file.salt) != SALT_SIZE or len(file.nonce) != NONCE_SIZE:
        raise KeyringDamaged(
            f"the keyring asks for {file.cost.memory_kib} KiB, {file.cost.passes} passes and "
            f"{file.cost.lanes} lanes, want at most {MAX_MEMORY_KIB}, {MAX_PASSES}, {MAX_LANES}",
            hint="nothing of ours writes this: put it back from a backup",
        )
    return file


def open_with(file: KeyringFile, lock: Lock) -> Contents:
    """Return the contents that `lock` opens.

    Raises:
        WrongPassphrase: it does not open them.
        KeyringDamaged: it does, and they are no contents.
    """
    bound = _bound(file.version, file.cost, file.salt)
    try:
        plain = AESGCM(lock.key).decrypt(file.nonce, file.sealed, bound)
    except (InvalidTag, ValueError) as error:
        raise WrongPassphrase(
            "the passphrase does not open the keyring, whose file is whole",
            hint="is it this keyring's passphrase, with the same capitals and keyboard?",
        ) from error
    try:
        return Contents.from_bytes(plain) if file.version == VERSION else _from_former(plain)
    except MalformedMessage as error:
        raise KeyringDamaged(f"the keyring's keys do not decode: {error.message}") from error


def _from_former(plain: bytes) -> Contents:
    former = _FormerContents.from_bytes(plain).versions
    return Contents(
        versions=tuple(
            StoredVersion(
                key=each.key,
                version=each.version,
                created=each.created,
                expires=0,
                destroyed=each.destroyed,
                secret=each.secret,
            )
            for each in former
        )
    )
