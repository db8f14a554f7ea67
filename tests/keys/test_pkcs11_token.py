"""How a token is reached: its PIN, its library, its URI, and what is said where one is wrong."""

from __future__ import annotations

import _ssl
import ctypes
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.keys.errors import WrongPin
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.pkcs11_signing import make_signer
from fedenclave.keys.pkcs11_token import open_token
from fedenclave.keys.pkcs11_uri import TokenUri
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.keys.events import read_events
from tests.keys.softhsm import PIN, SoftToken, soft_token


def test_a_wrong_pin_is_tried_once_and_stands_in_no_message(tmp_path: Path) -> None:
    token = soft_token("other")  # one that this process is not logged in to
    wrong = tmp_path / "pin"
    wrong.write_text("some-wrong-pin")
    wrong.chmod(0o600)
    uri = replace(TokenUri.parse(token.uri()), pin_file=wrong)
    with pytest.raises(WrongPin, match="does not take the PIN") as refused:
        open_token(uri)
    assert "locks after a few wrong ones" in refused.value.hint
    assert "some-wrong-pin" not in str(refused.value)
    wrong.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"PIN file .* has mode 0640"):
        open_token(uri)


def test_a_pin_that_is_refused_is_an_event(audit: Path, tmp_path: Path) -> None:
    token = soft_token("other")  # one that this process is not logged in to
    wrong = tmp_path / "wrong"
    wrong.write_text("some-wrong-pin")
    wrong.chmod(0o600)
    where = token.uri().partition("&pin-source=")[0] + f"&pin-source=file:{wrong}"
    with pytest.raises(WrongPin) as refused:
        open_keys(where, Access(passphrase=lambda _: b"", audit=audit))
    (event,) = read_events(audit)
    assert (event["event"], event["provider"]) == ("pin-refused", "pkcs11")
    assert event["why"] == refused.value.message
    assert "some-wrong-pin" not in audit.read_text()


def test_a_locked_token_is_told_from_a_wrong_pin(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pkcs11

    locked = pkcs11.TokenFlag.USER_PIN_LOCKED

    class Token:
        label, serial, manufacturer_id, model, flags = "node", b"1", "", "", locked

        def open(self, **_: object) -> None:
            pytest.fail("a PIN was tried")

    class Library:
        def get_tokens(self) -> list[Token]:
            return [Token()]

    monkeypatch.setattr(pkcs11, "lib", lambda _: Library())
    with pytest.raises(WrongPin, match="is locked") as refused:
        open_token(TokenUri.parse(token.uri()))
    assert "nothing was tried now" in refused.value.hint


def test_without_a_file_and_a_terminal_nobody_is_asked_for_a_pin(token: SoftToken) -> None:
    uri = replace(TokenUri.parse(token.uri()), pin_file=None)
    with pytest.raises(ConfigurationError, match="nothing says where the PIN"):
        open_token(uri)
    asked: list[str] = []
    opened = open_token(uri, lambda question: asked.append(question) or PIN.encode())
    assert asked == ["PIN of pkcs11:token=node"]
    assert opened.place == "pkcs11:token=node"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "none"}, "has 0 tokens that are pkcs11:token=none"),
        ({"serial": "0"}, "has 0 tokens"),
        ({"module": Path("/nowhere.so")}, "cannot be loaded as a PKCS #11 library"),
        ({"module": Path("/etc/passwd")}, "cannot be loaded as a PKCS #11 library"),
        ({"pin_file": Path("/nowhere")}, "cannot read the PIN file /nowhere"),
        ({"module": None}, "nothing says which library"),
    ],
)
def test_what_is_not_there_is_named(
    token: SoftToken, changes: dict[str, object], message: str
) -> None:
    uri = replace(TokenUri.parse(token.uri()), **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=message) as refused:
        open_token(uri)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pkcs11:", "names no token"),
        ("pkcs11:object=a", "names no token"),
        ("pkcs11:token=a;token=b", "'token' twice"),
        ("pkcs11:token=a;slot-id=1", "'slot-id' that is not understood"),
        ("pkcs11:token=a?pin-value=12345", "holds a PIN"),
        ("pkcs11:token=a?pin-source=pin", "want an absolute path"),
        ("pkcs11:token=a?module-path=x.so", "want an absolute path"),
        ("pkcs11:token=%ff", "token is not UTF-8"),
        ("pkcs11:token=a;type=cert", "no key"),
    ],
)
def test_a_uri_that_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(FedEnclaveError, match=message) as refused:
        TokenUri.parse(text)
    assert "12345" not in str(refused.value)


def test_a_uri_is_read_as_rfc_7512_writes_it() -> None:
    uri = TokenUri.parse(
        "pkcs11:token=my%20token;object=a%3Bb?module-path=/x.so&pin-source=file:/pin"
    )
    assert uri == TokenUri(
        token="my token", object="a;b", module=Path("/x.so"), pin_file=Path("/pin")
    )


def test_a_tokens_library_leaves_no_error_for_a_tls_connection_of_the_same_thread() -> None:
    """SoftHSM leaves "no such engine" in the queue that ssl reads, and a round was lost by it."""
    libcrypto = ctypes.CDLL(_ssl.__file__)
    peek = getattr(libcrypto, "ERR_peek_error", None)
    if peek is None:
        pytest.skip("this Python's ssl has its OpenSSL inside, where no token's library finds it")
    peek.restype = ctypes.c_ulong
    token = soft_token("node")
    signer = make_signer(token.uri("leaves-no-error"))
    assert peek() == 0
    signer.sign(b"text")
    assert peek() == 0
