"""Keys in AWS KMS, by boto3: with the credentials and the endpoint that boto3 is configured to.

A version of key `node` is a KMS key of its own, with the alias `alias/node-v1`, `alias/node-v2`
...: KMS' own rotation keeps all old material for ever, and none of it could be destroyed.

Rules:
  * What is wrapped names the KMS key, and is unwrapped by that one alone, in this account.
  * The encryption context says key and dataset. It stands in CloudTrail, in the clear.
  * Destroying schedules the deletion, which waits for 30 days.

Source: AWS KMS API reference: Encrypt, Decrypt, ListAliases, ScheduleKeyDeletion.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

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
from fedenclave.keys.provider import MAX_WRAPPED, KeyVersion
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError, MalformedMessage
from fedenclave.protocol.records import Record

KIND = "aws-kms"
_ARN = re.compile(
    r"(arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}))"
    r"(:alias/(?P<key>[A-Za-z0-9][A-Za-z0-9_-]*))?"
)
_ALIAS = re.compile(r"alias/(?P<key>[A-Za-z0-9][A-Za-z0-9_-]*)-v(?P<version>[1-9][0-9]{0,8})")
_SECONDS = 20
WAITING_DAYS = 30
"""How long a deletion can be called back: the most that KMS takes, and its default."""

_GONE = ("PendingDeletion", "PendingReplicaDeletion")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrapped(Record):
    """What KMS has made of a data key, and the KMS key that did."""

    MAX_SIZE: ClassVar[int] = MAX_WRAPPED

    kms_key: str
    blob: bytes


def open_aws_kms(arn: str, *, clock: Callable[[], float] = time.time) -> tuple[AwsKms, str]:
    """Return the KMS of an account and region, and the key that `arn` names, if any.

    Raises:
        ConfigurationError: it is no such ARN, or boto3 is not installed.
    """
    found = _ARN.fullmatch(arn)
    if found is None:
        raise ConfigurationError(
            f"aws-kms:{arn[:200]} names no account, or no alias",
            hint="such as aws-kms:arn:aws:kms:eu-central-1:111122223333:alias/node. a key that is "
            "there already is given the alias node-v1",
        )
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigurationError(
            "AWS KMS needs boto3, which is not installed", hint="pip install 'fedenclave[aws]'"
        ) from error
    limits = Config(
        connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 2}
    )
    prefix = found[1]
    with translated("be reached", f"{KIND}:{prefix}"):
        client = boto3.session.Session().client("kms", region_name=found["region"], config=limits)
    return AwsKms(client, prefix, clock=clock), found["key"] or ""


class AwsKms:
    """Implements `KeyStore`."""

    kind = KIND
    keeps_expiry = False

    def __init__(self, client: Any, prefix: str, *, clock: Callable[[], float] = time.time) -> None:
        """Take boto3's client, and the ARN's part up to the account."""
        self._client, self._prefix, self._clock = client, prefix, clock

    @property
    def place(self) -> str:
        """Return the account and region."""
        return f"{KIND}:{self._prefix}"

    def create(self, key: str, version: int, expires: int) -> int:
        """Make a KMS key and its alias. See `KeyStore.create`."""
        alias = f"alias/{key}-v{version}"
        if "." in key:
            raise KeysRefused(
                f"a key of {self.place} cannot be named {key[:80]!r}",
                hint="letters, digits, dashes and underscores alone",
            )
        with self._calling(f"make {alias}"):
            made = self._client.create_key(
                Description=f"FedEnclave: wraps data keys, {key} version {version}",
                KeyUsage="ENCRYPT_DECRYPT",
                KeySpec="SYMMETRIC_DEFAULT",
            )["KeyMetadata"]["KeyId"]
        try:
            with self._calling(f"make {alias}"):
                self._client.create_alias(AliasName=alias, TargetKeyId=made)
        except FedEnclaveError as error:
            # Nothing is wrapped by it yet, and each KMS key costs its owner money.
            with self._calling(f"take back the KMS key {made}"):
                self._client.schedule_key_deletion(KeyId=made, PendingWindowInDays=7)
            raise KeysRefused(
                f"{error.message}; the KMS key {made} was scheduled for deletion", hint=error.hint
            ) from error
        return version

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return the versions that have an alias. See `KeyStore.versions`."""
        aliases = self._aliases(key)
        newest = {name: max(v for k, v in aliases if k == name) for name, _ in aliases}
        return [
            self._described(name, version, newest[name] == version)
            for name, version in sorted(aliases)
        ]

    def _described(self, key: str, version: int, newest: bool) -> KeyVersion:
        with self._calling(f"describe alias/{key}-v{version}"):
            told = self._client.describe_key(KeyId=self._alias_arn(key, version))["KeyMetadata"]
            gone = int(told["DeletionDate"].timestamp()) if "DeletionDate" in told else 0
            if told["KeyState"] in _GONE:
                gone = gone or int(self._clock()) + 1
            created = int(told["CreationDate"].timestamp())
        return KeyVersion(
            key=key,
            version=version,
            created=created,
            destroyed=gone,
            state=state_of(newest=newest, expires=0, destroyed=gone, now=self._clock()),
        )

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap in KMS. See `KeyStore.encrypt`."""
        versions = [version for _, version in self._aliases(key)]
        if not versions:
            raise NoSuchKey(
                f"{self.place} has no alias {key}-v1",
                hint="fedenclave keys create makes a KMS key with one",
            )
        version = max(versions)
        with self._calling(f"wrap with alias/{key}-v{version}"):
            answer = self._client.encrypt(
                KeyId=self._alias_arn(key, version),
                Plaintext=data_key,
                EncryptionContext=_context(key, context),
            )
            wrapped = _Wrapped(kms_key=answer["KeyId"], blob=answer["CiphertextBlob"])
        self._check_own(wrapped.kms_key)
        return version, wrapped.to_bytes()

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap in KMS. See `KeyStore.decrypt`."""
        try:
            told = _Wrapped.from_bytes(wrapped)
        except MalformedMessage as error:
            raise CannotUnwrap(
                f"what {self.place} is to unwrap does not decode: {error.message}"
            ) from error
        self._check_own(told.kms_key)
        with self._calling(f"unwrap with key {key} version {version}, {told.kms_key}"):
            answer = self._client.decrypt(
                KeyId=told.kms_key,
                CiphertextBlob=told.blob,
                EncryptionContext=_context(key, context),
            )
            used, plain = str(answer["KeyId"]), bytes(answer["Plaintext"])
        if used != told.kms_key:
            raise AnswerNotTrusted(f"{self.place} unwrapped with {used[:200]}, want {told.kms_key}")
        return plain

    def destroy(self, key: str, version: int) -> int:
        """Schedule the deletion. See `KeyStore.destroy`."""
        with self._calling(f"schedule the deletion of alias/{key}-v{version}"):
            # The deletion takes a key's id, and no alias.
            described = self._client.describe_key(KeyId=self._alias_arn(key, version))
            answer = self._client.schedule_key_deletion(
                KeyId=described["KeyMetadata"]["KeyId"], PendingWindowInDays=WAITING_DAYS
            )
            return int(answer["DeletionDate"].timestamp())

    def _aliases(self, key: str | None) -> list[tuple[str, int]]:
        with self._calling("list its aliases"):
            pages = self._client.get_paginator("list_aliases").paginate()
            names = [alias["AliasName"] for page in pages for alias in page["Aliases"]]
        found = [match for match in map(_ALIAS.fullmatch, names) if match]
        return [
            (match["key"], int(match["version"])) for match in found if key in (None, match["key"])
        ]

    def _alias_arn(self, key: str, version: int) -> str:
        return f"{self._prefix}:alias/{key}-v{version}"

    def _check_own(self, kms_key: str) -> None:
        if not kms_key.startswith(f"{self._prefix}:key/"):
            raise CannotUnwrap(
                f"the key was wrapped by {kms_key[:200]}, and {self.place} is asked",
                hint="name the account and region that it is in",
            )

    def _calling(self, doing: str) -> Any:
        return translated(doing, self.place)


