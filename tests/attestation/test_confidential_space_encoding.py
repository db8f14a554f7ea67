"""Confidential Space tokens that are not written as tokens are: each is refused by its name."""

import contextlib
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.result import EvidenceRefused
from tests.attestation.confidential_space_appraisal import appraise, refused
from tests.attestation.fake_google import CLAIMS, FORMAT, pki_token
from tests.attestation.fake_tokens import encode, rsa_key, sign_raw


class TestEncoding:
    def test_an_unsigned_token_is_refused(self) -> None:
        header = json.dumps({"alg": "none", "typ": "JWT", "kid": "key-1"}).encode()
        token = f"{encode(header)}.{encode(json.dumps(CLAIMS).encode())}.".encode()
        assert refused(token) == "signature algorithm"

    def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(self) -> None:
        token = jwt.encode(
            CLAIMS, b"public key, taken for a secret: 32 bytes", "HS256", headers={"kid": "key-1"}
        )
        assert refused(token.encode()) == "signature algorithm"

    @pytest.mark.parametrize("algorithm", ["RS384", "PS256", "rs256", "", None, ["RS256"]])
    def test_another_algorithm_is_refused(self, algorithm: object) -> None:
        header = json.dumps({"alg": algorithm, "kid": "key-1"}).encode()
        token = sign_raw(header, json.dumps(CLAIMS).encode(), rsa_key("oidc"))
        assert refused(token) == "signature algorithm"

    @pytest.mark.parametrize(
        "more",
        [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"zip": "DEF"}, {"typ": "at+jwt"}],
    )
    def test_a_header_that_asks_for_more_is_refused(self, more: dict[str, Any]) -> None:
        header = json.dumps({"alg": "RS256", "kid": "key-1", **more}).encode()
        token = sign_raw(header, json.dumps(CLAIMS).encode(), rsa_key("oidc"))
        assert refused(token) == "token header"

    @pytest.mark.parametrize(
        "odd",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            b'{"exp":1,"exp":2}',
            b'{"a":{"exp":1,"exp":2}}',
            b'{"exp":NaN}',
            b'{"exp":Infinity}',
            b'{"exp":"\\ud800"}',
            b'{"exp":' + b"9" * 5000 + b"}",
            b'{"exp":' + b"[" * 20000 + b"]" * 20000 + b"}",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
            b"{} ,",
        ],
    )
    def test_claims_that_are_not_strict_json_are_refused(self, odd: bytes) -> None:
        header = b'{"alg":"RS256","kid":"key-1"}'
        assert refused(sign_raw(header, odd, rsa_key("oidc"))) == "structure"
        assert refused(sign_raw(odd, json.dumps(CLAIMS).encode(), rsa_key("oidc"))) == "structure"

    def test_any_other_spelling_of_the_same_token_is_refused(self) -> None:
        token = pki_token()
        header, payload, signature = token.split(b".")
        for odd in (
            token + b"\n",
            b" " + token,
            token + b"=",
            token + b"==",
            token + b".",
            header + b"=." + payload + b"." + signature,
            header + b".." + payload + b"." + signature,
            token.replace(b"_", b"/"),
            token[:-1] + b"\xff",
            b"",
            b".",
            b"..",
            b"A.A.A",
            token[: 1 << 12] + b"A" * (1 << 16),
        ):
            if odd != token:
                assert refused(odd) == "structure"

    def test_the_bits_after_the_signatures_end_are_no_free_choice(self) -> None:
        """256 bytes leave 4 bits of the last character without a meaning."""
        token = pki_token()
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        last = alphabet.index(token[-1])
        for bits in range(1, 16):
            odd = token[:-1] + alphabet[last ^ bits : (last ^ bits) + 1]
            assert refused(odd) == "structure"

    def test_no_token_with_a_changed_byte_is_affirmed(self) -> None:
        token = pki_token()
        for place in [*range(0, len(token), 61), *range(len(token) - 4, len(token))]:
            for change in (1, 0x20, 0x80):
                odd = bytearray(token)
                odd[place] ^= change
                assert refused(bytes(odd))

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused_and_nothing_else(self, data: bytes) -> None:
        assert refused(data) == "structure"
        assert FORMAT.recognise(data) is None

    @given(
        st.dictionaries(
            st.sampled_from(sorted(CLAIMS)),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
            min_size=1,
        )
    )
    def test_signed_claims_of_any_shape_are_accepted_or_refused_and_raise_nothing_else(
        self, changes: dict[str, Any]
    ) -> None:
        payload = json.dumps({**CLAIMS, **changes}).encode()
        header = b'{"alg":"RS256","kid":"key-1"}'
        with contextlib.suppress(EvidenceRefused):
            appraise(sign_raw(header, payload, rsa_key("oidc")))
