"""Credential activation, the challenger's side: find out whether a TPM holds an attestation key.

The challenger encrypts a secret to a TPM's endorsement key, together with the Name of a key. The
TPM gives the secret away only if it has a key of that Name loaded. Then the challenger signs an
`Activation` (protocol/activation.py).

    credential, secret = challenge(endorsement_key, attestation_key.name)
    ... the operator runs tpm2_activatecredential on credential.to_file(), and sends the result back
    ... if it is `secret`, the member signs an Activation

Not here: the certificate chain of the endorsement key and the members' statements
(endorsement.py), and whether a key's attributes make it an attestation key (key.py). Chain and
attributes come before the challenge.

Rules:
  * Endorsement keys are RSA-2048 or on P-256, of the default templates L-1 and L-2 of the EK
    Credential Profile: Name by SHA-256, AES-128 in CFB mode.
  * Randomness is the system's: whoever knows the seed can answer without a TPM.

Source: TCG TPM 2.0 Library, Part 1 (Architecture), revision 1.59, section 24 (credential
protection), 11.4.10 (KDFa, KDFe), annexes B.10.4 (RSA) and C.6.4 (ECC); Part 3, section 12.6;
TCG EK Credential Profile 2.5, annex B.3 (templates).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from fedenclave.attestation.tpm.signature import PublicKey
from fedenclave.protocol.errors import MalformedMessage

SECRET_SIZE = 32
_DIGEST_SIZE, _AES_SIZE, _BLOCK_SIZE = 32, 16, 16
_RSA_BITS, _CURVE, _COORDINATE_SIZE = 2048, "secp256r1", 32
_FILE_HEADER = bytes.fromhex("badcc0de00000001")
"""Magic and version with which the tpm2-tools begin the file of a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What TPM2_ActivateCredential takes.

    Attributes:
        id_object: TPM2B_ID_OBJECT: the secret, encrypted and bound to a Name.
        encrypted_secret: TPM2B_ENCRYPTED_SECRET: the seed of these keys, for the endorsement key.
    """

    id_object: bytes
    encrypted_secret: bytes

    def to_file(self) -> bytes:
        """Return the file that `tpm2_activatecredential -i` reads."""
        return _FILE_HEADER + self.id_object + self.encrypted_secret


def challenge(endorsement_key: PublicKey, name: bytes) -> tuple[Credential, bytes]:
    """Return a challenge to a TPM, and the secret of 32 bytes that is its only right answer.

    Raises:
        MalformedMessage: the endorsement key is not of a default template.
    """
    secret = secrets.token_bytes(SECRET_SIZE)
    return make_credential(endorsement_key, name, secret), secret


def make_credential(endorsement_key: PublicKey, name: bytes, secret: bytes) -> Credential:
    """Return `secret` for the TPM of `endorsement_key`, if it holds the key `name`.

    Does in software what TPM2_MakeCredential does.

    Args:
        endorsement_key: the public key in an EK certificate.
        name: the Name of the attestation key.
        secret: at most 32 bytes.

    Raises:
        MalformedMessage: the endorsement key is not of a default template.
        ValueError: the secret is too long.
    """
    if len(secret) > _DIGEST_SIZE:
        raise ValueError(f"secret has {len(secret)} bytes, want at most {_DIGEST_SIZE}")
    if isinstance(endorsement_key, rsa.RSAPublicKey):
        seed, encrypted_seed = _share_by_rsa(endorsement_key)
    else:
        seed, encrypted_seed = _share_by_ecdh(endorsement_key)
    key = _kdfa(seed, b"STORAGE", name, _AES_SIZE)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(_BLOCK_SIZE))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    integrity = hmac.HMAC(_kdfa(seed, b"INTEGRITY", b"", _DIGEST_SIZE), hashes.SHA256())
    integrity.update(identity + name)
    return Credential(
        id_object=_sized(_sized(integrity.finalize()) + identity),
        encrypted_secret=_sized(encrypted_seed),
    )


def _share_by_rsa(key: rsa.RSAPublicKey) -> tuple[bytes, bytes]:
    if key.key_size != _RSA_BITS:
        raise MalformedMessage(f"endorsement key is rsa of {key.key_size} bits, want {_RSA_BITS}")
    seed = secrets.token_bytes(_DIGEST_SIZE)
    # The label's zero byte is a part of it, in a TPM.
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\x00")
    return seed, key.encrypt(seed, oaep)


def _share_by_ecdh(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    if key.curve.name != _CURVE:
        raise MalformedMessage(f"endorsement key is on curve {key.curve.name}, want {_CURVE}")
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    ours = ephemeral.public_key().public_numbers()
    x, y = (number.to_bytes(_COORDINATE_SIZE, "big") for number in (ours.x, ours.y))
    their_x = key.public_numbers().x.to_bytes(_COORDINATE_SIZE, "big")
    # KDFe: label with its zero byte, then the x coordinates of sender and receiver.
    kdfe = ConcatKDFHash(hashes.SHA256(), _DIGEST_SIZE, b"IDENTITY\x00" + x + their_x)
    seed = kdfe.derive(ephemeral.exchange(ec.ECDH(), key))
    return seed, _sized(x) + _sized(y)


def _kdfa(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """Return KDFa: SP 800-108 in counter mode with HMAC, 32-bit counter and length in bits."""
    return KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=size,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    ).derive(key)


def _sized(data: bytes) -> bytes:
    """Return a TPM2B."""
    return len(data).to_bytes(2, "big") + data
