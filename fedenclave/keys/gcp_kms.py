"""Keys in Google Cloud KMS, by Google's client over HTTPS and its application-default credentials.

A key is a CryptoKey, a version is one of its versions: KMS numbers them itself, from 1.

Rules:
  * Every request carries CRC-32C of what it sends; an answer counts only if KMS has seen the same
    bytes, if its own checksum fits, and if it is of the key that was asked for.
  * The additional authenticated data say key and dataset.
  * Destroying schedules it, with the waiting period of the CryptoKey: 30 days by default.

Source: Cloud KMS, "Verifying end-to-end data integrity"; google-cloud-kms.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fedenclave.keys.crc32c import crc32c
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
from fedenclave.keys.provider import KeyVersion
from fedenclave.keys.wrapping import bound_bytes
from fedenclave.protocol.errors import ConfigurationError

KIND = "gcp-kms"
_RESOURCE = re.compile(
    r"(projects/[^/]+/locations/[^/]+/keyRings/[A-Za-z0-9_-]+)(/cryptoKeys/(?P<key>[A-Za-z0-9_-]+))?"
)
_SECONDS = 20
_HOW: dict[str, Any] = {"retry": None, "timeout": _SECONDS}


def kms_library() -> Any:
    """Return Google's client.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It warns of our gRPC's age at every import, and is used over HTTPS here.
            warnings.simplefilter("ignore", FutureWarning)
            from google.cloud import kms_v1
    except ImportError as error:
        raise ConfigurationError(
            "Google Cloud KMS needs google-cloud-kms, which is not installed",
            hint="pip install 'fedenclave[gcp]'",
        ) from error
    return kms_v1


def open_gcp_kms(resource: str, *, clock: Callable[[], float] = time.time) -> tuple[GcpKms, str]:
    """Return a key ring's store, and the key that `resource` names, if any.

    Raises:
        ConfigurationError: it is no such resource, or Google's client or credentials are missing.
    """
    found = _RESOURCE.fullmatch(resource)
    if found is None:
        raise ConfigurationError(
            f"gcp-kms:{resource[:200]} names no key ring",
            hint="such as gcp-kms:projects/P/locations/europe-west3/keyRings/R/cryptoKeys/node",
        )
    library = kms_library()
    from google.auth.exceptions import DefaultCredentialsError

    try:
        client = library.KeyManagementServiceClient(transport="rest")
    except DefaultCredentialsError as error:
        raise ConfigurationError(
            f"gcp-kms:{found[1]} cannot be reached: there are no Google credentials",
            hint="the machine's service account, or GOOGLE_APPLICATION_CREDENTIALS=FILE",
        ) from error
    return GcpKms(client, found[1], clock=clock), found["key"] or ""


