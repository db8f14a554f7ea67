"""Which data a node's owner lets its app have: what node.toml's [data] says, and opening that.

The names below are what an app's process is told (in Flower's node configuration, which the
SuperLink does not see). No secret is among them: a passphrase is named by its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedenclave.datasets.locations import is_remote, store_at
from fedenclave.datasets.reader import SealedDataset, open_dataset, require_digest
from fedenclave.keys.keyring import audit_path
from fedenclave.keys.locations import Access, keyring_path, open_keys
from fedenclave.keys.passphrase import read_passphrase
from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

DATASET_KEY = "fedenclave-dataset"
KEYS_KEY = "fedenclave-keys"
PASSPHRASE_KEY = "fedenclave-passphrase-file"
AUDIT_KEY = "fedenclave-keys-audit"
DIGEST_KEY = "fedenclave-dataset-digest"
PLAIN_TEXT_KEY = "fedenclave-plain-text"
PLAIN_FILE_KEY = "data-path"
"""By which an app is told of a file in plain text; only where PLAIN_TEXT_KEY is true."""

_KEYRING = "keyring:"
_AUDIT_FILE = "keys.audit.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeData:
    """What the owner lets the app have.

    Attributes:
        dataset: the sealed dataset's folder or URL; empty for none.
        keys: what has its key: `keyring:FILE`, or another place (keys/locations.py).
        passphrase_file: of the keyring; empty for other places.
        audit: file of the events of keys that are in no keyring.
        digest: the only state of the dataset that is read, as `sha256:…`; empty for any.
        plain_text: whether the app may also read data that lies there in plain text.
    """

    dataset: str = ""
    keys: str = ""
    passphrase_file: str = ""
    audit: str = ""
    digest: str = ""
    plain_text: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigurationError: something is missing, or stands there for nothing.
        """
        if not self.dataset and (self.keys or self.passphrase_file or self.digest):
            raise ConfigurationError(
                "the node's data names keys, a passphrase file or a digest, and no dataset",
                hint="name the sealed dataset, too, or none of them",
            )
        if self.dataset and not self.keys.partition(":")[2]:
            raise ConfigurationError(
                f"keys of the node's data is {self.keys[:100]!r}, want {_KEYRING}FILE, or another "
                "KIND:WHERE",
                hint="fedenclave keys init makes a keyring",
            )
        if self.keyring_path() and not self.passphrase_file:
            raise ConfigurationError(
                "the node's data names a keyring and no passphrase file",
                hint="nobody can be asked while a node runs: put the passphrase into a file, "
                "mode 0600",
            )
        try:
            if self.digest:
                from_text(self.digest)
        except MalformedMessage as error:
            raise ConfigurationError(
                f"the node's data: {error.message}", hint="as fedenclave data seal printed it"
            ) from error

    def keyring_path(self) -> str:
        """Return the keyring's file; empty where none is named."""
        path = keyring_path(self.keys)
        return "" if path is None else str(path)

    def below(self, folder: Path) -> NodeData:
        """Return the same with every path made absolute, relative ones below `folder`."""
        if not self.dataset:
            return self
        local = self.dataset if is_remote(self.dataset) else str(folder / self.dataset)
        ring, secret = self.keyring_path(), self.passphrase_file
        return NodeData(
            dataset=local,
            keys=f"{_KEYRING}{folder / ring}" if ring else self.keys,
            passphrase_file=str(folder / secret) if secret else "",
            audit=str(folder / _AUDIT_FILE),
            digest=self.digest,
            plain_text=self.plain_text,
        )

    def settings(self) -> dict[str, str | bool]:
        """Return what the app's process is told."""
        told: dict[str, str | bool] = {PLAIN_TEXT_KEY: True} if self.plain_text else {}
        if self.dataset:
            told |= {DATASET_KEY: self.dataset, KEYS_KEY: self.keys}
            told |= {PASSPHRASE_KEY: self.passphrase_file, DIGEST_KEY: self.digest}
            told |= {AUDIT_KEY: self.audit}
        return told

    @classmethod
    def of_settings(cls, settings: Mapping[str, object]) -> NodeData:
        """Return what `settings` told.

        Raises:
            ConfigurationError: it is not what `settings` writes.
        """
        names = (DATASET_KEY, KEYS_KEY, PASSPHRASE_KEY, DIGEST_KEY, AUDIT_KEY)
        texts = [settings.get(name, "") for name in names]
        for name, text in zip(names, texts, strict=True):
            if not isinstance(text, str):
                raise ConfigurationError(f"setting {name} is no text")
        dataset, keys, passphrase_file, digest, audit = map(str, texts)
        return cls(
            dataset=dataset,
            keys=keys,
            passphrase_file=passphrase_file,
            digest=digest,
            audit=audit,
            plain_text=settings.get(PLAIN_TEXT_KEY) is True,
        )

    def provider(self) -> KeyProvider:
        """Return what has the dataset's key, unlocked.

        Raises:
            ConfigurationError, KeysRefused: it cannot be used.
        """
        ring = self.keyring_path()
        access = Access(
            passphrase=lambda _: read_passphrase(Path(self.passphrase_file)),
            audit=audit_path(Path(ring)) if ring else Path(self.audit),
        )
        return open_keys(self.keys, access).provider

    def open(self) -> SealedDataset | None:
        """Return the dataset, open; None where none is named.

        Raises:
            ConfigurationError, KeysRefused: the keyring does not open, or has not the key.
            DatasetRefused: there is none, it is damaged, or in another state than `digest`.
        """
        if not self.dataset:
            return None
        opened = open_dataset(store_at(self.dataset), self.provider(), purpose="train on")
        if self.digest:
            try:
                require_digest(opened, from_text(self.digest))
            except BaseException:
                opened.close()
                raise
        return opened
