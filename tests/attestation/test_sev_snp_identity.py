"""AMD SEV-SNP: who signed, who certified that key, whether both are of one machine; revocation."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.amd.endorsement import (
    authority_of,
    parse_endorsement,
    pinned_authorities,
)
from fedenclave.attestation.amd.products import Product
from fedenclave.attestation.amd.report import SigningKey
from fedenclave.attestation.amd.sev_snp import make_format
from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.certificates import parse_certificate, verify_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol.toml_table import parse
from tests.attestation.cases import EVIDENCE, seconds
from tests.attestation.fake_amd import (
    CHIP,
    CSP,
    DAY,
    NOW,
    Machine,
    authorities,
    der_integer,
    ia5,
    intermediate_of,
    root_of,
)
from tests.attestation.snp_federation import (
    CHAIN,
    EVERY_CRL,
    GENOA,
    MACHINE,
    MILAN,
    POLICY,
    PROVIDERS,
    TURIN,
    VCEK,
    VLEK,
    appraise,
    crls,
    evidence,
    policy_with,
    refused,
)

# --- who signed ---


def test_a_report_that_no_key_signed_is_refused() -> None:
    assert refused(evidence(MACHINE, key_info=7 << 2)) == "signing key"


@pytest.mark.parametrize("kind", [VCEK, VLEK])
def test_a_missing_certificate_is_refused(kind: SigningKey) -> None:
    assert refused({"report": Machine(kind=kind).report()}) == "certificates"


def test_a_masked_chip_has_no_certificate_in_the_bundle() -> None:
    assert refused({"report": MACHINE.report(chip_id=bytes(64))}) == "certificates"


def test_the_certificate_of_the_other_kind_of_key_is_refused() -> None:
    parts = {"report": MACHINE.report(), "certificates": PROVIDERS.der}
    assert refused(parts) == "certificates"


def test_a_vlek_under_the_authority_for_vceks_is_refused() -> None:
    machine = Machine(kind=VLEK, issuer_kind=VCEK)
    assert refused(evidence(machine)) == "certificates"


def test_a_certificate_by_nobody_that_is_pinned_is_refused() -> None:
    ours = make_format([a for a in authorities() if a.product is not MILAN])
    policy = read_format_policy(ours, parse(POLICY.encode(), "policy"))
    question = Question(
        bound=b"\xd0" * 64,
        now=NOW,
        freshness_seconds=1,
        collateral=from_mapping(EVERY_CRL, NOW),
        collateral_max_age_seconds=DAY,
    )
    with pytest.raises(EvidenceRefused, match="certificates is SEV-VCEK by SEV-Milan"):
        appraise_parts(evidence(), policy, question)


EXTRAS: dict[str, bytes] = {
    "a second leaf": MACHINE.pem() + MACHINE.pem(),
    "another's ask": MACHINE.pem() + intermediate_of(GENOA, VCEK).public_bytes(Encoding.PEM),
    "another's ark": MACHINE.pem() + root_of(TURIN).public_bytes(Encoding.PEM),
    "the ask twice": CHAIN + MACHINE.intermediate.public_bytes(Encoding.PEM),
    "no leaf": MACHINE.intermediate.public_bytes(Encoding.PEM),
}


@pytest.mark.parametrize("data", EXTRAS.values(), ids=EXTRAS)
def test_certificates_that_are_not_needed_are_refused(data: bytes) -> None:
    assert refused({"report": MACHINE.report(), "certificates": data}) == "certificates"


def test_a_certificate_that_the_ask_did_not_sign_is_refused() -> None:
    assert refused(evidence(Machine(signer="mallory"))) == "vcek chain"
    assert refused(evidence(Machine(kind=VLEK, signer="mallory"))) == "vlek chain"


@pytest.mark.parametrize("days", [(-60, -30), (30, 60)])
def test_a_certificate_outside_its_time_is_refused(days: tuple[int, int]) -> None:
    assert refused(evidence(Machine(leaf_days=days))) == "vcek chain validity"


def test_an_authority_outside_its_time_is_refused() -> None:
    machine = Machine(leaf_days=(-900, 900))
    assert refused(evidence(machine), now=NOW + 850 * DAY) == "vcek chain validity"
    assert refused(evidence(machine), now=NOW - 850 * DAY) == "vcek chain validity"


def test_a_changed_report_is_refused() -> None:
    report = bytearray(MACHINE.report())
    report[0x90] ^= 1
    assert refused({"report": bytes(report), "certificates": MACHINE.der}) == "report signature"


def test_a_key_of_another_curve_is_refused() -> None:
    machine = Machine(leaf_curve=ec.SECP256R1())
    parts = {"report": MACHINE.report(), "certificates": machine.der}
    assert refused(parts) == "report signature"


@pytest.mark.parametrize("number", [0, (1 << 384) - 1])
def test_numbers_that_are_no_signature_are_refused(number: int) -> None:
    report = MACHINE.report()[:0x2A0] + number.to_bytes(72, "little") * 2 + bytes(368)
    assert refused({"report": report, "certificates": MACHINE.der}) == "report signature"


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason="../shared/evidence is absent")
@pytest.mark.parametrize(
    ("file", "product", "kind", "at"),
    [
        ("virtee/vcek_turin.der", TURIN, VCEK, "2026-11-25"),
        ("virtee/vcek_milan.der", MILAN, VCEK, "2026-11-25"),
        ("trustee/test-vlek.der", MILAN, VLEK, "2025-06-01"),
    ],
)
def test_real_certificates_chain_to_the_pinned_roots(
    file: str, product: Product, kind: SigningKey, at: str
) -> None:
    leaf = parse_certificate((EVIDENCE / "sev-snp" / file).read_bytes(), file)
    authority = authority_of(leaf, kind, pinned_authorities())
    assert authority is not None
    checklist = Checklist()
    chain = [leaf, authority.intermediate]
    verify_chain(checklist, chain, authority.root, name="chain", now=seconds(at))
    assert parse_endorsement(leaf, kind).product is authority.product is product


# --- certificate and report are of one machine ---

BAD_EXTENSIONS: dict[str, dict[str, bytes | None]] = {
    "no product": {"2": None},
    "unknown product": {"2": ia5("Naples-B0")},
    "product is no text": {"2": b"\x0c\x05Milan"},
    "product is not printable": {"2": ia5("Milan-\n")},
    "empty product": {"2": ia5("")},
    "another structure": {"1": der_integer(1)},
    "no tee version": {"3.2": None},
    "version is no integer": {"3.2": b"\x04\x01\x00"},
    "version is negative": {"3.2": b"\x02\x01\x80"},
    "version is huge": {"3.2": b"\x02\x02\x01\x00"},
    "version is not minimal": {"3.2": b"\x02\x02\x00\x01"},
    "fmc on milan": {"3.9": der_integer(0)},
    "provider in a vcek": {"5": ia5(CSP)},
    "unknown extension": {"6": der_integer(0)},
    "short hwid": {"4": CHIP[:32]},
    "no hwid": {"4": None},
}


@pytest.mark.parametrize("extensions", BAD_EXTENSIONS.values(), ids=BAD_EXTENSIONS)
def test_amds_extensions_are_read_strictly(extensions: dict[str, bytes | None]) -> None:
    assert refused(evidence(Machine(extensions=extensions))) == "structure"


def test_a_vlek_names_a_provider_and_no_chip() -> None:
    for extensions in ({"5": None}, {"4": CHIP}):
        assert refused(evidence(Machine(kind=VLEK, extensions=extensions))) == "structure"


def test_a_certificate_for_another_product_than_its_issuers_is_refused() -> None:
    machine = Machine(extensions={"2": ia5("Genoa-B1")})
    assert refused(evidence(machine)) == "certificate product"


@pytest.mark.parametrize("name", ["Genoa", "Genoa-B1", "Bergamo-A1", "Siena-B0"])
def test_genoas_line_has_several_names(name: str) -> None:
    machine = Machine(product=GENOA, extensions={"2": ia5(name)})
    assert appraise(evidence(machine)).claims.claims["certificate-product"] == name


@pytest.mark.parametrize("cpu", [(0x19, 0x11, 0), (0x1A, 0x02, 0), (0x1A, 0x50, 0), (0x17, 1, 0)])
def test_a_processor_of_another_product_than_the_certificates_is_refused(
    cpu: tuple[int, int, int],
) -> None:
    assert refused(evidence(MACHINE, cpu=cpu)) == "processor"


def test_a_processor_that_is_not_known_has_no_certificate() -> None:
    assert refused({"report": MACHINE.report(cpu=(0x1A, 0x50, 0))}) == "processor"


@pytest.mark.parametrize("arc", ["3.1", "3.2", "3.3", "3.4", "3.8"])
def test_a_certificate_for_another_tcb_is_refused(arc: str) -> None:
    assert refused(evidence(Machine(extensions={arc: der_integer(99)}))) == "certificate tcb"


def test_a_certificate_of_another_chip_is_refused() -> None:
    other = Machine(chip_id=b"\x77" * 64)
    assert refused({"report": MACHINE.report(), "certificates": other.der}) == "certificate chip"
    turin = Machine(product=TURIN)
    other = Machine(product=TURIN, chip_id=b"\x77" * 64)
    assert refused({"report": turin.report(), "certificates": other.der}) == "certificate chip"


# --- revocation ---


def test_a_revoked_authority_is_refused() -> None:
    for machine in (MACHINE, PROVIDERS):
        name = f"amd/milan/{machine.kind.name.lower()}.crl"
        bundle = EVERY_CRL | {name: machine.crl(machine.intermediate)}
        assert refused(evidence(machine), bundle=bundle).startswith("revocation of SEV-")
        bundle = EVERY_CRL | {name: machine.crl(machine.root)}
        assert refused(evidence(machine), bundle=bundle) == "revocation of ARK-Milan"


def test_a_revoked_authority_of_the_other_kind_does_not_count() -> None:
    bundle = EVERY_CRL | {"amd/milan/vcek.crl": MACHINE.crl(PROVIDERS.intermediate)}
    assert appraise(evidence(), bundle=bundle)


def test_a_missing_list_is_refused_unless_the_policy_wants_none() -> None:
    assert refused(evidence(), bundle={}) == "collateral"
    assert refused(evidence(), bundle=crls(PROVIDERS)) == "collateral"
    assert appraise(evidence(), policy_with(crl='"none"'), bundle={})


@pytest.mark.parametrize(
    ("crl", "check"),
    [
        ({"signer": "mallory"}, "signature of amd/milan/vcek.crl"),
        ({"issuer": "ARK-Genoa"}, "signature of amd/milan/vcek.crl"),
        ({"days": (-60, -1)}, "age of amd/milan/vcek.crl"),
        ({"days": (1, 60)}, "age of amd/milan/vcek.crl"),
        ({"days": (-500, 60)}, "age of amd/milan/vcek.crl"),
    ],
)
def test_a_list_that_is_not_the_arks_current_one_is_refused(
    crl: dict[str, Any], check: str
) -> None:
    assert refused(evidence(), bundle=crls(MACHINE, **crl)) == check


def test_a_list_that_is_none_is_refused() -> None:
    name = "amd/milan/vcek.crl"
    assert refused(evidence(), bundle={name: b"noise"}) == f"structure of {name}"


def test_a_list_counts_from_the_day_on_which_it_was_fetched() -> None:
    fetch = "fetch of amd/milan/vcek.crl"
    assert appraise(evidence(), fetched=NOW - 40 * DAY)
    assert refused(evidence(), fetched=NOW - 41 * DAY) == fetch
    # One that was fetched later counts from the day on which it was signed: 300 days before.
    assert refused(evidence(), fetched=NOW + DAY) == fetch
    assert appraise(evidence(), fetched=NOW + DAY, max_age=301 * DAY)


def test_of_several_lists_the_newest_of_that_time_counts() -> None:
    name = "amd/milan/vcek.crl"
    old = CollateralFile(name=name, data=MACHINE.crl(), fetched=NOW - 2 * DAY)
    newer = CollateralFile(
        name=name, data=MACHINE.crl(MACHINE.intermediate, days=(-2, 60)), fetched=NOW - DAY
    )
    later = CollateralFile(
        name=name, data=MACHINE.crl(MACHINE.intermediate, days=(2, 60)), fetched=NOW + 3 * DAY
    )
    assert refused(evidence(), bundle=Collateral([old, newer])) == "revocation of SEV-Milan"
    assert appraise(evidence(), bundle=Collateral([old, later]))
