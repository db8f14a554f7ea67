"""Which token, which object in it, and how to reach it: a PKCS #11 URI.

    pkcs11:token=node;object=dataset-key?module-path=/usr/lib/x.so&pin-source=file:/etc/fedenclave/pin

Rules:
  * An attribute that is not known here, or that comes twice, is refused: it would be a condition
    that is not looked at.
  * `pin-value` is refused: everybody on the machine can read a command's arguments.

Source: RFC 7512.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from fedenclave.protocol.errors import ConfigurationError

SCHEME = "pkcs11:"
MODULE_VARIABLE = "FEDENCLAVE_PKCS11_MODULE"
_PATH = ("token", "serial", "manufacturer", "model", "object", "type")
_QUERY = ("module-path", "pin-source")
_HINT = "such as pkcs11:token=node;object=data?module-path=/usr/lib/softhsm/libsofthsm2.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """A parsed URI; empty where it says nothing.

    Attributes:
        token: the token's label.
        serial: its serial number.
        manufacturer: its maker.
        model: its model.
        object: the key's label.
        module: the maker's library.
        pin_file: the file with the PIN.
    """

    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    object: str = ""
    module: Path | None = None
    pin_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Parse a URI.

        Raises:
            ConfigurationError: it is none, or says what is not understood.
        """
        if not text.startswith(SCHEME):
            raise ConfigurationError(f"{_shown(text)} is no PKCS #11 URI", hint=_HINT)
        path, _, query = text.removeprefix(SCHEME).partition("?")
        of_path = _attributes(path, ";", _PATH, text)
        of_query = _attributes(query, "&", _QUERY, text)
        if of_path.pop("type", "private") not in ("private", "secret-key"):
            raise ConfigurationError(
                f"{_shown(text)} names an object that is no key", hint="leave type= away"
            )
        module, source = of_query.get("module-path", ""), of_query.get("pin-source", "")
        if not (of_path.get("token") or of_path.get("serial")):
            raise ConfigurationError(
                f"{_shown(text)} names no token, want token=LABEL or serial=NUMBER", hint=_HINT
            )
        return cls(
            **of_path,
            module=_absolute(module, "module-path") if module else None,
            pin_file=_absolute(source.removeprefix("file:"), "pin-source") if source else None,
        )

    @property
    def place(self) -> str:
        """Return the token's name, for messages: without how to reach it."""
        return f"{SCHEME}token={self.token}" if self.token else f"{SCHEME}serial={self.serial}"


def _attributes(text: str, separator: str, known: tuple[str, ...], whole: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise ConfigurationError(
                "a PKCS #11 URI holds a PIN, which every process of the machine could read",
                hint="change that PIN, and say pin-source=file:FILE, a file with mode 0600",
            )
        if name not in known or not equals or name in found:
            again = "twice" if name in found else "that is not understood"
            raise ConfigurationError(
                f"{_shown(whole)} has an attribute {name[:40]!r} {again}, want "
                f"{', '.join(known)}, each once",
                hint=_HINT,
            )
        try:
            found[name] = unquote_to_bytes(value).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{_shown(whole)}: {name} is not UTF-8") from error
    return found


def _absolute(text: str, what: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ConfigurationError(
            f"{what} is {text[:200]!r}, want an absolute path", hint="such as /etc/fedenclave/pin"
        )
    return path


def _shown(text: str) -> str:
    """Return what of a URI can stand in a message: a query may hold a PIN by mistake."""
    return text.partition("?")[0][:200]
