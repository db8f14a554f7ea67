"""Azure confidential VMs, made up: the virtual TPM's quote and registers."""

import hashlib

import pytest

from fedenclave.attestation.result import Status
from tests.attestation import tpm_structures
from tests.attestation.azure_vm_appraisal import SNP, appraise, policy_table, refused
from tests.attestation.fake_azure import (
    BOUND,
    FORMAT,
    PCRS,
    REPORT_DATA,
    quote,
    runtime_claims,
    snp_parts,
    vtpm_parts,
)
from tests.attestation.fake_tokens import rsa_key
from tests.attestation.second_spelling import revoking


def quoting(values: dict[int, bytes]) -> dict[str, bytes]:
    """Return the SEV-SNP machine's evidence with a quote of these registers."""
    registers = b"".join(values[index] for index in sorted(values))
    return {**SNP, **vtpm_parts(quote(pcrs=values)), "tpm-pcrs": registers}


class TestVirtualTpm:
    def test_a_signature_may_be_a_tpms_own_structure(self) -> None:
        wrapped = tpm_structures.signature_of(rsa_key("ak"), SNP["tpm-quote"])
        assert appraise({**SNP, "tpm-signature": wrapped}).status is Status.AFFIRMING

    @pytest.mark.parametrize(
        ("scheme", "hash_"), [(tpm_structures.RSAPSS, "sha256"), (tpm_structures.RSASSA, "sha384")]
    )
    def test_another_scheme_or_hash_is_refused(self, scheme: int, hash_: str) -> None:
        other = tpm_structures.signature_of(
            rsa_key("ak"), SNP["tpm-quote"], scheme=scheme, hash_=hash_
        )
        assert refused({**SNP, "tpm-signature": other}) == "vtpm signature"

    def test_a_quote_by_another_machines_vtpm_is_refused(self) -> None:
        assert refused({**SNP, **vtpm_parts(key="other")}) == "vtpm signature"

    def test_the_encryption_key_signs_nothing(self) -> None:
        claims = runtime_claims()
        claims["keys"][0], claims["keys"][1] = (
            {**claims["keys"][1], "kid": "HCLAkPub"},
            {**claims["keys"][0], "kid": "HCLEkPub"},
        )
        assert refused(snp_parts(claims)) == "structure"

    def test_a_quote_for_another_nonce_is_refused(self) -> None:
        assert refused(SNP, bound=bytes(32)) == "report data"
        assert refused({**SNP, **vtpm_parts(quote(bound=BOUND + b"\0"))}) == "report data"

    def test_the_binding_fits_into_a_quote(self) -> None:
        assert FORMAT.bind(REPORT_DATA) == BOUND
        assert len(BOUND) == 32

    def test_other_registers_than_the_quoted_ones_are_refused(self) -> None:
        parts = dict(SNP)
        parts["tpm-pcrs"] = parts["tpm-pcrs"][:-1] + b"\0"
        assert refused(parts) == "pcr digest"

    @pytest.mark.parametrize("size", [0, 32, 95, 97, 128])
    def test_registers_of_another_number_are_refused(self, size: int) -> None:
        assert refused({**SNP, "tpm-pcrs": bytes(size)}) == "structure"

    def test_a_quote_over_another_bank_is_refused(self) -> None:
        values = {index: value[:20] for index, value in PCRS.items()}
        other = vtpm_parts(quote(pcrs=values, bank="sha1"))
        assert refused({**SNP, **other, "tpm-pcrs": b"".join(values.values())}) == "structure"

    def test_what_is_no_quote_is_refused(self) -> None:
        certified = tpm_structures.attest(
            0x8017, tpm_structures.sized(b"\0\x0b" + bytes(32)) * 2, extra=BOUND
        )
        assert refused({**SNP, **vtpm_parts(certified)}) == "structure"

    @pytest.mark.parametrize("index", [4, 7])
    def test_another_boot_is_refused(self, index: int) -> None:
        values = {**PCRS, index: bytes(32)}
        parts = {**SNP, **vtpm_parts(quote(pcrs=values))}
        parts["tpm-pcrs"] = b"".join(values[i] for i in sorted(values))
        assert refused(parts) == f"pcr {index}"

    def test_a_register_that_is_pinned_must_be_quoted(self) -> None:
        assert refused(SNP, table=policy_table(pcrs__9=["any"])) == "pcr 9"

    @pytest.mark.parametrize("index", [2, 3, 6])
    def test_operator_booting_his_own_where_a_separator_alone_is_pinned_is_refused(
        self, index: int
    ) -> None:
        # Nothing but a separator is in that register of any machine, whatever it boots.
        separator = hashlib.sha256(bytes(32) + hashlib.sha256(bytes(4)).digest()).digest()
        parts = quoting({**PCRS, 4: b"\x66" * 32, index: separator})
        pins = {str(index): [separator.hex()], "4": ["any"]}
        table = policy_table(pcrs=pins)
        assert refused(parts, table=table) == "measured boot"
        del pins["4"]
        assert refused(parts, table=policy_table(pcrs=pins)) == "measured boot"
        excepted = appraise(parts, table=table | {"exceptions": ["unmeasured-boot"]})
        assert excepted.status is Status.WARNING
        assert [check.name for check in excepted.checks if check.excepted] == ["measured boot"]

    @pytest.mark.parametrize("index", [4, 7])
    def test_a_machine_whose_firmware_measures_nothing_is_refused(self, index: int) -> None:
        table = policy_table(**{f"pcrs__{index}": ["00" * 32]})
        assert refused(quoting({**PCRS, index: bytes(32)}), table=table) == "measured boot"

    def test_other_code_in_pcr_11_is_refused(self) -> None:
        assert refused(SNP, table=policy_table(measurements=["00" * 32])) == "measurement"

    def test_code_may_be_pinned_by_registers_alone(self) -> None:
        found = appraise(SNP, table=policy_table(measurements=["none"]))
        pinned = hashlib.sha256(PCRS[4] + PCRS[7]).hexdigest()
        assert found.claims.identifiers["measurement"][0] == pinned

    @pytest.mark.parametrize("added", [{16: b"\x16" * 32}, {23: bytes(32)}, {11: b"\x99" * 32}])
    def test_a_revoked_measurement_stays_revoked_whatever_else_the_operator_has_quoted(
        self, added: dict[int, bytes]
    ) -> None:
        pinned = {index: PCRS[index] for index in (4, 7)}
        pins = {str(index): [value.hex()] for index, value in pinned.items()}
        table = policy_table(measurements=["none"], pcrs=pins)
        reported = appraise(quoting(pinned), table=table).claims.identifiers["measurement"][0]
        parts = quoting(pinned | added)
        assert appraise(parts, table=table).status is Status.AFFIRMING
        listed = revoking("azure-vm", "measurement", reported)
        assert refused(parts, table=table, revocations=listed) == "revoked measurement"
