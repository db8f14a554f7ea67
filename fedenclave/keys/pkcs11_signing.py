"""An Ed25519 key pair in a PKCS #11 token, which signs there: `Signer` over CKM_EDDSA.

The protocol knows Ed25519 and no other signature (SPEC.md, section 3), so that a token without it
cannot hold a client's key. Nobody else sees where a key is: its public half and its signatures are
what a file's would be.

Rules:
  * The private half is made in the token, and cannot leave it.
  * Every signature is checked with the public half before it is given out: a token that was
    exchanged, or is broken, is found here and not by the enclave.

Source: PKCS #11 3.0, section 2.3.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedenclave.keys.errors import AnswerNotTrusted, KeysRefused, NoSuchKey
from fedenclave.keys.pkcs11_token import Ask, OpenToken, open_token, pkcs11_library
from fedenclave.keys.pkcs11_uri import SCHEME, TokenUri
from fedenclave.protocol.errors import ConfigurationError

_CURVE = bytes.fromhex("06032b6570")
"""The object identifier 1.3.101.112 in DER: Ed25519 (RFC 8410)."""
_CURVE_NAME = b"\x13\x0cedwards25519"
"""The curve's name as PKCS #11 3.0 allows it, too: a PrintableString in DER."""
_POINT_SIZE = 32


class TokenSigner:
    """Implements `Signer`. Made by `make_signer` and `open_signer`."""

    def __init__(
        self, token: OpenToken, label: str, private: Any, public: Ed25519PublicKey
    ) -> None:
        self._token, self._label, self._private, self._public = token, label, private, public

    def sign(self, data: bytes, /) -> bytes:
        """Return the token's signature over `data`.

        Raises:
            KeysRefused: the token does not sign.
            AnswerNotTrusted: what it gives is no signature of this key.
        """
        with self._token.session(f"sign with key {self._label}"):
            eddsa = pkcs11_library().Mechanism.EDDSA
            signature = bytes(self._private.sign(data, mechanism=eddsa))
        try:
            self._public.verify(signature, data)
        except InvalidSignature as error:
            raise AnswerNotTrusted(
                f"{self._token.place} signs with another key than the public half of {self._label}",
                hint="are two pairs of that label in it? nothing was sent",
            ) from error
        return signature

    def public_key(self) -> Ed25519PublicKey:
        """Return the public half."""
        return self._public


def is_token(text: str) -> bool:
    """Return whether `text` names a token, and no file."""
    return text.startswith(SCHEME)


def make_signer(text: str, ask: Ask | None = None) -> TokenSigner:
    """Make a key pair in the token that a URI names, under the label that it names.

    Args:
        text: a PKCS #11 URI with `object=`.
        ask: see `open_token`.

    Raises:
        ConfigurationError, KeysRefused: see `open_token`; there is a key of that label already, or
            the token knows no Ed25519. Nothing was made.
    """
    uri = _with_label(text)
    token = open_token(uri, ask)
    p = pkcs11_library()
    with token.session(f"make key {uri.object}") as session:
        if list(session.get_objects(_private_half(p, uri.object))):
            raise KeysRefused(
                f"{uri.place} has a signing key {uri.object} already",
                hint="keys are never overwritten; choose another object=",
            )
        if p.Mechanism.EDDSA not in session.token.slot.get_mechanisms():
            raise KeysRefused(
                f"{uri.place} cannot sign with Ed25519, and the protocol knows nothing else",
                hint="a newer firmware may; else keep the client's key in a file, and this token "
                "for the keys of datasets",
            )
        _generate(p, session, uri.object)
    return _found(token, uri)


def open_signer(text: str, ask: Ask | None = None) -> TokenSigner:
    """Return the key pair that a URI names.

    Raises:
        ConfigurationError, KeysRefused: see `open_token`.
        NoSuchKey: the token has none of that label.
    """
    uri = _with_label(text)
    return _found(open_token(uri, ask, read_only=True), uri)


def without_access(text: str) -> str:
    """Return a token's URI without how to reach it: for messages and events."""
    return text.partition("?")[0]


def _with_label(text: str) -> TokenUri:
    uri = TokenUri.parse(text)
    if not uri.object:
        raise ConfigurationError(
            f"{without_access(text)[:200]} names no key, want object=LABEL",
            hint="such as pkcs11:token=node;object=st-anna-1",
        )
    return uri


def _private_half(p: Any, label: str) -> dict[Any, Any]:
    kinds = {p.Attribute.CLASS: p.ObjectClass.PRIVATE_KEY, p.Attribute.LABEL: label}
    return {**kinds, p.Attribute.KEY_TYPE: p.KeyType.EC_EDWARDS}


def _generate(p: Any, session: Any, label: str) -> None:
    try:
        _generate_on(p, session, label, _CURVE)
    except (
        p.exceptions.DomainParamsInvalid,
        p.exceptions.AttributeValueInvalid,
        p.exceptions.TemplateInconsistent,
    ):
        _generate_on(p, session, label, _CURVE_NAME)


def _generate_on(p: Any, session: Any, label: str, curve: bytes) -> None:
    parameters = session.create_domain_parameters(
        p.KeyType.EC_EDWARDS, {p.Attribute.EC_PARAMS: curve}, local=True
    )
    parameters.generate_keypair(
        mechanism=p.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        store=True,
        label=label,
        id=os.urandom(8),
        capabilities=p.MechanismFlag.SIGN | p.MechanismFlag.VERIFY,
        private_template={
            p.Attribute.PRIVATE: True,
            p.Attribute.SENSITIVE: True,
            p.Attribute.EXTRACTABLE: False,
        },
    )


def _found(token: OpenToken, uri: TokenUri) -> TokenSigner:
    p = pkcs11_library()
    with token.session(f"find key {uri.object}") as session:
        private = list(session.get_objects(_private_half(p, uri.object)))
        if len(private) != 1:
            raise NoSuchKey(
                f"{uri.place} has {len(private)} signing keys {uri.object}, want one",
                hint="is it the right token? fedenclave client enroll --signing-key makes one",
            )
        wanted = {p.Attribute.CLASS: p.ObjectClass.PUBLIC_KEY, p.Attribute.ID: private[0].id}
        public = list(session.get_objects(wanted))
        if len(public) != 1:
            raise NoSuchKey(
                f"{uri.place} has {len(public)} public halves of {uri.object}, want one",
                hint="the token's own tools can put it back",
            )
        point = bytes(public[0][p.Attribute.EC_POINT])
    # An OCTET STRING in DER, or, of some tokens, the point itself.
    raw = point[2:] if len(point) == _POINT_SIZE + 2 else point
    if len(raw) != _POINT_SIZE:
        raise KeysRefused(
            f"the public half of {uri.object} in {uri.place} has {len(raw)} bytes, want "
            f"{_POINT_SIZE}: it is no Ed25519 key"
        )
    return TokenSigner(token, uri.object, private[0], Ed25519PublicKey.from_public_bytes(raw))