def _context(key: str, context: str) -> dict[str, str]:
    return {"fedenclave-key": key, "fedenclave-context": context}


@contextmanager
def translated(doing: str, place: str) -> Iterator[None]:
    """Turn boto3's errors into ours.

    Raises:
        KeysRefused: one of its kinds.
        ConfigurationError: boto3 has no credentials.
    """
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "no code"))
        said = str(error.response.get("Error", {}).get("Message", ""))
        kind, hint = _meaning(code)
        raise kind(f"{place} cannot {doing}: {code}: {said[:300]}", hint=hint) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise ConfigurationError(
            f"{place} cannot {doing}: there are no AWS credentials",
            hint="a role of the machine, AWS_PROFILE, or what else boto3 reads",
        ) from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise Unreachable(
            f"{place} cannot {doing}: no answer ({type(error).__name__})",
            hint="is the network there, and AWS_ENDPOINT_URL_KMS right, if it is set? call again",
        ) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise AnswerNotTrusted(
            f"{place} cannot {doing}: the answer is none of KMS' ({type(error).__name__})",
            hint="is AWS_ENDPOINT_URL_KMS right, if it is set?",
        ) from error
    except exceptions.BotoCoreError as error:
        raise ConfigurationError(f"{place} cannot {doing}: {type(error).__name__}") from error


_DENIED = "the key's policy and this role's must allow it: fedenclave/keys/README.md has both"
_TIME = "are the credentials current, and is this machine's clock right?"
_MEANINGS: dict[str, tuple[type[KeysRefused], str]] = {
    "AccessDeniedException": (NotAllowed, _DENIED),
    "UnrecognizedClientException": (NotAllowed, _TIME),
    "ExpiredTokenException": (NotAllowed, _TIME),
    "InvalidSignatureException": (NotAllowed, _TIME),
    "NotFoundException": (NoSuchKey, "fedenclave keys list shows what there is"),
    "KMSInvalidStateException": (
        KeyDestroyed,
        "its deletion is scheduled: until then its administrator can cancel that",
    ),
    "DisabledException": (KeysRefused, "its administrator has switched the KMS key off"),
    "InvalidCiphertextException": (
        CannotUnwrap,
        "what holds the wrapped key was changed, or is another dataset's",
    ),
    "IncorrectKeyException": (CannotUnwrap, "another KMS key has wrapped this"),
    "AlreadyExistsException": (KeysRefused, "somebody else has made it just now; call again"),
    "ThrottlingException": (Unreachable, "KMS is asked too often; call again later"),
    "LimitExceededException": (Unreachable, "the account's limit of KMS is reached"),
    "KMSInternalException": (Unreachable, "call again later"),
    "DependencyTimeoutException": (Unreachable, "call again later"),
}


def _meaning(code: str) -> tuple[type[KeysRefused], str]:
    if code.startswith("5"):  # an error page, and none of KMS' own answers
        return Unreachable, "call again later"
    return _MEANINGS.get(code, (KeysRefused, "CloudTrail may say more"))
