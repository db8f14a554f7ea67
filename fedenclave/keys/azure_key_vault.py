"""Keys in Azure Key Vault, by Azure's client, with the credentials that azure-identity finds.

A version of key `node` is a key of its own, `node-v1`, `node-v2` ...: Key Vault deletes keys and
not their versions. They are RSA-3072 with RSA-OAEP-256: a vault has no symmetric keys, which only
a Managed HSM has.

Rules:
  * OAEP knows no associated data: what is wrapped is the data key ‖ SHA-256 of `bound_bytes`, which
    is compared when it comes back.
  * Wrapping needs the public key alone, and is done here; unwrapping is done in the vault.
  * Whoever has the public key can wrap a key of their own: that a dataset opens says nothing of who
    sealed it.
  * Destroying deletes the key; the vault keeps it for the days of its soft-delete, 7 to 90.

Source: Azure Key Vault REST API, keys; azure-keyvault-keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.expiry import state_of
from fedenclave.keys.provider import DATA_KEY_SIZE, MAX_WRAPPED, KeyVersion
from fedenclave.keys.wrapping import bound_bytes
from fedenclave.protocol.digests import equal, sha256
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.records import Record

KIND = "azure-key-vault"
_URL = re.compile(r"(https://[A-Za-z0-9.-]+(?::[0-9]+)?)/?(keys/(?P<key>[A-Za-z0-9-]+))?")
_NAME = re.compile(r"(?P<key>[A-Za-z0-9-]+)-v(?P<version>[1-9][0-9]{0,8})")
_RSA_BITS = 3072
_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrapped(Record):
    """What was wrapped, and the id of the key in the vault, version and all."""

    MAX_SIZE: ClassVar[int] = MAX_WRAPPED

    key_id: str
    blob: bytes


def open_azure_key_vault(
    url: str, *, clock: Callable[[], float] = time.time
) -> tuple[AzureKeyVault, str]:
    """Return a vault's store, and the key that `url` names, if any.

    Raises:
        ConfigurationError: it is no vault's address, or Azure's client is missing.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigurationError(
            f"azure-key-vault:{url[:200]} names no vault",
            hint="such as azure-key-vault:https://st-anna.vault.azure.net/keys/node",
        )
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise _missing() from error
    credential = DefaultAzureCredential(exclude_interactive_browser_credential=True)
    return AzureKeyVault(found[1], credential, clock=clock), found["key"] or ""


def _missing() -> ConfigurationError:
    return ConfigurationError(
        "Azure Key Vault needs azure-keyvault-keys and azure-identity, which are not installed",
        hint="pip install 'fedenclave[azure]'",
    )


