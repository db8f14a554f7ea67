"""A PKCS #11 token, opened: its maker's library, one session, and what its answers mean.

Rules:
  * A PIN is tried once. Tokens lock after a few wrong ones, so nothing here tries again, and no
    other secret is ever tried as a PIN.
  * One session, used by one thread at a time. It does not outlive a fork: who forks opens anew.

Source: PKCS #11 2.40 and 3.0; python-pkcs11.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedenclave.keys.errors import CannotUnwrap, KeysRefused, NotAllowed, Unreachable, WrongPin
from fedenclave.keys.passphrase import read_passphrase
from fedenclave.keys.pkcs11_uri import MODULE_VARIABLE, TokenUri
from fedenclave.protocol.errors import ConfigurationError

PIN_VARIABLE = "FEDENCLAVE_PIN_FILE"
_NO_PIN_HINT = (
    f"pin-source=file:FILE in the URI, or {PIN_VARIABLE}=FILE in the environment; never the PIN"
)
Ask = Callable[[str], bytes]
"""Asks the user for the PIN of what it is given."""


def pkcs11_library() -> Any:
    """Return the client of PKCS #11.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import pkcs11
    except ImportError as error:
        raise ConfigurationError(
            "a PKCS #11 token needs python-pkcs11, which is not installed",
            hint="pip install 'fedenclave[pkcs11]'",
        ) from error
    return pkcs11


class OpenToken:
    """A token with one session, after the PIN was taken."""

    def __init__(self, session: Any, place: str) -> None:
        """Keep the session; `open_token` makes one."""
        self._session, self.place, self._lock = session, place, threading.Lock()
        self._process = os.getpid()

    @contextmanager
    def session(self, doing: str) -> Iterator[Any]:
        """Lend the session to one thread, and turn the token's errors into ours.

        Args:
            doing: what is tried, for messages.

        Raises:
            KeysRefused: the token refuses, or this process has not opened it.
        """
        if os.getpid() != self._process:
            raise KeysRefused(
                f"{self.place} cannot {doing}: another process has opened it",
                hint="a session with a token does not outlive a fork: open it in this process",
            )
        with self._lock, _leaving_no_tls_error(), translated(doing, self.place):
            yield self._session


@contextmanager
def _leaving_no_tls_error() -> Iterator[None]:
    """Empty this thread's queue of OpenSSL errors after a token's library was called.

    Libraries such as SoftHSM's use the OpenSSL that Python's ssl uses, and leave errors behind that
    are none ("no such engine"). A TLS connection of the same thread would take the next one for its
    own, and break. What empties the queue is the way in which ssl refuses a list of ciphers.
    """
    try:
        yield
    finally:
        import ssl

        with contextlib.suppress(ssl.SSLError):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("NONE-OF-THIS-NAME")


def open_token(uri: TokenUri, ask: Ask | None = None, *, read_only: bool = False) -> OpenToken:
    """Open the token that `uri` names.

    Args:
        uri: which, and how.
        ask: asks for a PIN that no file holds; None where there is nobody to ask.
        read_only: whether nothing will be made or destroyed in it.

    Raises:
        ConfigurationError: library, token or PIN file are not there.
        WrongPin: the token does not take the PIN.
        KeysRefused: it refuses for another reason.
    """
    with _leaving_no_tls_error():
        pkcs11 = pkcs11_library()
        token = _token(pkcs11, uri)
        _check_not_locked(pkcs11, token, uri.place)
        pin = _pin(uri, ask)
        try:
            with translated("log in", uri.place):
                session = _logged_in(pkcs11, token, pin, rw=not read_only)
        except WrongPin as error:
            raise WrongPin(error.message, hint=_tries_left(pkcs11, uri)) from error
        return OpenToken(session, uri.place)


def _logged_in(pkcs11: Any, token: Any, pin: str, *, rw: bool) -> Any:
    try:
        return token.open(rw=rw, user_pin=pin)
    except pkcs11.exceptions.UserAlreadyLoggedIn:
        # Logging in is the process' affair: another session of ours has done it.
        return token.open(rw=rw)


