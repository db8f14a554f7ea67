"""The quick way to read an entry says what the decoder says, of every entry and of every change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.audit.log_entry import STATEMENTS, CommonForms, KeyCheck, Opened, open_entry
from fedenclave.protocol import signing
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import Admission, Rejection
from tests.audit.log_builder import KEY, ZERO
from tests.audit.lying_receipt import BASICS, MANIFEST
from tests.protocol.strategies import records

FORMS = CommonForms(MANIFEST.name, MANIFEST.digest)
ROUNDS = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
CLIENTS = ["", "a", "a" * 23, "a" * 24, "fupdate", "x" * 63, "a" * 64, "ä", "a\n", "payload"]


def outcome(opened: object, data: bytes) -> Opened | str:
    try:
        return opened(data)  # type: ignore[operator,no-any-return]
    except MalformedMessage as error:
        return error.message


def admission(**changes: object) -> Admission:
    plain = Admission(**BASICS, round=1, client="a", update=Digest(b"u" * 32), data=ZERO)
    return replace(plain, **changes)  # type: ignore[arg-type]


def rejection(**changes: object) -> Rejection:
    plain = Rejection(**BASICS, round=1, client="a", update=ZERO, reason=Reason.REPLAYED)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_both_ways_read_the_same(round_: int, client: str) -> None:
    for statement in (
        admission(round=round_, client=client),
        admission(round=round_, client=client, data=Digest(b"d" * 32)),
        *(rejection(round=round_, client=client, reason=reason) for reason in Reason),
    ):
        signed = sign(statement, KEY)
        found = FORMS.open(signed)
        assert found == open_entry(signed)
        assert found.unverified == statement
        assert type(found.unverified) is type(statement)
        assert KeyCheck(public_key(KEY)).holds(found.type, found.payload, found.signature)


def test_the_common_ones_are_read_without_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    common = [sign(admission(), KEY), sign(rejection(client=""), KEY)]
    other = sign(admission(manifest=ZERO), KEY)
    monkeypatch.setattr(signing.Signed, "from_bytes", never)
    for signed in common:
        assert FORMS.open(signed).unverified.round == 1  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="decoded"):
        FORMS.open(other)


@given(st.sampled_from(ROUNDS), st.sampled_from(CLIENTS), st.booleans(), st.data())
def test_both_ways_agree_on_changed_bytes(
    round_: int, client: str, rejected: bool, data: st.DataObject
) -> None:
    make = rejection if rejected else admission
    signed = sign(make(round=round_, client=client), KEY)
    at = data.draw(st.integers(0, len(signed)))
    cut = data.draw(st.integers(0, 3))
    changed = signed[:at] + data.draw(st.binary(max_size=3)) + signed[at + cut :]
    assert outcome(FORMS.open, changed) == outcome(open_entry, changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x65round\x01", b"\x65round\x18\x01"),
        (b"\x65round\x01", b"\x65round\x19\x00\x01"),
        (b"\x65round\x01", b"\x65round\x1a\x00\x00\x00\x01"),
        (b"\x65round\x01", b"\x65round\x20"),
        (b"\x66client\x61a", b"\x66client\x78\x01a"),
        (b"\x66client\x61a", b"\x66client\x62a"),
        (b"\x66client\x61a", b"\x66client\x61aa"),
        (b"\x66client\x61a", b"\x66client\x41a"),
        (b"\x67version\x01", b"\x67version\x02"),
        (b"\xa7\x64data", b"\xa6\x64data"),
    ],
)
def test_an_encoding_that_is_not_the_one_is_refused_both_ways(old: bytes, new: bytes) -> None:
    envelope = Signed.from_bytes(sign(admission(), KEY))
    payload = envelope.payload.replace(old, new)
    assert payload != envelope.payload
    changed = replace(envelope, payload=payload).to_bytes()
    for way in (FORMS.open, open_entry):
        with pytest.raises(MalformedMessage):
            way(changed)


def test_a_longer_head_than_needed_is_refused_both_ways() -> None:
    signed = sign(admission(), KEY)
    length = len(Signed.from_bytes(signed).payload)
    assert 24 <= length < 256
    changed = signed.replace(bytes([0x58, length]), b"\x59\x00" + bytes([length]), 1)
    assert len(changed) == len(signed) + 1
    for way in (FORMS.open, open_entry):
        with pytest.raises(MalformedMessage, match="not deterministic"):
            way(changed)


@pytest.mark.parametrize("cls", STATEMENTS.values(), ids=lambda cls: cls.TYPE)
@given(st.data())
def test_every_statement_of_an_enclave_is_opened(cls: type, data: st.DataObject) -> None:
    statement = data.draw(records(cls))
    found = FORMS.open(sign(statement, KEY))
    assert found.unverified == statement
    assert found.type == cls.TYPE


def test_the_first_that_is_not_signed_is_found() -> None:
    check = KeyCheck(public_key(KEY))
    opened = [open_entry(sign(admission(round=number), KEY)) for number in range(4)]
    entries = [(each.type, each.payload, each.signature) for each in opened]
    assert check.first_unsigned(entries) is None
    assert check.first_unsigned([]) is None
    entries[2] = (Rejection.TYPE, *entries[2][1:])
    entries[3] = (*entries[3][:2], b"short")
    assert check.first_unsigned(entries) == 2
    assert check.first_unsigned(entries[3:]) == 0
