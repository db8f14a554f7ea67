"""Keys in the transit engine of HashiCorp Vault (or OpenBao), by hvac.

A key is a transit key of type aes256-gcm96, and its versions are Vault's, from 1. The token comes
from VAULT_TOKEN or ~/.vault-token (as Vault's own agent writes it), the namespace from
VAULT_NAMESPACE, the certificates to trust from VAULT_CACERT.

Rules:
  * A key that could be read out of Vault (exportable, plaintext backup) is not used.
  * Vault makes a key that is not there when it is asked to encrypt, if the policy lets it: so it is
    looked at first.
  * Vault destroys versions from the oldest on, and one in the middle never.

Source: Vault's API reference, transit secrets engine.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.expiry import state_of
from fedenclave.keys.provider import KeyState, KeyVersion
from fedenclave.keys.wrapping import bound_bytes
from fedenclave.protocol.errors import ConfigurationError

KIND = "vault"
_SECONDS = 20
_WRAPPED = re.compile(r"vault:v(?P<version>[1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}")
_TYPE = "aes256-gcm96"
_LEAVING = ("exportable", "allow_plaintext_backup", "derived")


def open_vault_transit(
    where: str, *, clock: Callable[[], float] = time.time
) -> tuple[VaultTransit, str]:
    """Return a transit engine's store, and the key that `where` names, if any.

    Raises:
        ConfigurationError: it names none, or hvac or the token is missing.
    """
    url, _, rest = where.partition("#")
    mount, _, key = rest.rpartition("/") if "/" in rest else (rest, "", "")
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not mount or not parts.hostname or (parts.scheme != "https" and not local):
        raise ConfigurationError(
            f"vault:{url[:200]} is no https:// address with a mount behind #",
            hint="such as vault:https://vault.st-anna.example:8200#transit/node",
        )
    try:
        import hvac
    except ImportError as error:
        raise ConfigurationError(
            "Vault needs hvac, which is not installed", hint="pip install 'fedenclave[vault]'"
        ) from error
    client = hvac.Client(
        url=url,
        namespace=os.environ.get("VAULT_NAMESPACE"),
        timeout=_SECONDS,
        allow_redirects=False,
    )
    if not client.token:
        raise ConfigurationError(
            f"there is no token for {url}", hint="VAULT_TOKEN, or ~/.vault-token by Vault's agent"
        )
    return VaultTransit(client, url, mount, clock=clock), key


class VaultTransit:
    """Implements `KeyStore`."""

    kind = KIND
    keeps_expiry = False

    def __init__(
        self, client: Any, url: str, mount: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Take hvac's client, Vault's address, and where its transit engine is mounted."""
        self._transit, self._url, self._mount = client.secrets.transit, url, mount
        self._clock = clock

    @property
    def place(self) -> str:
        """Return the engine's address."""
        return f"{KIND}:{self._url}#{self._mount}"

    def create(self, key: str, version: int, expires: int) -> int:
        """Make a transit key, or rotate it. See `KeyStore.create`."""
        with self._calling(f"make key {key} version {version}"):
            if version == 1:
                self._transit.create_key(name=key, key_type=_TYPE, mount_point=self._mount)
            else:
                self._transit.rotate_key(name=key, mount_point=self._mount)
        return int(self._read(key)["latest_version"])

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return what Vault tells. See `KeyStore.versions`."""
        found = []
        for name in sorted([key] if key is not None else self._keys()):
            try:
                found += self._versions_of(name, self._read(name))
            except NoSuchKey:
                continue
        return found

    def _keys(self) -> list[str]:
        try:
            with self._calling("list its keys"):
                told = self._transit.list_keys(mount_point=self._mount)
                return [str(name) for name in told["data"]["keys"]]
        except NoSuchKey:
            return []

    def _versions_of(self, key: str, told: dict[str, Any]) -> list[KeyVersion]:
        newest, least = told["latest_version"], told["min_decryption_version"]
        now = self._clock()
        return [
            KeyVersion(
                key=key,
                version=number,
                created=made,
                destroyed=0,
                state=(
                    state_of(newest=number == newest, expires=0, destroyed=0, now=now)
                    if number >= least
                    # Forbidden, and still there: a trim that was broken off, or Vault's own people.
                    else KeyState.SCHEDULED
                ),
            )
            for number, made in sorted(told["keys"].items())
        ]

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap in Vault. See `KeyStore.encrypt`."""
        self._check_kept_inside(key, self._read(key))
        with self._calling(f"wrap with key {key}"):
            answer = self._transit.encrypt_data(
                name=key,
                plaintext=_text(data_key),
                associated_data=_text(bound_bytes(KIND, key, context)),
                mount_point=self._mount,
            )
        wrapped = self._field(answer, "ciphertext")
        return self._version_in(wrapped), wrapped.encode()

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap in Vault. See `KeyStore.decrypt`."""
        text = wrapped.decode("ascii", errors="replace")
        found = _WRAPPED.fullmatch(text)
        if found is None or int(found["version"]) != version:
            raise CannotUnwrap(
                f"what {self.place} is to unwrap is {text[:24]!r}..., want vault:v{version}:",
                hint="what holds the wrapped key was changed",
            )
        try:
            with self._calling(f"unwrap with key {key} version {version}"):
                answer = self._transit.decrypt_data(
                    name=key,
                    ciphertext=text,
                    associated_data=_text(bound_bytes(KIND, key, context)),
                    mount_point=self._mount,
                )
            return base64.b64decode(self._field(answer, "plaintext"), validate=True)
        except binascii.Error as error:
            raise AnswerNotTrusted(
                f"{self.place} answers with something that is no plaintext"
            ) from error

    def destroy(self, key: str, version: int) -> int:
        """Trim the oldest version away. See `KeyStore.destroy`."""
        told = self._read(key)
        oldest = min(told["keys"])
        if version != oldest:
            raise KeysRefused(
                f"{self.place} destroys the oldest version of key {key} alone, which is {oldest}, "
                f"and {version} is asked for",
                hint=f"bring every dataset to a newer one, then destroy from {oldest} on",
            )
        with self._calling(f"destroy key {key} version {version}"):
            # In this order: Vault trims only what both forbid, and encrypts with nothing that it
            # would not decrypt. hvac takes the two one at a time.
            for least in ("min_encryption_version", "min_decryption_version"):
                self._transit.update_key_configuration(
                    name=key, mount_point=self._mount, **{least: version + 1}
                )
            self._transit.trim_key(name=key, min_version=version + 1, mount_point=self._mount)
        return int(self._clock())

    def _field(self, answer: Any, name: str) -> str:
        try:
            return str(answer["data"][name])
        except (TypeError, KeyError) as error:
            raise AnswerNotTrusted(f"{self.place} answers without {name}") from error

    def _read(self, key: str) -> dict[str, Any]:
        with self._calling(f"look at key {key}"):
            told = self._transit.read_key(name=key, mount_point=self._mount)["data"]
            numbers = {
                name: int(told[name]) for name in ("latest_version", "min_decryption_version")
            }
            made = {int(number): _seconds(at) for number, at in told["keys"].items()}
            flags = {name: bool(told[name]) for name in _LEAVING}
            return {**numbers, **flags, "keys": made, "type": str(told["type"])}

    def _check_kept_inside(self, key: str, told: dict[str, Any]) -> None:
        wrong = [name for name in _LEAVING if told[name]]
        if wrong or told["type"] != _TYPE:
            raise NotAllowed(
                f"key {key} of {self.place} is {', '.join([str(told['type']), *wrong])}, want "
                f"{_TYPE} that is neither exportable nor derived",
                hint="fedenclave keys create makes one, under another name",
            )

    def _version_in(self, wrapped: str) -> int:
        found = _WRAPPED.fullmatch(wrapped)
        if found is None:
            raise AnswerNotTrusted(f"{self.place} answers with something that is no wrapped key")
        return int(found["version"])

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turn hvac's errors into ours."""
        import requests
        from hvac import exceptions

        what = f"{self.place} cannot {doing}"
        try:
            yield
        except exceptions.VaultError as error:
            kind, hint = _meaning(error, exceptions)
            said = ", ".join(map(str, error.errors or [])) or "no reason given"
            raise kind(f"{what}: {type(error).__name__}: {said[:300]}", hint=hint) from error
        except requests.RequestException as error:
            raise Unreachable(
                f"{what}: no answer ({type(error).__name__})",
                hint="is the address right, Vault running, and VAULT_CACERT its authority's file?",
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # An answer of another shape than the client takes for given.
            raise AnswerNotTrusted(
                f"{what}: the answer is none of Vault's ({type(error).__name__})",
                hint="is the address right, and nothing in between? call again",
            ) from error


def _meaning(error: Any, exceptions: Any) -> tuple[type[KeysRefused], str]:
    text = " ".join(map(str, error.errors or []))
    if isinstance(error, exceptions.InvalidRequest):
        if "version is disallowed" in text or "too old" in text:
            return KeyDestroyed, "the version was destroyed, or forbidden by min_decryption_version"
        if "encryption key not found" in text:
            return NoSuchKey, "fedenclave keys list shows what there is"
        return CannotUnwrap, "what holds the wrapped key was changed, or is another dataset's"
    meanings: tuple[tuple[Any, type[KeysRefused], str], ...] = (
        (
            (exceptions.Forbidden, exceptions.Unauthorized),
            NotAllowed,
            "has the token expired? the policy that it needs is in fedenclave/keys/README.md",
        ),
        (exceptions.InvalidPath, NoSuchKey, "fedenclave keys list shows what there is"),
        (
            (
                exceptions.RateLimitExceeded,
                exceptions.VaultDown,
                exceptions.InternalServerError,
                exceptions.BadGateway,
            ),
            Unreachable,
            "is Vault sealed or too busy? call again later",
        ),
    )
    for kinds, ours, hint in meanings:
        if isinstance(error, kinds):
            return ours, hint
    return KeysRefused, "Vault's audit device may say more"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _seconds(made: object) -> int:
    """Return when a version was made: Vault tells Unix seconds, or 0 for what it does not know."""
    return made if isinstance(made, int) else 0