def _token(pkcs11: Any, uri: TokenUri) -> Any:
    named = os.environ.get(MODULE_VARIABLE)
    module = uri.module or (Path(named) if named else None)
    if module is None:
        raise ConfigurationError(
            f"nothing says which library reaches {uri.place}",
            hint=f"module-path=/path/to/library.so in the URI, or {MODULE_VARIABLE} in the "
            "environment",
        )
    try:
        library = pkcs11.lib(str(module))
        found = [token for token in library.get_tokens() if _matches(token, uri)]
    except (RuntimeError, OSError) as error:
        raise ConfigurationError(
            f"{module} cannot be loaded as a PKCS #11 library: "
            f"{error if type(error) is RuntimeError else type(error).__name__}",
            hint="is it the path of the token maker's library, and is the token's service running?",
        ) from error
    if len(found) != 1:
        raise ConfigurationError(
            f"{module} has {len(found)} tokens that are {uri.place}, want one",
            hint="is it plugged in and initialised? where several have one label, name serial=",
        )
    return found[0]


def _matches(token: Any, uri: TokenUri) -> bool:
    facts = {
        "token": token.label,
        "serial": token.serial.decode(errors="replace").strip(),
        "manufacturer": token.manufacturer_id,
        "model": token.model,
    }
    return all(not getattr(uri, name) or getattr(uri, name) == v for name, v in facts.items())


def _pin(uri: TokenUri, ask: Ask | None) -> str:
    named = os.environ.get(PIN_VARIABLE)
    file = uri.pin_file or (Path(named) if named else None)
    if file is not None:
        given = read_passphrase(file, "PIN")
    elif ask is not None:
        given = ask(f"PIN of {uri.place}")
    else:
        raise ConfigurationError(f"nothing says where the PIN of {uri.place} is", hint=_NO_PIN_HINT)
    try:
        return given.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the PIN of {uri.place} is not UTF-8") from error


def _check_not_locked(pkcs11: Any, token: Any, place: str) -> None:
    if token.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
        raise _locked(place)


def _locked(place: str) -> WrongPin:
    return WrongPin(
        f"{place} is locked: it was given too many wrong PINs, and takes none any more",
        hint="its security officer sets a new PIN. nothing was tried now; the keys are still there",
    )


def _tries_left(pkcs11: Any, uri: TokenUri) -> str:
    flags = _token(pkcs11, uri).flags
    if flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
        return "it is locked now: its security officer sets a new PIN. the keys are still there"
    if flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
        return "ONE TRY IS LEFT before it locks. nothing here tries again by itself"
    return "it locks after a few wrong ones. nothing here tries again by itself"


@contextmanager
def translated(doing: str, place: str) -> Iterator[None]:
    """Turn a token's errors into ours.

    Raises:
        KeysRefused: one of its kinds, where the token refuses.
    """
    pkcs11 = pkcs11_library()
    errors = pkcs11.exceptions
    try:
        yield
    except errors.PinLocked as error:
        raise _locked(place) from error
    except (errors.PinIncorrect, errors.PinInvalid, errors.PinLenRange, errors.PinExpired) as error:
        why = type(error).__name__
        raise WrongPin(f"{place} does not take the PIN ({why})") from error
    except (errors.EncryptedDataInvalid, errors.EncryptedDataLenRange) as error:
        raise CannotUnwrap(f"{place} cannot {doing}: {type(error).__name__}") from error
    except (errors.DeviceRemoved, errors.TokenNotPresent, errors.SessionClosed) as error:
        raise Unreachable(
            f"{place} cannot {doing}: it is gone ({type(error).__name__})",
            hint="plug it in again, or start its service; then call again",
        ) from error
    except (
        errors.SessionReadOnly,
        errors.TokenWriteProtected,
        errors.UserNotLoggedIn,
        errors.FunctionRejected,
        errors.AttributeReadOnly,
    ) as error:
        raise NotAllowed(
            f"{place} may not {doing}: {type(error).__name__}",
            hint="may this PIN's user do that in this token?",
        ) from error
    except errors.DeviceMemory as error:
        raise KeysRefused(
            f"{place} cannot {doing}: it is full", hint="destroy what is needed no more"
        ) from error
    except errors.PKCS11Error as error:
        raise KeysRefused(
            f"{place} cannot {doing}: {type(error).__name__} {error}".rstrip(),
            hint="the token's own log may say more; does it know this mechanism?",
        ) from error
