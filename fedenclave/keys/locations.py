"""Where keys are, in one text: the kind of provider, a colon, and what that kind needs.

    keyring:PATH
    pkcs11:token=LABEL;object=KEY?module-path=LIBRARY&pin-source=file:FILE
    aws-kms:arn:aws:kms:REGION:ACCOUNT:alias/KEY
    gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/KEY
    azure-key-vault:https://NAME.vault.azure.net/keys/KEY
    vault:https://HOST:8200#MOUNT/KEY

The key's name at the end may be left away where a command says it. No text holds a secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedenclave.keys import keyring, pkcs11_keys
from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import WrongPin
from fedenclave.keys.key_store import KeyStore
from fedenclave.keys.pkcs11_token import Ask, open_token
from fedenclave.keys.pkcs11_uri import TokenUri
from fedenclave.keys.provider import KeyProvider
from fedenclave.keys.stored_keys import StoredKeys
from fedenclave.protocol.errors import ConfigurationError

_EXAMPLES = (
    "keyring:PATH, pkcs11:token=..., aws-kms:arn:..., gcp-kms:projects/..., "
    "azure-key-vault:https://..., vault:https://...#transit/KEY"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysAt:
    """Opened keys.

    Attributes:
        provider: what wraps.
        key: the key that the text names; empty where it names none.
    """

    provider: KeyProvider
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What opening keys may need beside the text that names them.

    Attributes:
        passphrase: gives the passphrase of the keyring that it is told.
        ask_pin: asks for the PIN of the token that it is told; None where nobody is there to ask.
        audit: the file of the events; a keyring has its own beside it.
        clock: gives Unix seconds.
    """

    passphrase: Callable[[Path], bytes]
    audit: Path
    ask_pin: Ask | None = None
    clock: Callable[[], float] = time.time


def keyring_path(text: str) -> Path | None:
    """Return the keyring's file where `text` names a keyring."""
    kind, colon, rest = text.partition(":")
    return Path(rest) if colon and kind == keyring.KIND and rest else None


def open_keys(text: str, access: Access) -> KeysAt:
    """Open the keys that `text` names.

    Raises:
        ConfigurationError: it names none, or what is needed for it is not installed or not there.
        KeysRefused: they do not open.
    """
    if (path := keyring_path(text)) is not None:
        ring = keyring.open_keyring(path, access.passphrase(path), clock=access.clock)
        return KeysAt(provider=ring, key="")
    kind, _, rest = text.partition(":")
    opener = _OPENERS.get(kind)
    if opener is None or not rest:
        raise ConfigurationError(
            f"keys are at {text.partition('?')[0][:80]!r}, want one of: {_EXAMPLES}",
            hint="the folder's keyring is keyring:PATH",
        )
    audit = AuditLog(access.audit, access.clock)
    try:
        store, key = opener(text, rest, access)
    except WrongPin as error:
        audit.record("pin-refused", provider=kind, why=error.message)
        raise
    return KeysAt(provider=StoredKeys(store, audit, clock=access.clock), key=key)


def _pkcs11(text: str, _: str, access: Access) -> tuple[KeyStore, str]:
    uri = TokenUri.parse(text)
    token = open_token(uri, access.ask_pin)
    return pkcs11_keys.TokenKeys(token, clock=access.clock), uri.object


def _aws_kms(_: str, rest: str, access: Access) -> tuple[KeyStore, str]:
    from fedenclave.keys.aws_kms import open_aws_kms

    return open_aws_kms(rest, clock=access.clock)


def _gcp_kms(_: str, rest: str, access: Access) -> tuple[KeyStore, str]:
    from fedenclave.keys.gcp_kms import open_gcp_kms

    return open_gcp_kms(rest, clock=access.clock)


def _azure(_: str, rest: str, access: Access) -> tuple[KeyStore, str]:
    from fedenclave.keys.azure_key_vault import open_azure_key_vault

    return open_azure_key_vault(rest, clock=access.clock)


def _vault(_: str, rest: str, access: Access) -> tuple[KeyStore, str]:
    from fedenclave.keys.vault_transit import open_vault_transit

    return open_vault_transit(rest, clock=access.clock)


_OPENERS: dict[str, Callable[[str, str, Access], tuple[KeyStore, str]]] = {
    pkcs11_keys.KIND: _pkcs11,
    "aws-kms": _aws_kms,
    "gcp-kms": _gcp_kms,
    "azure-key-vault": _azure,
    "vault": _vault,
}
