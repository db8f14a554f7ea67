"""Which witnesses can be configured, and by what."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.host.add_checkpoint import (
    checked_url,
)
from fedenclave.host.witnesses import (
    MAX_WITNESSES,
    read_witnesses,
)
from fedenclave.protocol.checkpoint_note import (
    log_origin,
    witness_key,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.signed_note import NoteKey
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.toml_table import parse
from tests.host.tlog_witness import FORGED, HttpWitness

ENCLAVE = public_key(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ORIGIN = log_origin("banks", ENCLAVE)
LOG_KEY = NoteKey(name=ORIGIN, key=ENCLAVE)
ADDRESS = "https://witness.example/log"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "witness.example",
        "ftp://witness.example",
        "file:///etc/hostname",
        "https://",
        "https:///path",
        "https://user@witness.example",
        "https://witness.example/?a=b",
        "https://witness.example/#a",
        "https://witness.example:port",
        "https://witness.example:0",
        "https://witness.example/ a",
        "https://witness.example/\u00e4",
        "https://witness.example/\r\nHost: other",
        "http://[::1",
    ],
)
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="want http"):
        checked_url(url)


def test_a_witness_is_configured_by_its_name_address_and_key() -> None:
    table = parse(f'["w.example"]\nurl = "{ADDRESS}/"\nkey = "{FORGED.vkey}"'.encode(), "[w]")
    (made,) = read_witnesses(table)
    assert (made.url, made.key.name) == (ADDRESS, "w.example")
    assert made.key == witness_key(FORGED.vkey)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'["w.example"]\nurl = "{ADDRESS}"', "no key"),
        (f'["w.example"]\nkey = "{FORGED.vkey}"', "no url"),
        (f'["w.example"]\nurl = "x"\nkey = "{FORGED.vkey}"', "url is 'x'"),
        (f'["v.example"]\nurl = "{ADDRESS}"\nkey = "{FORGED.vkey}"', "has the key of w.example"),
        (f'["w.example"]\nurl = "{ADDRESS}"\nkey = "w.example+0+AA"', "key cannot be used"),
        (
            f'["{ORIGIN}"]\nurl = "{ADDRESS}"\nkey = "{LOG_KEY.to_text()}"',
            "of type 01, want 04",
        ),
        (
            f'["w.example"]\nurl = "{ADDRESS}"\nkey = "{FORGED.vkey}"\nname = "w"',
            "unknown keys: name",
        ),
        ('"w.example" = 1', "no table"),
    ],
)
def test_a_witness_that_is_not_configured_exactly_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_witnesses(parse(text.encode(), "[witnesses]"))


def test_two_witnesses_with_one_key_and_too_many_are_refused() -> None:
    def tables(witnesses: list[HttpWitness]) -> bytes:
        return "\n".join(
            f'["{each.name}"]\nurl = "{ADDRESS}"\nkey = "{each.vkey}"' for each in witnesses
        ).encode()

    twice = [HttpWitness(name=name, private=FORGED.private) for name in "ab"]
    with pytest.raises(ConfigurationError, match="one key for two"):
        read_witnesses(parse(tables(twice), "[witnesses]"))
    many = [HttpWitness(name=f"w{number}") for number in range(MAX_WITNESSES + 1)]
    with pytest.raises(ConfigurationError, match="at most 32"):
        read_witnesses(parse(tables(many), "[witnesses]"))
    assert len(read_witnesses(parse(tables(many[1:]), "[witnesses]"))) == MAX_WITNESSES
