"""Every record: `from_bytes(to_bytes()) == r`, and nothing else is one."""

import contextlib
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedenclave.protocol.codec import encode
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.exchange import Hello
from fedenclave.protocol.model import Model
from fedenclave.protocol.records import Record
from fedenclave.protocol.sealed_update import MAX_ENVELOPE, envelope_size, read_envelope
from fedenclave.protocol.statements import Announcement, Rejection
from tests.protocol.strategies import RECORDS, records

EVERY_RECORD = pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)


def test_every_record_of_the_protocol_is_among_those_tested() -> None:
    names = {cls.__name__ for cls in RECORDS}
    assert {"Receipt", "RoundOffer", "Release", "Schema", "ClientState", "Closed"} <= names
    assert len(RECORDS) >= 35


@EVERY_RECORD
@settings(max_examples=15)
@given(data=st.data())
def test_a_record_decodes_to_itself_and_only_in_one_spelling(
    cls: type[Record], data: st.DataObject
) -> None:
    record = data.draw(records(cls))
    assert cls.from_bytes(record.to_bytes()) == record
    assert cls.from_bytes(record.to_bytes()).to_bytes() == record.to_bytes()


@EVERY_RECORD
@settings(max_examples=15)
@given(data=st.data())
def test_damaged_bytes_are_another_valid_record_or_malformed(
    cls: type[Record], data: st.DataObject
) -> None:
    encoded = bytearray(data.draw(records(cls)).to_bytes())
    if data.draw(st.booleans()):
        del encoded[data.draw(st.integers(0, len(encoded) - 1)) :]
    else:
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        record = cls.from_bytes(bytes(encoded))
    except MalformedMessage:
        return
    assert record.to_bytes() == bytes(encoded)


@EVERY_RECORD
@settings(max_examples=10)
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_are_malformed(cls: type[Record], data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert cls.from_bytes(data).to_bytes() == data


@EVERY_RECORD
@settings(max_examples=3)
@given(data=st.data())
def test_a_missing_an_unknown_and_a_wrongly_typed_field_are_refused(
    cls: type[Record], data: st.DataObject
) -> None:
    plain = data.draw(records(cls)).to_plain()
    for odd in ({**plain, "more": 1}, [plain], None if not plain else {}):
        if odd is not None:
            with pytest.raises(MalformedMessage):
                cls.from_bytes(encode(odd))
    for field in fields(cls):
        for wrong in ({}, True) if plain[field.name] in (True, False) else (True, {"a": 1}):
            if type(wrong) is not type(plain[field.name]):
                with pytest.raises(MalformedMessage):
                    cls.from_bytes(encode({**plain, field.name: wrong}))


def test_true_is_not_one_and_text_is_not_bytes() -> None:
    plain = Hello(client="a", key=b"", nonce=b"", chain_round=1, log_size=0).to_plain()
    for field, wrong in (("chain_round", True), ("key", ""), ("client", b"a")):
        with pytest.raises(MalformedMessage, match=field):
            Hello.from_bytes(encode({**plain, field: wrong}))


@settings(max_examples=10)
@given(records(Announcement), records(Rejection))
def test_other_versions_names_and_enum_values_are_refused(
    announcement: Announcement, rejection: Rejection
) -> None:
    for record, field, wrong in (
        (announcement, "version", 2),
        (announcement, "federation", "Has Capitals"),
        (announcement, "federation", ""),
        (announcement, "suite", "P-256"),
        (announcement, "base_model", b"short"),
        (rejection, "reason", "value was 3.14"),
    ):
        with pytest.raises(MalformedMessage):
            type(record).from_bytes(encode({**record.to_plain(), field: wrong}))


def test_a_record_above_its_size_limit_is_not_even_looked_at() -> None:
    hello = Hello(client="a", key=b"", nonce=bytes(Hello.MAX_SIZE), chain_round=1, log_size=0)
    with pytest.raises(MalformedMessage, match="want at most"):
        Hello.from_bytes(hello.to_bytes())


@given(st.binary(max_size=100), st.sampled_from([b"", b"FEM1", b"FEU1", b"FEM1\0\0\0\x05"]))
def test_arbitrary_files_are_no_models_and_no_sealed_updates(data: bytes, head: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Model.from_bytes(head + data)
    with pytest.raises(MalformedMessage):
        read_envelope(head + data)
    with pytest.raises(MalformedMessage):
        envelope_size(head + data + bytes(9))


def test_lengths_are_checked_before_anything_of_that_length_is_read() -> None:
    for size in (0, MAX_ENVELOPE + 1, 2**32 - 1):
        with pytest.raises(MalformedMessage, match="envelope has"):
            envelope_size(b"FEU1" + size.to_bytes(4, "big"))
    assert envelope_size(b"FEU1" + MAX_ENVELOPE.to_bytes(4, "big")) == MAX_ENVELOPE
    for size in (0, 31, 33):
        plain = {"format": "insecure", "document": b"", "signing_key": bytes(size)}
        with pytest.raises(MalformedMessage, match="signing key of the wrong length"):
            Evidence.from_bytes(encode(plain))