class GcpKms:
    """Implements `KeyStore`."""

    kind = KIND
    keeps_expiry = False

    def __init__(self, client: Any, ring: str, *, clock: Callable[[], float] = time.time) -> None:
        """Take Google's client, and the key ring's resource name."""
        self._client, self._ring, self._clock = client, ring, clock
        self._kms = kms_library()

    @property
    def place(self) -> str:
        """Return the key ring."""
        return f"{KIND}:{self._ring}"

    def create(self, key: str, version: int, expires: int) -> int:
        """Make a CryptoKey, or a version of one that becomes primary. See `KeyStore.create`."""
        with self._calling(f"make key {key} version {version}"):
            if version == 1:
                wanted = self._kms.CryptoKey(purpose="ENCRYPT_DECRYPT")
                request = {"parent": self._ring, "crypto_key_id": key, "crypto_key": wanted}
                self._client.create_crypto_key(request=request, **_HOW)
                return 1
            made = self._client.create_crypto_key_version(
                request={"parent": self._name(key), "crypto_key_version": {}}, **_HOW
            )
            number = self._number(made.name, key)
            self._client.update_crypto_key_primary_version(
                request={"name": self._name(key), "crypto_key_version_id": str(number)}, **_HOW
            )
        return number

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return what KMS lists. See `KeyStore.versions`."""
        keys = [key] if key is not None else self._keys()
        return [version for name in sorted(keys) for version in self._versions_of(name)]

    def _keys(self) -> list[str]:
        with self._calling("list its keys"):
            pager = self._client.list_crypto_keys(request={"parent": self._ring}, **_HOW)
            found = [each for each in pager if each.purpose.name == "ENCRYPT_DECRYPT"]
        return [each.name.rpartition("/")[2] for each in found]

    def _versions_of(self, key: str) -> list[KeyVersion]:
        request = {"parent": self._name(key)}
        try:
            with self._calling(f"list the versions of key {key}"):
                found = list(self._client.list_crypto_key_versions(request=request, **_HOW))
        except NoSuchKey:
            return []
        numbers = [self._number(each.name, key) for each in found]
        return [
            self._version(key, number, each, newest=number == max(numbers))
            for number, each in sorted(zip(numbers, found, strict=True))
        ]

    def _version(self, key: str, number: int, told: Any, *, newest: bool) -> KeyVersion:
        gone, now = 0, self._clock()
        if told.state.name in ("DESTROY_SCHEDULED", "DESTROYED"):
            at = told.destroy_event_time or told.destroy_time
            gone = int(at.timestamp()) if at else int(now)
        return KeyVersion(
            key=key,
            version=number,
            created=int(told.create_time.timestamp()) if told.create_time else 0,
            destroyed=gone,
            state=state_of(newest=newest, expires=0, destroyed=gone, now=now),
        )

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap in KMS. See `KeyStore.encrypt`."""
        bound = bound_bytes(KIND, key, context)
        with self._calling(f"wrap with key {key}"):
            answer = self._client.encrypt(
                request={
                    "name": self._name(key),
                    "plaintext": data_key,
                    "plaintext_crc32c": crc32c(data_key),
                    "additional_authenticated_data": bound,
                    "additional_authenticated_data_crc32c": crc32c(bound),
                },
                **_HOW,
            )
        self._check(
            answer.verified_plaintext_crc32c
            and answer.verified_additional_authenticated_data_crc32c,
            "it does not say that it has seen what was sent",
        )
        self._check(
            answer.ciphertext_crc32c == crc32c(answer.ciphertext),
            "the wrapped key does not have the checksum beside it",
        )
        return self._number(answer.name, key), bytes(answer.ciphertext)

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap in KMS. See `KeyStore.decrypt`."""
        bound = bound_bytes(KIND, key, context)
        with self._calling(f"unwrap with key {key} version {version}"):
            answer = self._client.decrypt(
                request={
                    "name": self._name(key),
                    "ciphertext": wrapped,
                    "ciphertext_crc32c": crc32c(wrapped),
                    "additional_authenticated_data": bound,
                    "additional_authenticated_data_crc32c": crc32c(bound),
                },
                **_HOW,
            )
        self._check(
            answer.plaintext_crc32c == crc32c(answer.plaintext),
            "the unwrapped key does not have the checksum beside it",
        )
        return bytes(answer.plaintext)

    def destroy(self, key: str, version: int) -> int:
        """Schedule the destruction. See `KeyStore.destroy`."""
        with self._calling(f"destroy key {key} version {version}"):
            name = f"{self._name(key)}/cryptoKeyVersions/{version}"
            told = self._client.destroy_crypto_key_version(request={"name": name}, **_HOW)
        return int(told.destroy_time.timestamp()) if told.destroy_time else int(self._clock())

    def _name(self, key: str) -> str:
        if "." in key:
            raise KeysRefused(
                f"a key of {self.place} cannot be named {key[:80]!r}",
                hint="letters, digits, dashes and underscores alone",
            )
        return f"{self._ring}/cryptoKeys/{key}"

    def _number(self, name: str, key: str) -> int:
        prefix = f"{self._name(key)}/cryptoKeyVersions/"
        number = name.removeprefix(prefix)
        self._check(
            name.startswith(prefix) and number.isascii() and number.isdecimal(),
            f"it is of {name[:200]!r}, want a version of {self._name(key)}",
        )
        return int(number)

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise AnswerNotTrusted(
                f"the answer of {self.place} does not count: {what}",
                hint="it was damaged on the way, or is not KMS'; nothing was done. call again",
            )

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turn Google's errors into ours."""
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        what = f"{self.place} cannot {doing}"
        try:
            yield
        except exceptions.GoogleAPICallError as error:
            status, said = _told(error)
            kind, hint = _MEANINGS.get(status, (KeysRefused, "Cloud Audit Logs may say more"))
            raise kind(f"{what}: {status}: {said[:300]}", hint=hint) from error
        except (requests.RequestException, exceptions.RetryError, TimeoutError) as error:
            raise Unreachable(
                f"{what}: no answer ({type(error).__name__})",
                hint="is the network there? call again",
            ) from error
        except GoogleAuthError as error:
            raise NotAllowed(
                f"{what}: {type(error).__name__}",
                hint="are the credentials current, and is this machine's clock right?",
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            # What Google's client raises where an answer has another shape than it takes for given.
            raise AnswerNotTrusted(
                f"{what}: the answer is none of Cloud KMS' ({type(error).__name__})",
                hint="is something between this machine and Google? call again",
            ) from error


def _told(error: Any) -> tuple[str, str]:
    """Return the status' name and the message of an answer.

    Over HTTPS the client's own classes tell an argument that is wrong from a key in a wrong state
    no more: both are 400.
    """
    try:
        told = error.response.json()["error"]
        return str(told["status"]), str(told["message"])
    except (AttributeError, ValueError, KeyError, TypeError):
        code = int(error.code or 0)
        return ("UNAVAILABLE" if code >= 500 else str(code)), "an answer without a status"


_LATER = "call again later"
_MEANINGS: dict[str, tuple[type[KeysRefused], str]] = {
    "PERMISSION_DENIED": (NotAllowed, "the role that it needs is in fedenclave/keys/README.md"),
    "UNAUTHENTICATED": (NotAllowed, "are the credentials current, and this machine's clock right?"),
    "NOT_FOUND": (NoSuchKey, "fedenclave keys list shows what there is"),
    "FAILED_PRECONDITION": (
        KeyDestroyed,
        "the version is destroyed, scheduled for it, or switched off; before the time is over "
        "its administrator can restore it",
    ),
    "INVALID_ARGUMENT": (
        CannotUnwrap,
        "what holds the wrapped key was changed, or is another key's or dataset's",
    ),
    "ALREADY_EXISTS": (KeysRefused, "somebody else has made it just now; call again"),
    "RESOURCE_EXHAUSTED": (Unreachable, "KMS is asked too often; call again later"),
    "UNAVAILABLE": (Unreachable, _LATER),
    "INTERNAL": (Unreachable, _LATER),
    "DEADLINE_EXCEEDED": (Unreachable, _LATER),
}
