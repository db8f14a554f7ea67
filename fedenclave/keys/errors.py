"""What can be wrong with a key, or with where it is kept. No message carries a key's bytes."""

from __future__ import annotations

from fedenclave.protocol.errors import FedEnclaveError


class KeysRefused(FedEnclaveError):
    """A key provider cannot do what it is asked. Nothing was changed."""


class NotRecorded(KeysRefused):
    """An event cannot be written: nothing is done without it. What is done says that it is."""


class WrongPassphrase(KeysRefused):
    """The keyring is whole, and the passphrase does not open it."""


class KeyringDamaged(KeysRefused):
    """The keyring's file is not what was written: cut, changed, or another file."""


class NoSuchKey(KeysRefused):
    """The provider has no key of that name and version."""


class KeyDestroyed(KeysRefused):
    """The key was destroyed, and with it whatever it alone could open."""


class CannotUnwrap(KeysRefused):
    """A wrapped key is not one that this key has wrapped."""


class KeyExpired(KeysRefused):
    """The key's newest version seals nothing new any more. It reads what it has sealed."""


class WrongPin(KeysRefused):
    """The token does not take the PIN, or takes none any more."""


class NotAllowed(KeysRefused):
    """What keeps the keys does not let this user do that."""


class Unreachable(KeysRefused):
    """What keeps the keys does not answer, or is too busy. Later it may."""


class AnswerNotTrusted(KeysRefused):
    """What keeps the keys has answered with something else than was asked for."""
