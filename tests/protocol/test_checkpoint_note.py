"""Checkpoints as signed notes: a real one with real witnesses, ours, and ours read by others."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.checkpoint_note import (
    checkpoint_text,
    cosign_checkpoint,
    log_origin,
    sign_checkpoint,
    verify_checkpoint,
)
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signed_note import NoteKey, SignatureType, SignedNote, sign_note
from fedenclave.protocol.signing import public_key, signing_input
from fedenclave.protocol.statements import Checkpoint
from tests.protocol.independent_note import verify as independently

DASH = "\N{EM DASH}"

# A checkpoint of a public Certificate Transparency log (staging), cosigned by four public
# witnesses, as tests of the program tlog-scales hold it. Its first signature is of a type that we
# do not know.
REAL = f"""arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

{DASH} arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
{DASH} arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
{DASH} transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
{DASH} witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
{DASH} remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
{DASH} witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""  # noqa: E501 - as published
REAL_LOG = NoteKey.from_text(
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)
REAL_WITNESSES = [
    NoteKey.from_text(text)
    for text in (
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
        "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
        "transparency.dev/DEV:witness-little-garden+d8042a87"
        "+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
        "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    )
]
REAL_TIME = 0x6A122120

# The example of C2SP tlog-cosignature; its keys are not published.
EXAMPLE = f"""example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

{DASH} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
{DASH} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 - as published

ENCLAVE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
ORIGIN = log_origin("banks", public_key(ENCLAVE))
LOG_KEY = NoteKey(name=ORIGIN, key=public_key(ENCLAVE))
WITNESS_KEY = NoteKey(
    name="witness.example/w", key=public_key(WITNESS), type=SignatureType.COSIGNATURE
)
CHECKPOINT = Checkpoint(size=1234, root=Digest(bytes(range(32))))
NOTE = sign_checkpoint(CHECKPOINT, ORIGIN, ENCLAVE)


def signed(text: str) -> bytes:
    """Return a note of any text, signed by the log."""
    note = SignedNote(unverified_text=text, signatures=(sign_note(text, ORIGIN, ENCLAVE),))
    return note.to_bytes()


def test_a_real_checkpoint_verifies_with_its_log_and_its_witnesses() -> None:
    found = verify_checkpoint(REAL.encode(), REAL_LOG, REAL_WITNESSES)
    assert (found.origin, found.checkpoint.size) == (REAL_LOG.name, 1432088532)
    assert (
        base64.b64encode(found.checkpoint.root) == b"U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro="
    )
    assert found.witnesses == {key.name: REAL_TIME for key in REAL_WITNESSES}
    assert found.extensions == ()


@pytest.mark.parametrize("old", ["1432088532", "U7WM79", "arche2025h1.staging.ct"])
def test_a_real_checkpoint_that_was_changed_is_refused(old: str) -> None:
    changed = REAL.replace(old, old[:-1] + ("3" if old[-1] == "2" else "8"), 1)
    with pytest.raises(MalformedMessage, match="does not hold"):
        verify_checkpoint(changed.encode(), REAL_LOG)


def test_the_published_example_is_a_checkpoint_with_a_cosignature() -> None:
    note = SignedNote.from_bytes(EXAMPLE.encode())
    root = Digest(base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="))
    made = checkpoint_text(Checkpoint(size=20852163, root=root), "example.com/behind-the-sofa")
    assert note.unverified_text == made
    assert [each.key_id.hex() for each in note.signatures] == ["033de0ae", "8d66cf3f"]
    # The time of the example's text, in the first eight bytes of the cosignature.
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1679315147
    with pytest.raises(MalformedMessage, match="no signature of"):
        verify_checkpoint(EXAMPLE.encode(), LOG_KEY)


def test_ours_verifies_and_its_origin_names_federation_and_key() -> None:
    assert hashlib.sha256(public_key(ENCLAVE)).hexdigest()[:16] == ORIGIN.removeprefix(
        "fedenclave/banks/"
    )
    found = verify_checkpoint(NOTE, LOG_KEY)
    assert (found.origin, found.checkpoint, found.witnesses) == (ORIGIN, CHECKPOINT, {})


def test_an_independent_reading_of_the_pages_verifies_ours() -> None:
    key, witness = public_key(ENCLAVE), public_key(WITNESS)
    note = cosign_checkpoint(NOTE, LOG_KEY, WITNESS_KEY.name, WITNESS, 1_700_000_000)
    said = (ORIGIN, CHECKPOINT.size, CHECKPOINT.root)
    assert independently(note, ORIGIN, 1, key) == (*said, 0)
    assert independently(note, WITNESS_KEY.name, 4, witness) == (*said, 1_700_000_000)
    assert independently(REAL.encode(), REAL_LOG.name, 1, REAL_LOG.key)[3] == 0
    changed = note.replace(b"\n1234\n", b"\n1235\n")
    for name, kind, who in ((ORIGIN, 1, key), (WITNESS_KEY.name, 4, witness)):
        with pytest.raises(InvalidSignature):
            independently(changed, name, kind, who)


def test_a_witness_says_when_it_saw_the_log_and_its_newest_word_counts() -> None:
    note = NOTE
    for time in (10, 30, 20):
        note = cosign_checkpoint(note, LOG_KEY, WITNESS_KEY.name, WITNESS, time)
    assert verify_checkpoint(note, LOG_KEY, [WITNESS_KEY]).witnesses == {WITNESS_KEY.name: 30}
    assert verify_checkpoint(note, LOG_KEY).witnesses == {}
    assert verify_checkpoint(NOTE, LOG_KEY, [WITNESS_KEY]).witnesses == {}


def test_a_cosignature_moved_to_another_checkpoint_spoils_it() -> None:
    note = cosign_checkpoint(NOTE, LOG_KEY, WITNESS_KEY.name, WITNESS, 10)
    line = SignedNote.from_bytes(note).signatures[1].to_line().encode()
    later = sign_checkpoint(Checkpoint(size=1235, root=CHECKPOINT.root), ORIGIN, ENCLAVE)
    with pytest.raises(MalformedMessage, match="does not hold"):
        verify_checkpoint(later + line, LOG_KEY, [WITNESS_KEY])
    assert verify_checkpoint(later + line, LOG_KEY).checkpoint.size == 1235


def test_a_witness_signs_nothing_that_the_log_has_not_signed() -> None:
    with pytest.raises(MalformedMessage, match="does not hold"):
        cosign_checkpoint(NOTE.replace(b"1234", b"1235"), LOG_KEY, WITNESS_KEY.name, WITNESS, 10)


def test_another_logs_checkpoint_is_refused_also_by_the_same_key() -> None:
    elsewhere = sign_checkpoint(CHECKPOINT, log_origin("other", public_key(ENCLAVE)), ENCLAVE)
    with pytest.raises(MalformedMessage, match="no signature of"):
        verify_checkpoint(elsewhere, LOG_KEY)
    text = checkpoint_text(CHECKPOINT, "fedenclave/other/0000000000000000")
    with pytest.raises(MalformedMessage, match="checkpoint is of"):
        verify_checkpoint(signed(text), LOG_KEY)


ROOT = base64.b64encode(CHECKPOINT.root).decode()
NOT_CHECKPOINTS = {
    "two lines": f"{ORIGIN}\n1\n",
    "an empty origin": f"\n1\n{ROOT}\n",
    "an empty line": f"{ORIGIN}\n1\n{ROOT}\n\nmore\n",
    "no number": f"{ORIGIN}\none\n{ROOT}\n",
    "a leading zero": f"{ORIGIN}\n01\n{ROOT}\n",
    "a sign": f"{ORIGIN}\n+1\n{ROOT}\n",
    "digits of another script": f"{ORIGIN}\n\u0661\n{ROOT}\n",
    "a number above 64 bits": f"{ORIGIN}\n{2**64}\n{ROOT}\n",
    "a shorter root": f"{ORIGIN}\n1\n{base64.b64encode(bytes(31)).decode()}\n",
    "a longer root": f"{ORIGIN}\n1\n{base64.b64encode(bytes(33)).decode()}\n",
    "a root in another spelling": f"{ORIGIN}\n1\n{ROOT[:-2]}9=\n",
    "a root in hex": f"{ORIGIN}\n1\n{CHECKPOINT.root.hex()}\n",
}


@pytest.mark.parametrize("what", NOT_CHECKPOINTS)
def test_a_signed_text_that_is_no_checkpoint_is_refused(what: str) -> None:
    with pytest.raises(MalformedMessage, match="checkpoint"):
        verify_checkpoint(signed(NOT_CHECKPOINTS[what]), LOG_KEY)


def test_the_empty_log_and_further_lines_are_read() -> None:
    empty = Checkpoint(size=0, root=Digest(hashlib.sha256().digest()))
    text = checkpoint_text(empty, ORIGIN) + "more\n"
    found = verify_checkpoint(signed(text), LOG_KEY)
    assert (found.checkpoint, found.extensions) == (empty, ("more",))


def test_keys_of_the_wrong_kind_are_a_callers_bug() -> None:
    with pytest.raises(ValueError, match="another type"):
        verify_checkpoint(NOTE, LOG_KEY, [LOG_KEY])
    with pytest.raises(ValueError, match="one name"):
        verify_checkpoint(NOTE, LOG_KEY, [WITNESS_KEY, WITNESS_KEY])


@pytest.mark.parametrize("name", ["sig", "banks"])
def test_no_note_is_what_a_statement_is_signed_over(name: str) -> None:
    text = checkpoint_text(CHECKPOINT, log_origin(name, public_key(ENCLAVE))).encode()
    assert b"\0" not in text
    assert b"\0" in signing_input("start", b"")
    with pytest.raises(MalformedMessage, match="control character"):
        SignedNote.from_bytes(signing_input("start", b"\n\n") + NOTE.rpartition(b"\n\n")[2])
