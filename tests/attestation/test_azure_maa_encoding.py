"""An Azure Attestation token as bytes: damaged, of any shape, recognised and shown."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.azure.maa import FORMAT, TOKEN
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.azure_maa_appraisal import appraise, refused
from tests.attestation.fake_azure_attestation import (
    KID,
    SGX,
    TYPES,
    VM,
    changed,
    token,
)
from tests.attestation.fake_tokens import (
    encode,
    rsa_key,
    sign_raw,
)


class TestEncoding:
    def test_the_unsigned_token_of_a_draft_policy_is_refused(self) -> None:
        header = json.dumps({"alg": "none", "kid": KID}).encode()
        encoded = f"{encode(header)}.{encode(json.dumps(SGX).encode())}.".encode()
        assert refused(encoded) == "signature algorithm"

    @pytest.mark.parametrize("claims", [SGX, VM], ids=["sgx", "azurevm"])
    def test_no_token_with_a_changed_byte_is_affirmed(self, claims: dict[str, Any]) -> None:
        encoded = token(claims)
        for place in [*range(0, len(encoded), 23), *range(len(encoded) - 4, len(encoded))]:
            for change in (1, 0x20, 0x80):
                odd = bytearray(encoded)
                odd[place] ^= change
                assert refused(bytes(odd))

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused_and_nothing_else(self, data: bytes) -> None:
        assert refused(data) == "structure"
        assert FORMAT.recognise(data) is None

    @given(st.sampled_from(sorted(TYPES)), st.data())
    def test_signed_claims_of_any_shape_are_refused_and_nothing_else(
        self, kind: str, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        )
        names = st.sampled_from(sorted(TYPES[kind]))
        changes = data.draw(st.dictionaries(names, values, min_size=1))
        payload = json.dumps({**TYPES[kind], **changes}).encode()
        header = json.dumps({"alg": "RS256", "kid": KID}).encode()
        with contextlib.suppress(EvidenceRefused):
            appraise(sign_raw(header, payload, rsa_key("maa")))


def test_a_file_with_a_token_or_the_services_answer_is_recognised() -> None:
    encoded = token(SGX)
    assert FORMAT.recognise(encoded + b"\n") == {TOKEN: encoded}
    assert FORMAT.recognise(json.dumps({"token": encoded.decode()}).encode()) == {TOKEN: encoded}
    assert FORMAT.recognise(b"{}") is None
    assert FORMAT.recognise(token(changed(SGX, "x-ms-attestation-type", to=...))) is None


def test_inspection_shows_what_was_not_checked() -> None:
    assert FORMAT.inspect({TOKEN: token(VM, key="evil")})["claims"] == VM
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({TOKEN: b"no token"})
