"""AWS Nitro Enclaves, with a synthetic AWS: every check and every refusal."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.aws.nitro import DOCUMENT, FORMAT, inspect, recognise
from fedenclave.attestation.certificates import fingerprints
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status, Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import verdicts
from tests.attestation.fake_aws import (
    BOUND,
    MODULE,
    NOW,
    PCRS,
    FakeAws,
    der,
    fake_aws,
    policy,
    seconds,
)
from tests.attestation.fake_cose import ES256, ES384, new_key

ZERO_PCRS = {index: bytes(48) for index in range(16)}


@pytest.fixture
def aws() -> FakeAws:
    return fake_aws()


def appraise(document: bytes, text: str = "", bound: bytes = BOUND, now: int = NOW) -> Appraisal:
    return verdicts.appraise(
        fake_aws().format(), {DOCUMENT: document}, text or policy(), bound, now
    )


def refusal(document: bytes, text: str = "", bound: bytes = BOUND, now: int = NOW) -> str:
    return verdicts.first_failure(
        fake_aws().format(), {DOCUMENT: document}, text or policy(), bound, now
    ).name


@pytest.mark.parametrize("tag", [None, 18])
@pytest.mark.parametrize("indefinite", [False, True])
def test_a_good_document_is_affirmed_in_every_encoding_that_the_hypervisor_uses(
    aws: FakeAws, tag: int | None, indefinite: bool
) -> None:
    appraisal = appraise(aws.document(tag=tag, indefinite=indefinite))
    assert appraisal.status is Status.AFFIRMING
    assert appraisal.vector.keys() == {
        Trust.INSTANCE_IDENTITY,
        Trust.CONFIGURATION,
        Trust.EXECUTABLES,
        Trust.HARDWARE,
    }
    assert appraisal.claims.identifiers == {
        "measurement": (PCRS[0].hex(),),
        "module-id": (MODULE,),
        "instance-id": ("i-0123456789abcdef0",),
        "certificate": fingerprints(aws.leaf, *aws.issuers),
    }
    assert appraisal.claims.claims["dbgstat"] == "disabled"
    assert appraisal.claims.claims["user-data"] == BOUND.hex()
    assert "nonce" not in appraisal.claims.claims


def test_optional_fields_may_be_missing(aws: FakeAws) -> None:
    assert appraise(aws.document(without=("public_key", "nonce"))).status is Status.AFFIRMING


def structure(aws: FakeAws) -> dict[str, bytes]:
    """Return documents whose structure is wrong, each in one thing."""
    fields: dict[str, dict[str, Any]] = {
        "empty module id": {"module_id": ""},
        "module id of bytes": {"module_id": b"i-1"},
        "another digest": {"digest": "SHA256"},
        "timestamp zero": {"timestamp": 0},
        "timestamp text": {"timestamp": "1"},
        "timestamp true": {"timestamp": True},
        "timestamp float": {"timestamp": 1.5},
        "no register": {"pcrs": {}},
        "33 registers": {"pcrs": {index: bytes(48) for index in range(33)}},
        "register 32": {"pcrs": PCRS | {32: bytes(48)}},
        "register of 47 bytes": {"pcrs": PCRS | {0: bytes(47)}},
        "register by text": {"pcrs": PCRS | {"0": bytes(48)}},
        "registers as a list": {"pcrs": [bytes(48)]},
        "no certificate": {"certificate": b""},
        "long certificate": {"certificate": bytes(1025)},
        "certificate null": {"certificate": None},
        "certificate of noise": {"certificate": b"noise"},
        "certificate with a byte after it": {"certificate": der(aws.leaf) + b"\0"},
        "empty bundle": {"cabundle": []},
        "bundle of 17": {"cabundle": [der(aws.root)] * 17},
        "bundle of noise": {"cabundle": [b"noise"]},
        "bundle as bytes": {"cabundle": der(aws.root)},
        "empty public key": {"public_key": b""},
        "long public key": {"public_key": bytes(1025)},
        "long user data": {"user_data": bytes(513)},
        "text as user data": {"user_data": "x"},
        "long nonce": {"nonce": bytes(513)},
        "a field more": {"nitrotpm_pcrs": PCRS},
    }
    documents = {what: aws.document(**changes) for what, changes in fields.items()}
    for field in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"):
        documents[f"no {field}"] = aws.document(without=(field,))
    return documents | {
        "tag 17": aws.document(tag=17),
        "tag 61": aws.document(tag=61),
        "unprotected header": aws.document(unprotected={4: b"kid"}),
        "key id": aws.document(protected={1: -35, 4: b"kid"}),
        "critical header": aws.document(protected={1: -35, 2: [1]}),
        "unknown header": aws.document(protected={1: -35, 33: b""}),
        "no algorithm": aws.document(protected={}),
        "hmac": aws.document(protected={1: 5}),
        "trailing byte": aws.document() + b"\0",
        "too long": aws.document() + bytes(20 * 1024),
        "empty": b"",
        "payload no map": cbor2.dumps([b"\xa1\x01\x38\x22", {}, b"\x80", bytes(96)]),
        "payload empty": cbor2.dumps([b"\xa1\x01\x38\x22", {}, b"", bytes(96)]),
        "payload detached": cbor2.dumps([b"\xa1\x01\x38\x22", {}, None, bytes(96)]),
        "array of 3": cbor2.dumps([b"\xa1\x01\x38\x22", {}, b"\xa0"]),
    }


@pytest.mark.parametrize("what", structure(fake_aws()))
def test_a_document_of_wrong_structure_is_refused(aws: FakeAws, what: str) -> None:
    assert refusal(structure(aws)[what]) == "structure"


def test_a_duplicate_field_is_refused(aws: FakeAws) -> None:
    document = aws.document()
    payload = cbor2.loads(document)[2]
    assert payload[0] == 0xA9
    doubled = b"\xaa" + payload[1:] + cbor2.dumps("nonce") + cbor2.dumps(None)
    header = b"\xa1\x01\x38\x22"
    assert refusal(cbor2.dumps([header, {}, doubled, bytes(96)])) == "structure"


def test_another_algorithm_than_es384_is_refused(aws: FakeAws) -> None:
    key = new_key(ES256)
    leaf = der(aws.leaf_certificate(key=key.public_key()))
    assert refusal(aws.document(key=key, certificate=leaf)) == "algorithm"


def test_another_root_is_refused(aws: FakeAws) -> None:
    other = FakeAws()
    assert refusal(other.document()) == "root"


def test_the_real_root_is_pinned_and_refuses_the_synthetic_one(aws: FakeAws) -> None:
    check = verdicts.first_failure(FORMAT, {DOCUMENT: aws.document()}, policy(), BOUND, NOW)
    assert check.name == "root"
    assert "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" in check.wanted


def test_a_bundle_of_another_order_is_refused(aws: FakeAws) -> None:
    bundle = [der(issuer) for issuer in aws.issuers]
    assert refusal(aws.document(cabundle=bundle[::-1])) == "root"
    assert refusal(aws.document(cabundle=[bundle[0], *bundle[:0:-1]])) == "certificate chain"


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_bundle_with_a_hole_is_refused(aws: FakeAws, missing: int) -> None:
    bundle = [der(issuer) for issuer in aws.issuers]
    del bundle[missing]
    assert refusal(aws.document(cabundle=bundle)) == "certificate chain"


def test_a_certificate_too_many_is_refused(aws: FakeAws) -> None:
    bundle = [der(issuer) for issuer in (*aws.issuers, aws.issuers[3])]
    assert refusal(aws.document(cabundle=bundle)) == "certificate chain"


def test_a_leaf_of_another_instance_is_refused(aws: FakeAws) -> None:
    other = FakeAws()
    assert (
        refusal(aws.document(key=other.keys[4], certificate=der(other.leaf))) == "certificate chain"
    )


@pytest.mark.parametrize("hours", [-2, 4])
def test_a_chain_that_is_not_valid_at_the_time_of_judging_is_refused(
    aws: FakeAws, hours: int
) -> None:
    now = NOW + seconds(hours)
    document = aws.document(timestamp=now * 1000)
    assert refusal(document, now=now) == "certificate chain validity"


@pytest.mark.parametrize(
    "changes", [{"ca": True, "signs": False}, {"signs": False}, {"usage": False}]
)
def test_a_leaf_that_is_not_for_signatures_is_refused(
    aws: FakeAws, changes: dict[str, bool]
) -> None:
    leaf = der(aws.leaf_certificate(**changes))
    assert refusal(aws.document(certificate=leaf)) == "certificate usage"


def test_a_leaf_needs_no_basic_constraints(aws: FakeAws) -> None:
    leaf = der(aws.leaf_certificate(constraints=False))
    assert appraise(aws.document(certificate=leaf)).status is Status.AFFIRMING


def test_a_leaf_with_another_kind_of_key_is_refused(aws: FakeAws) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    leaf = der(aws.leaf_certificate(key=key.public_key()))
    assert refusal(aws.document(certificate=leaf)) == "signature"


def test_a_signature_by_another_key_is_refused(aws: FakeAws) -> None:
    assert refusal(aws.document(key=ec.generate_private_key(ec.SECP384R1()))) == "signature"


def test_a_signature_over_another_payload_is_refused(aws: FakeAws) -> None:
    message = cbor2.loads(aws.document())
    other = cbor2.loads(aws.document(user_data=bytes(64)))
    assert refusal(cbor2.dumps([*message[:3], other[3]])) == "signature"


@pytest.mark.parametrize(("age", "good"), [(-61, False), (-60, True), (600, True), (601, False)])
def test_a_document_must_be_fresh_and_not_of_the_future(aws: FakeAws, age: int, good: bool) -> None:
    document = aws.document(timestamp=(NOW - age) * 1000 + 999)
    if good:
        assert appraise(document).status is Status.AFFIRMING
    else:
        assert refusal(document) == "age"


def test_a_time_that_no_calendar_knows_is_refused(aws: FakeAws) -> None:
    assert refusal(aws.document(timestamp=2**64 - 1)) == "age"


@pytest.mark.parametrize("field", ["user_data", "nonce", "public_key"])
def test_the_binding_is_in_the_field_that_the_policy_names(aws: FakeAws, field: str) -> None:
    fields: dict[str, Any] = {"user_data": None, "nonce": None, "public_key": None}
    document = aws.document(**(fields | {field: BOUND}))
    assert appraise(document, policy(bind=f'"{field}"')).status is Status.AFFIRMING
    for other in set(fields) - {field}:
        assert refusal(document, policy(bind=f'"{other}"')) == "report data"


@pytest.mark.parametrize(
    "found",
    [None, b"", BOUND[:63], BOUND + b"\0", BOUND[::-1]],
    ids=["absent", "empty", "short", "long", "reversed"],
)
def test_another_binding_is_refused(aws: FakeAws, found: bytes | None) -> None:
    assert refusal(aws.document(user_data=found)) == "report data"


def test_an_absent_field_equals_no_binding_not_even_an_empty_one(aws: FakeAws) -> None:
    assert refusal(aws.document(user_data=None), bound=b"") == "report data"
    assert refusal(aws.document(without=("user_data",)), bound=b"") == "report data"
    assert appraise(aws.document(user_data=b""), bound=b"").status is Status.AFFIRMING


def test_a_debug_enclave_is_refused(aws: FakeAws) -> None:
    assert refusal(aws.document(pcrs=ZERO_PCRS)) == "debug"
    assert refusal(aws.document(pcrs=PCRS | {2: bytes(48)})) == "debug"


def test_a_debug_enclave_is_a_warning_where_the_policy_says_so(aws: FakeAws) -> None:
    zero = f'["{bytes(48).hex()}"]'
    text = policy(
        exceptions='["debug"]',
        pcr_0=zero,
        pcr_1=zero,
        pcr_2=zero,
        pcr_3=zero,
        pcr_4=zero,
        pcr_8=zero,
    )
    appraisal = appraise(aws.document(pcrs=ZERO_PCRS), text)
    assert appraisal.status is Status.WARNING
    assert appraisal.claims.claims["dbgstat"] == "enabled"
    assert refusal(aws.document(pcrs=ZERO_PCRS), policy(exceptions='["debug"]')) == "pcr 0"


@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 8])
def test_another_register_is_refused(aws: FakeAws, index: int) -> None:
    assert refusal(aws.document(pcrs=PCRS | {index: b"\xee" * 48})) == f"pcr {index}"


@pytest.mark.parametrize("index", [3, 4, 8])
def test_a_register_may_be_anything_where_the_policy_says_any(aws: FakeAws, index: int) -> None:
    document = aws.document(pcrs=PCRS | {index: b"\xee" * 48})
    assert appraise(document, policy(**{f"pcr_{index}": '["any"]'})).status is Status.AFFIRMING


def test_a_register_that_is_absent_is_refused(aws: FakeAws) -> None:
    without = {index: value for index, value in PCRS.items() if index != 8}
    assert refusal(aws.document(pcrs=without)) == "pcr 8"


def test_a_register_of_another_length_is_never_the_pinned_one(aws: FakeAws) -> None:
    assert refusal(aws.document(pcrs=PCRS | {1: PCRS[1][:32]})) == "pcr 1"


def test_a_register_that_the_policy_does_not_name_is_zero_unless_it_says_any(
    aws: FakeAws,
) -> None:
    document = aws.document(pcrs=PCRS | {16: b"\xee" * 48})
    assert refusal(document) == "other pcrs"
    assert appraise(document, policy(pcr_others='"any"')).status is Status.AFFIRMING


def test_a_register_of_the_enclave_itself_can_be_pinned(aws: FakeAws) -> None:
    text = policy(pcr_16=f'["{"ee" * 48}"]')
    assert appraise(aws.document(pcrs=PCRS | {16: b"\xee" * 48}), text).status is Status.AFFIRMING
    assert refusal(aws.document(pcrs=PCRS | {16: b"\xdd" * 48}), text) == "pcr 16"
    assert refusal(aws.document(), text) == "pcr 16"


def test_another_instance_is_refused(aws: FakeAws) -> None:
    other = MODULE.replace("i-0", "i-1")
    assert refusal(aws.document(module_id=other)) == "instance"
    assert appraise(aws.document(module_id=other), policy(instances='["any"]'))


@pytest.mark.parametrize("key", ["bind", "instances", "exceptions"])
def test_a_policy_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        read_policy(policy(**{key: ""}))


@pytest.mark.parametrize("key", ["0", "1", "2", "3", "4", "8", "others"])
def test_a_policy_without_a_register_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[pcrs\].* {key}"):
        read_policy(policy(**{f"pcr_{key}": ""}))


@pytest.mark.parametrize(
    "changes",
    [
        {"bind": '"report_data"'},
        {"instances": "[]"},
        {"instances": '["any", "i-1"]'},
        {"instances": '["0123"]'},
        {"exceptions": '["everything"]'},
        {"pcr_0": '["any"]'},
        {"pcr_0": "[]"},
        {"pcr_8": "[]"},
        {"pcr_8": '["00"]'},
        {"pcr_16": f'["{"EE" * 48}"]'},
        {"pcr_32": f'["{"ee" * 48}"]'},
        {"pcr_00": f'["{"ee" * 48}"]'},
        {"pcr_others": '"whatever"'},
        {"unknown": "1"},
    ],
)
def test_a_wrong_policy_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        read_policy(policy(**changes))


def read_policy(text: str) -> object:
    return read_format_policy(FORMAT, parse(text.encode(), "policy"))


def test_the_template_is_a_policy() -> None:
    table = parse(FORMAT.template.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table("nitro"))


def test_a_document_is_recognised(aws: FakeAws) -> None:
    for document in (aws.document(), aws.document(tag=18), aws.document(indefinite=True)):
        assert recognise(document) == {DOCUMENT: document}
    assert recognise(b"") is None
    assert recognise(b"\x84\x44 something else") is None


def test_inspection_shows_the_claims_without_judging(aws: FakeAws) -> None:
    shown = inspect({DOCUMENT: aws.document(key=new_key(ES384), pcrs=ZERO_PCRS)})
    assert shown["dbgstat"] == "enabled"
    assert shown["module-id"] == MODULE
    with pytest.raises(MalformedMessage):
        inspect({DOCUMENT: b"noise"})


def test_a_changed_byte_anywhere_is_refused(aws: FakeAws) -> None:
    document = aws.document(tag=18)
    ends = [*range(16), *range(len(document) - 100, len(document))]
    for position in (*ends, *range(16, len(document), 3)):
        changed = bytearray(document)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceRefused):
            appraise(bytes(changed))


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        appraise(data)
    assert recognise(data) in (None, {DOCUMENT: data})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.binary(max_size=8)
        | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_cbor_is_signed_it_is_refused_and_nothing_else(value: Any) -> None:
    aws = fake_aws()
    with pytest.raises(EvidenceRefused):
        appraise(aws.document(pcrs=value))
    with pytest.raises(EvidenceRefused):
        appraise(cbor2.dumps([b"\xa1\x01\x38\x22", value, cbor2.dumps(value), bytes(96)]))
