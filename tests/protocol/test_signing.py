"""A statement signed as one type by one key verifies as that, and as nothing else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import Digest, from_text, to_text
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import (
    PublicKey,
    Signed,
    key_from_text,
    key_to_text,
    public_key,
    sign,
    signature_holds,
    signing_input,
    verify,
)
from fedenclave.protocol.statements import Admission, Approval, Checkpoint, UpdateHeader

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ADMISSION = Admission(
    version=1,
    federation="f",
    manifest=Digest(bytes(32)),
    round=1,
    client="c",
    update=Digest(b"u" * 32),
    data=Digest(b"d" * 32),
)
# L, the order of the group: S and S + L verify alike where S is not compared with L.
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def test_a_signed_statement_verifies_to_itself() -> None:
    assert verify(Admission, sign(ADMISSION, KEY), public_key(KEY)) == ADMISSION


def test_another_key_a_changed_payload_and_a_changed_signature_are_refused() -> None:
    signed = Signed.from_bytes(sign(ADMISSION, KEY))
    changed = replace(ADMISSION, round=2).to_bytes()
    for forged in (replace(signed, payload=changed), replace(signed, signature=bytes(64))):
        with pytest.raises(MalformedMessage, match="does not hold"):
            verify(Admission, forged.to_bytes(), public_key(KEY))
    for key in (public_key(OTHER), PublicKey(b""), PublicKey(b"\xff" * 32)):
        with pytest.raises(MalformedMessage, match="does not hold"):
            verify(Admission, signed.to_bytes(), key)


def test_a_statement_of_one_type_never_verifies_as_another() -> None:
    signed = Signed.from_bytes(sign(ADMISSION, KEY))
    with pytest.raises(MalformedMessage, match="want 'approval'"):
        verify(Approval, signed.to_bytes(), public_key(KEY))
    # Nor where the type that travels beside the signature is changed to fit.
    with pytest.raises(MalformedMessage, match="does not hold"):
        verify(Approval, replace(signed, type="approval").to_bytes(), public_key(KEY))
    relabelled = KEY.sign(signing_input("approval", signed.payload))
    with pytest.raises(MalformedMessage, match="does not hold"):
        verify(Admission, replace(signed, signature=relabelled).to_bytes(), public_key(KEY))


def test_the_payload_is_not_looked_at_before_its_signature_holds() -> None:
    garbage = Signed(type="admission", payload=b"\xff", signature=bytes(64))
    with pytest.raises(MalformedMessage, match="does not hold"):
        verify(Admission, garbage.to_bytes(), public_key(KEY))
    signature = KEY.sign(signing_input("admission", b"\xff"))
    with pytest.raises(MalformedMessage, match="not valid cbor"):
        verify(Admission, replace(garbage, signature=signature).to_bytes(), public_key(KEY))


def test_a_signature_has_no_second_form() -> None:
    signed = Signed.from_bytes(sign(ADMISSION, KEY))
    second = int.from_bytes(signed.signature[32:], "little") + GROUP_ORDER
    malleable = signed.signature[:32] + second.to_bytes(32, "little")
    assert signature_holds("admission", signed.payload, signed.signature, public_key(KEY))
    assert not signature_holds("admission", signed.payload, malleable, public_key(KEY))


def test_an_update_header_signed_as_a_whole_statement_is_no_updates_signature() -> None:
    header = UpdateHeader(
        version=1,
        federation="f",
        manifest=Digest(bytes(32)),
        round=1,
        announcement=Digest(bytes(32)),
        base_model=Digest(bytes(32)),
        client="c",
        data=Digest(bytes(32)),
        schema=Digest(bytes(32)),
        sealed_size=1,
        checkpoint=Checkpoint(size=0, root=Digest(bytes(32))),
    )
    lifted = Signed.from_bytes(sign(header, KEY)).signature
    envelope = Envelope(header=header.to_bytes(), wrapped_key=b"", signature=lifted)
    with pytest.raises(MalformedMessage, match="does not hold"):
        envelope.verified_header(public_key(KEY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        key_to_text(bytes(31)),
        key_to_text(bytes(33)),
        key_to_text(bytes(32)).removeprefix("ed25519:"),
        key_to_text(bytes(32)).rstrip("="),
        key_to_text(bytes(32))[:-2] + "B=",  # other unused bits, the same bytes
        " " + key_to_text(bytes(32)),
        key_to_text(bytes(32)) + "\n",
        "ed25519:\u0661",
    ],
)
def test_a_key_has_one_spelling(text: str) -> None:
    assert key_from_text(key_to_text(bytes(32))) == bytes(32)
    with pytest.raises(MalformedMessage, match="public key"):
        key_from_text(text)


@pytest.mark.parametrize("text", ["", "sha256:", "a" * 64, "sha256:" + "A" * 64, "sha256:\n"])
def test_a_digest_has_one_spelling(text: str) -> None:
    assert from_text(to_text(bytes(32))) == bytes(32)
    with pytest.raises(MalformedMessage, match="digest"):
        from_text(text)
    with pytest.raises(MalformedMessage, match="digest"):
        from_text(to_text(bytes(32)) + "\n")
