"""Signed notes: published ones verify, ours verify elsewhere, and what was changed does not."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signed_note import (
    MAX_NOTE,
    MAX_SIGNATURES,
    MAX_TIME,
    NoteKey,
    Signature,
    SignatureType,
    SignedNote,
    cosign_note,
    sign_note,
)
from fedenclave.protocol.signing import PublicKey, public_key

DASH = "\N{EM DASH}"

# The example of C2SP signed-note, and the one in the documentation of Go's sumdb/note (note.go),
# with its second signer from note_test.go. Go publishes its private key with it.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = f"""This is an example message.

{DASH} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""  # noqa: E501 - as published
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SECOND_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_PRIVATE = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    f"{DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_SECOND_LINE = (
    f"{DASH} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTG"
    "wnWLox33WWd1RvMc+QQ=\n"
)
GO_NOTE = f"{GO_TEXT}\n{GO_LINE}{GO_SECOND_LINE}"
# The poem of an earlier edition of C2SP signed-note: its text has a blank line in it.
POEM = f"""Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

{DASH} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501 - as published

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "fedenclave/test"
TEXT = "one\n\ntwo\n"


def parsed(note: str) -> SignedNote:
    return SignedNote.from_bytes(note.encode())


@pytest.mark.parametrize(
    ("key", "note"), [(EXAMPLE_KEY, EXAMPLE), (GO_KEY, GO_NOTE), (GO_SECOND_KEY, GO_NOTE)]
)
def test_published_notes_verify_with_their_published_keys(key: str, note: str) -> None:
    known = NoteKey.from_text(key)
    assert known.to_text() == key
    assert parsed(note).verified_by(known) == [0]
    assert parsed(note).to_bytes() == note.encode()
    changed = note.replace("m", "n", 1)
    with pytest.raises(MalformedMessage, match="does not hold"):
        parsed(changed).verified_by(known)


def test_go_and_we_sign_the_same_bytes() -> None:
    assert GO_PRIVATE[0] == SignatureType.ED25519
    private = Ed25519PrivateKey.from_private_bytes(GO_PRIVATE[1:])
    assert NoteKey(name="PeterNeumann", key=public_key(private)).to_text() == GO_KEY
    assert sign_note(GO_TEXT, "PeterNeumann", private).to_line() == GO_LINE


def test_the_last_blank_line_ends_the_text() -> None:
    note = parsed(POEM)
    assert note.unverified_text.endswith("sole:\n\ned è subito sera.\n")
    assert [signature.name for signature in note.signatures] == ["quasimodo.example/salvatore"]
    assert note.to_bytes() == POEM.encode()


def test_an_unknown_key_is_ignored_also_under_a_known_name_or_id() -> None:
    known = NoteKey(name=NAME, key=public_key(KEY))
    good = sign_note(TEXT, NAME, KEY)
    stranger = Signature(name="stranger", key_id=known.id, signature=b"?")
    namesake = Signature(name=NAME, key_id=b"\0\0\0\0", signature=b"?")
    note = SignedNote(unverified_text=TEXT, signatures=(stranger, namesake, good))
    again = SignedNote.from_bytes(note.to_bytes())
    assert again == note
    assert again.verified_by(known) == [0]
    without = SignedNote(unverified_text=TEXT, signatures=(stranger, namesake))
    assert without.verified_by(known) == []


@pytest.mark.parametrize("first", [True, False])
def test_one_bad_signature_of_a_known_key_spoils_the_note(first: bool) -> None:
    known = NoteKey(name=NAME, key=public_key(KEY))
    good = sign_note(TEXT, NAME, KEY)
    bad = Signature(name=NAME, key_id=known.id, signature=bytes(64))
    both = (bad, good) if first else (good, bad)
    with pytest.raises(MalformedMessage, match="does not hold"):
        SignedNote(unverified_text=TEXT, signatures=both).verified_by(known)


def test_a_cosignature_holds_for_its_time_and_type_only() -> None:
    witness = NoteKey(name=NAME, key=public_key(KEY), type=SignatureType.COSIGNATURE)
    line = cosign_note(TEXT, NAME, KEY, 1_700_000_000)
    note = SignedNote(unverified_text=TEXT, signatures=(line,))
    assert note.verified_by(witness) == [1_700_000_000]
    assert note.verified_by(NoteKey(name=NAME, key=public_key(KEY))) == []
    for changed in (
        (1_700_000_001).to_bytes(8, "big") + line.signature[8:],
        (2**63).to_bytes(8, "big") + line.signature[8:],
        line.signature[:-1],
        line.signature + b"\0",
        line.signature[:8] + sign_note(TEXT, NAME, KEY).signature,
    ):
        forged = Signature(name=NAME, key_id=witness.id, signature=changed)
        with pytest.raises(MalformedMessage, match=r"cosignature|does not hold"):
            SignedNote(unverified_text=TEXT, signatures=(forged,)).verified_by(witness)


def test_a_cosignature_of_a_time_that_none_may_have_is_refused_though_it_is_signed() -> None:
    witness = NoteKey(name=NAME, key=public_key(KEY), type=SignatureType.COSIGNATURE)
    for time in (MAX_TIME, MAX_TIME + 1):
        signature = KEY.sign(f"cosignature/v1\ntime {time}\n{TEXT}".encode())
        line = Signature(
            name=NAME, key_id=witness.id, signature=time.to_bytes(8, "big") + signature
        )
        note = SignedNote(unverified_text=TEXT, signatures=(line,))
        if time == MAX_TIME:
            assert note.verified_by(witness) == [time]
        else:
            with pytest.raises(MalformedMessage, match="above 2"):
                note.verified_by(witness)


@pytest.mark.parametrize("time", [-1, MAX_TIME + 1])
def test_no_witness_signs_for_a_time_that_is_none(time: int) -> None:
    with pytest.raises(ValueError, match="time is"):
        cosign_note(TEXT, NAME, KEY, time)


LINE = GO_LINE
NOT_NOTES = {
    "without a signature": "text\n",
    "with an empty list of them": "text\n\n",
    "without the blank line": f"text\n{LINE}",
    "without the last newline": f"text\n\n{LINE[:-1]}",
    "with a hyphen for the dash": f"text\n\n- {LINE[2:]}",
    "without the space": f"text\n\n{DASH}{LINE[2:]}",
    "with two spaces": f"text\n\n{LINE.replace(' P', '  P')}",
    "without a name": f"text\n\n{DASH} {LINE[2:].split(' ', 1)[1]}",
    "with a plus in the name": f"text\n\n{LINE.replace('PeterN', 'Peter+N')}",
    "with a wide space in the name": f"text\n\n{DASH} Peter\u2003N{LINE[8:]}",
    "with a word behind": f"text\n\n{LINE[:-1]} more\n",
    "with a tab in the text": f"te\txt\n\n{LINE}",
    "with a carriage return": f"text\r\n\n{LINE}",
    "with base64 that is none": f"text\n\n{LINE.replace('x08', '*08')}",
    "with base64 in another spelling": f"text\n\n{LINE.replace('nAM=', 'nAN=')}",
    "with a key id alone": f"text\n\n{DASH} PeterNeumann x08gow==\n",
    "with a line between": f"text\n\n{LINE}\n{LINE[:-1]}",
    "with too many signatures": f"text\n\n{LINE * (MAX_SIGNATURES + 1)}",
    "with too many bytes": f"{'t' * MAX_NOTE}\n\n{LINE}",
}


@pytest.mark.parametrize("what", NOT_NOTES)
def test_it_is_no_note(what: str) -> None:
    with pytest.raises(MalformedMessage):
        parsed(NOT_NOTES[what])


def test_other_than_text_is_no_note() -> None:
    with pytest.raises(MalformedMessage, match="utf-8"):
        SignedNote.from_bytes(b"\xff\n\n" + LINE.encode())


def test_as_many_signatures_as_others_take_are_taken() -> None:
    assert len(parsed(f"text\n\n{LINE * MAX_SIGNATURES}").signatures) == MAX_SIGNATURES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("example.com/foo", ""),
        EXAMPLE_KEY.replace("+Aek", "+Bek"),
        EXAMPLE_KEY.replace("+Aek", "+Aak"),
        EXAMPLE_KEY + "A",
        EXAMPLE_KEY[:-4],
    ],
)
def test_it_is_no_verifier_key(text: str) -> None:
    with pytest.raises(MalformedMessage):
        NoteKey.from_text(text)


def test_a_published_witness_key_is_read_and_written() -> None:
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    key = NoteKey.from_text(text)
    assert (key.name, key.type) == ("remora.n621.de", SignatureType.COSIGNATURE)
    assert key.to_text() == text


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_none(size: int) -> None:
    with pytest.raises(MalformedMessage, match="want 32"):
        NoteKey(name=NAME, key=PublicKey(bytes(size)))


@given(st.binary(max_size=200), st.sampled_from([b"", GO_NOTE.encode()]), st.data())
def test_arbitrary_bytes_are_a_note_or_one_error(
    noise: bytes, note: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(note)))
    changed = note[:at] + noise + note[at + data.draw(st.integers(0, 3)) :]
    try:
        again = SignedNote.from_bytes(changed)
    except MalformedMessage:
        return
    assert again.to_bytes() == changed
