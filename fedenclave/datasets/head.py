"""The head: what of a sealed dataset can be read without a key, and the wrapped key itself.

It is the only part that `rotate` writes again, and the one that makes a dataset: an index and a
body that no head names are what an interrupted seal has left.

FORMAT.md, section 2.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import ClassVar

from fedenclave.datasets.errors import DatasetDamaged
from fedenclave.datasets.layout import ID_SIZE, VERSION, DatasetKeys
from fedenclave.keys.provider import MAX_WRAPPED, WrappedKey
from fedenclave.protocol.digests import Digest, equal
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

MAGIC = b"FSD1"
MAX_HEAD = MAX_WRAPPED + 4096
_DOMAIN = b"fedenclave/dataset-head/v1\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Record):
    """What stands in the clear.

    Attributes:
        version: of the format.
        dataset: 16 random bytes, new with each encryption.
        digest: of the contents, salted by what is inside: it can be published.
        sealed_at: Unix seconds of the encryption.
        index_size: bytes of the index object.
        body_size: bytes of the body object.
        key: the wrapped data key, and what wraps it.
    """

    MAX_SIZE: ClassVar[int] = MAX_HEAD

    version: int
    dataset: bytes
    digest: Digest
    sealed_at: int
    index_size: int
    body_size: int
    key: WrappedKey

    @property
    def name(self) -> str:
        """Return the dataset's id in hex: what messages and audit events call it."""
        return self.dataset.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authenticated(Record):
    """The head's encoding, and its HMAC-SHA256 under a key that the data key gives."""

    MAX_SIZE: ClassVar[int] = MAX_HEAD

    head: bytes
    mac: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedHead:
    """A head as it lies there. Anybody can have written it until `verify` returns."""

    head: Head
    mac: Digest
    where: str

    def verify(self, keys: DatasetKeys) -> Head:
        """Return the head, which whoever had the data key has written.

        Raises:
            DatasetDamaged: it was changed, or the wrapped key is another dataset's.
        """
        if not equal(_mac(self.head.to_bytes(), keys), self.mac):
            raise DatasetDamaged(
                f"dataset {self.head.name} at {self.where}: its head does not authenticate under "
                "the key that it names: it was changed, or has another dataset's key",
                hint="put the file head back from a backup; index and body need not be touched",
            )
        return self.head


def write_head(head: Head, keys: DatasetKeys) -> bytes:
    """Return the bytes of the head object."""
    encoded = head.to_bytes()
    return MAGIC + _Authenticated(head=encoded, mac=_mac(encoded, keys)).to_bytes()


def read_head(data: bytes, where: str) -> UnverifiedHead:
    """Return the head that `data` encodes, of the dataset at `where`.

    Raises:
        DatasetDamaged: it is none, or of another version.
    """
    if not data.startswith(MAGIC):
        raise DatasetDamaged(
            f"{where}: the head has {len(data)} bytes and begins with {data[:4].hex() or 'none'}, "
            f"want {MAGIC.hex()}: it is no sealed dataset, or was cut off",
            hint="put the file head back from a backup",
        )
    try:
        outer = _Authenticated.from_bytes(data[len(MAGIC) :])
        head = Head.from_bytes(outer.head)
    except MalformedMessage as error:
        raise DatasetDamaged(
            f"{where}: the head of {len(data)} bytes was cut or changed: {error.message}",
            hint="put the file head back from a backup",
        ) from error
    if head.version != VERSION:
        raise DatasetDamaged(
            f"{where}: the head has version {head.version}, want {VERSION}",
            hint="a newer program sealed it: use that",
        )
    if len(head.dataset) != ID_SIZE:
        raise DatasetDamaged(f"{where}: the id has {len(head.dataset)} bytes, want {ID_SIZE}")
    return UnverifiedHead(head=head, mac=outer.mac, where=where)


def _mac(encoded: bytes, keys: DatasetKeys) -> Digest:
    return Digest(hmac.digest(keys.head, _DOMAIN + encoded, hashlib.sha256))