class AzureKeyVault:
    """Implements `KeyStore`."""

    kind = KIND
    keeps_expiry = True

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        clock: Callable[[], float] = time.time,
        **transport: Any,
    ) -> None:
        """Use a vault.

        Args:
            url: its address.
            credential: gives the tokens.
            clock: gives Unix seconds.
            transport: what Azure's client is told beside that.
        """
        try:
            from azure.keyvault.keys import KeyClient
        except ImportError as error:
            raise _missing() from error
        how = {
            "retry_total": 1,
            "connection_timeout": _SECONDS,
            "read_timeout": _SECONDS,
            **transport,
        }
        self._client = KeyClient(url, credential, **how)
        self._url, self._clock = url, clock

    @property
    def place(self) -> str:
        """Return the vault's address."""
        return f"{KIND}:{self._url}"

    def create(self, key: str, version: int, expires: int) -> int:
        """Make an RSA key in the vault. See `KeyStore.create`."""
        name = self._name(key, version)
        if any(each.version == version for each in self.versions(key)):
            raise KeysRefused(
                f"{self.place} has a key {name} already",
                hint="somebody else has made it just now; call again",
            )
        with self._calling(f"make key {name}"):
            self._client.create_rsa_key(
                name,
                size=_RSA_BITS,
                key_operations=["wrapKey", "unwrapKey"],
                expires_on=datetime.fromtimestamp(expires, UTC) if expires else None,
            )
        return version

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return what the vault lists, and what it has deleted and still keeps."""
        with self._calling("list its keys"):
            there = [(each, 0) for each in self._client.list_properties_of_keys()]
        gone = self._deleted()
        found = [
            (match["key"], int(match["version"]), facts, destroyed)
            for facts, destroyed in (*there, *gone)
            if (match := _NAME.fullmatch(facts.name)) and key in (None, match["key"])
        ]
        newest = {name: max(v for k, v, *_ in found if k == name) for name, *_ in found}
        return [
            self._version(name, version, facts, destroyed, newest=newest[name] == version)
            for name, version, facts, destroyed in sorted(found, key=lambda each: each[:2])
        ]

    def _deleted(self) -> list[tuple[Any, int]]:
        try:
            with self._calling("list its deleted keys"):
                deleted = list(self._client.list_deleted_keys())
        except NotAllowed:
            return []  # a right that sealing and reading do not need
        return [(each.properties, self._purged_at(each)) for each in deleted]

    def _version(
        self, key: str, version: int, facts: Any, destroyed: int, *, newest: bool
    ) -> KeyVersion:
        expires = int(facts.expires_on.timestamp()) if facts.expires_on else 0
        return KeyVersion(
            key=key,
            version=version,
            created=int(facts.created_on.timestamp()) if facts.created_on else 0,
            expires=expires,
            destroyed=destroyed,
            state=state_of(newest=newest, expires=expires, destroyed=destroyed, now=self._clock()),
        )

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap with the public key. See `KeyStore.encrypt`."""
        versions = [each.version for each in self.versions(key) if not each.destroyed]
        if not versions:
            raise NoSuchKey(
                f"{self.place} has no key {key}-v1", hint="fedenclave keys create makes one"
            )
        name = self._name(key, max(versions))
        from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

        with self._calling(f"wrap with key {name}"):
            public = self._client.get_key(name)
            if public.name != name or not str(public.id).startswith(f"{self._url}/keys/{name}/"):
                raise AnswerNotTrusted(
                    f"{self.place} answers with key {str(public.id)[:200]}, want {name}"
                )
            local = CryptographyClient.from_jwk(public.key)
            plain = data_key + sha256(bound_bytes(KIND, key, context))
            blob = local.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, plain).encrypted_key
        return max(versions), _Wrapped(key_id=str(public.id), blob=blob).to_bytes()

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap in the vault. See `KeyStore.decrypt`."""
        from azure.keyvault.keys.crypto import KeyWrapAlgorithm

        name = self._name(key, version)
        try:
            told = _Wrapped.from_bytes(wrapped)
        except MalformedMessage as error:
            raise CannotUnwrap(
                f"what {self.place} is to unwrap does not decode: {error.message}"
            ) from error
        prefix = f"{self._url}/keys/{name}/"
        if not told.key_id.startswith(prefix):
            raise CannotUnwrap(
                f"the key was wrapped by {told.key_id[:200]}, want a version of {prefix}",
                hint="name the vault that it is in",
            )
        with self._calling(f"unwrap with key {name}"):
            client = self._client.get_cryptography_client(
                name, key_version=told.key_id.removeprefix(prefix)
            )
            plain = memoryview(client.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, told.blob).key)
        data_key, bound = plain[:DATA_KEY_SIZE], plain[DATA_KEY_SIZE:]
        if not equal(bytes(bound), sha256(bound_bytes(KIND, key, context))):
            raise CannotUnwrap(
                f"key {name} of {self.place} has wrapped this, but not for {context[:80]}",
                hint="what holds the wrapped key is another dataset's",
            )
        return bytes(data_key)

    def destroy(self, key: str, version: int) -> int:
        """Delete the key. See `KeyStore.destroy`."""
        name = self._name(key, version)
        with self._calling(f"delete key {name}"):
            deleted = self._client.begin_delete_key(name).result()
        return self._purged_at(deleted) or int(self._clock())

    def _purged_at(self, deleted: Any) -> int:
        at = deleted.scheduled_purge_date
        return int(at.timestamp()) if at else int(self._clock())

    def _name(self, key: str, version: int) -> str:
        name = f"{key}-v{version}"
        if _NAME.fullmatch(name) is None:
            raise KeysRefused(
                f"a key of {self.place} cannot be named {key[:80]!r}",
                hint="letters, digits and dashes alone",
            )
        return name

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turn Azure's errors into ours."""
        from azure.core import exceptions

        what = f"{self.place} cannot {doing}"
        try:
            yield
        except exceptions.ClientAuthenticationError as error:
            raise NotAllowed(
                f"{what}: the vault does not know who asks",
                hint="a managed identity, or what else azure-identity reads; is the clock right?",
            ) from error
        except exceptions.HttpResponseError as error:
            kind, hint = _meaning(error.status_code or 0)
            code = getattr(error.error, "code", None) or error.reason or ""
            raise kind(f"{what}: {error.status_code} {str(code)[:200]}", hint=hint) from error
        except exceptions.AzureError as error:
            raise Unreachable(
                f"{what}: no answer ({type(error).__name__})",
                hint="is the network there, and the vault's address right? call again",
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # An answer of another shape than the client takes for given.
            raise AnswerNotTrusted(
                f"{what}: the answer is none of Key Vault's ({type(error).__name__})",
                hint="is the address right, and nothing in between? call again",
            ) from error


_MEANINGS: dict[int, tuple[type[KeysRefused], str]] = {
    400: (CannotUnwrap, "what holds the wrapped key was changed"),
    401: (NotAllowed, "are the credentials current, and is this machine's clock right?"),
    403: (
        NotAllowed,
        "the role that it needs is in fedenclave/keys/README.md; or it is switched off",
    ),
    404: (NoSuchKey, "fedenclave keys list shows what there is, and what is deleted"),
    409: (KeysRefused, "a key of this name is deleted and still kept: recover or purge it"),
    429: (Unreachable, "the vault is asked too often; call again later"),
}


def _meaning(status: int) -> tuple[type[KeysRefused], str]:
    busy: tuple[type[KeysRefused], str] = (Unreachable, "call again later")
    unknown: tuple[type[KeysRefused], str] = (KeysRefused, "the vault's own log may say more")
    return _MEANINGS.get(status, busy if status >= 500 else unknown)
