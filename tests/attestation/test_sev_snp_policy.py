"""AMD SEV-SNP: every pin of a policy, compared with a report and read from TOML."""

from __future__ import annotations

import pytest

from fedenclave.attestation.amd.sev_snp import FORMAT as REAL
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_amd import (
    CHIP,
    Machine,
)
from tests.attestation.snp_federation import (
    FORMAT,
    MACHINE,
    POLICY,
    PROVIDERS,
    TURIN,
    appraise,
    evidence,
    policy_with,
    refused,
)

# --- binding ---


def test_report_data_of_another_is_refused() -> None:
    assert refused(evidence(), bound=b"\xd1" * 64) == "report data"
    assert refused(evidence(MACHINE, report_data=b"\xd0" * 63 + b"\0")) == "report data"
    assert refused(evidence(), bound=b"\xd0" * 63) == "report data"


# --- policy ---


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"measurement": b"\xab" * 48}, "measurement"),
        ({"host_data": bytes(32)}, "host data"),
        ({"id_key_digest": b"\1" * 48}, "id key"),
        ({"key_info": 1, "author_key_digest": b"\1" * 48}, "author key"),
        ({"guest_svn": 6}, "guest svn"),
        ({"policy": 0xB0000}, "debug"),
        ({"policy": 0x70000}, "migration agent"),
        ({"report_id_ma": b"\1" * 32}, "migration agent"),
        ({"vmpl": 1}, "vmpl"),
        ({"vmpl": 0xFFFFFFFF}, "vmpl"),
        ({"policy": 0x230000}, "guest policy cxl"),
        ({"chip_id": bytes(64)}, "masked chip id"),
        ({"current_firmware": (1, 55, 42)}, "current firmware"),
        ({"committed_firmware": (1, 54, 99)}, "committed firmware"),
        ({"current_tcb": bytes([4, 0, 0, 0, 0, 0, 24, 218])}, "current tcb"),
        ({"committed_tcb": bytes([4, 0, 0, 0, 0, 0, 23, 219])}, "committed tcb"),
        ({"launch_tcb": bytes([3, 9, 0, 0, 0, 0, 25, 255])}, "launch tcb"),
        ({"platform_info": 0x05}, "platform alias_check_complete"),
        ({"platform_info": 0xA5}, "platform tio"),
    ],
)
def test_a_report_that_is_not_as_the_policy_wants_is_refused(
    fields: dict[str, object], check: str
) -> None:
    assert refused(evidence(MACHINE, **fields)) == check


GENOA_ONLY = {"min_tcb__milan": "", "min_tcb__turin": ""}


@pytest.mark.parametrize(
    ("lines", "check"),
    [
        ({"min_report_version": "5"}, "report version"),
        ({"signing_keys": '["vlek"]'}, "signer"),
        ({"chip_ids": f'["{"77" * 64}", "{"78" * 8}"]'}, "chip id"),
        ({"min_policy_abi": '"1.0"'}, "policy abi"),
        ({"guest_policy__smt": '"forbidden"'}, "guest policy smt"),
        ({"guest_policy__single_socket": '"required"'}, "guest policy single_socket"),
        ({"platform__ecc": '"forbidden"'}, "platform ecc"),
        ({"platform__tsme": '"required"'}, "platform tsme"),
        (GENOA_ONLY, "product"),
        (
            {"min_tcb__milan": "{ bootloader = 5, tee = 0, snp = 0, microcode = 0 }"},
            "reported tcb",
        ),
        ({"mitigations": '"0000000000000001"'}, "mitigations"),
    ],
)
def test_another_policy_refuses_a_report_of_version_4(lines: dict[str, str], check: str) -> None:
    assert refused(evidence(MACHINE, version=4), policy_with(**lines)) == check


def test_mitigations_must_be_there_at_launch_and_now() -> None:
    assert appraise(evidence(), policy_with(mitigations='"0000000000000003"'))
    assert refused(evidence(), policy_with(mitigations='"0000000000000004"')) == "mitigations"
    fields = {"mitigations": (7, 3)}
    policy = policy_with(mitigations='"0000000000000004"')
    assert refused(evidence(MACHINE, **fields), policy) == "mitigations"


def test_every_wish_about_a_bit_is_kept() -> None:
    bits = {"smt": 16, "single_socket": 20, "mem_aes_256_xts": 22, "rapl_disabled": 23}
    bits |= {"ciphertext_hiding": 24, "page_swap_disabled": 25}
    for name, bit in bits.items():
        on, off = evidence(MACHINE, policy=0x20000 | 1 << bit), evidence(MACHINE, policy=0x20000)
        required = policy_with(**{f"guest_policy__{name}": '"required"'})
        forbidden = policy_with(**{f"guest_policy__{name}": '"forbidden"'})
        assert appraise(on, required)
        assert appraise(off, forbidden)
        assert refused(off, required) == refused(on, forbidden) == f"guest policy {name}"


def test_chips_are_pinned_by_the_report_or_by_their_short_id() -> None:
    assert appraise(evidence(), policy_with(chip_ids=f'["{CHIP.hex()}"]'))
    turin = Machine(product=TURIN)
    for pin in (CHIP[:8], CHIP[:8].ljust(64, b"\0")):
        assert appraise(evidence(turin), policy_with(chip_ids=f'["{pin.hex()}"]'))


def test_a_masked_chip_is_known_by_its_certificate() -> None:
    parts = evidence(MACHINE, chip_id=bytes(64))
    policy = policy_with(exceptions='["masked-chip-id"]', chip_ids=f'["{CHIP.hex()}"]')
    result = appraise(parts, policy)
    assert result.status is Status.WARNING
    assert result.claims.identifiers["chip-id"] == (CHIP.hex(),)
    other = policy_with(exceptions='["masked-chip-id"]', chip_ids=f'["{"77" * 64}"]')
    assert refused(parts, other) == "chip id"


def test_a_vlek_needs_its_provider_in_the_policy() -> None:
    assert refused(evidence(PROVIDERS), policy_with(csp_ids='["CN=other"]')) == "provider"
    assert refused(evidence(PROVIDERS), policy_with(csp_ids='["any"]')) == "masked chip id"
    excepted = policy_with(csp_ids='["any"]', exceptions='["masked-chip-id"]')
    assert appraise(evidence(PROVIDERS), excepted).status is Status.WARNING
    # A list of chips is a list of chips: a machine that hides its own is not on it.
    assert refused(evidence(PROVIDERS), policy_with(chip_ids=f'["{CHIP.hex()}"]')) == "chip id"
    unmasked = evidence(PROVIDERS, chip_id=CHIP)
    assert appraise(unmasked, policy_with(chip_ids=f'["{CHIP.hex()}"]', csp_ids='["any"]'))


@pytest.mark.parametrize(
    ("fields", "exception"),
    [
        ({"policy": 0xB0000}, "debug"),
        ({"policy": 0x70000}, "migration-agent"),
        ({"policy": 0x70000, "report_id_ma": b"\1" * 32}, "migration-agent"),
        ({"chip_id": bytes(64)}, "masked-chip-id"),
    ],
)
def test_an_exception_lets_exactly_its_check_pass_with_a_warning(
    fields: dict[str, object], exception: str
) -> None:
    parts = evidence(MACHINE, **fields)
    result = appraise(parts, policy_with(exceptions=f'["{exception}"]'))
    assert result.status is Status.WARNING
    others = sorted(FORMAT.exceptions - {exception})
    assert refused(parts, policy_with(exceptions=str(others).replace("'", '"')))


def test_a_migration_agent_that_is_zero_is_none() -> None:
    assert appraise(evidence(MACHINE, report_id_ma=bytes(32)))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        appraise(evidence(MACHINE, policy=0xB0000, vmpl=2, guest_svn=0), bound=bytes(64))
    failing = [check.name for check in refusal.value.checks if not check.holds]
    assert failing == ["report data", "guest svn", "debug", "vmpl"]


# --- reading policies ---


def test_the_template_is_a_policy() -> None:
    for format_ in (FORMAT, REAL):
        top = parse(format_.template.encode(), "template")
        pins = top.take_table("attestation").take_table("sev-snp")
        assert read_format_policy(format_, pins).exceptions == frozenset()


KEYS = [line.partition(" = ")[0] for line in POLICY.splitlines()]


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("min_tcb")])
def test_every_pin_is_required(key: str) -> None:
    without = "\n".join(line for line in POLICY.splitlines() if not line.startswith(f"{key} ="))
    with pytest.raises(ConfigurationError):
        read_format_policy(FORMAT, parse(without.encode(), "policy"))


@pytest.mark.parametrize(
    "lines",
    [
        {"exceptions": '["everything"]'},
        {"measurements": "[]"},
        {"measurements": '["any"]'},
        {"measurements": '["aa"]'},
        {"host_data": "[]"},
        {"host_data": f'["{"AA" * 32}"]'},
        {"min_guest_svn": "-1"},
        {"vmpl": "4"},
        {"vmpl": '"any"'},
        {"min_report_version": "1"},
        {"min_report_version": "6"},
        {"signing_keys": "[]"},
        {"signing_keys": '["any"]'},
        {"signing_keys": '["vcek"]'},
        {"csp_ids": "[]"},
        {"csp_ids": '[""]'},
        {"chip_ids": '["00"]'},
        {"crl": '"sometimes"'},
        {"min_firmware": '"1.55"'},
        {"min_firmware": '"1.55.256"'},
        {"min_policy_abi": '"1.2.3"'},
        {"min_policy_abi": '"any"'},
        {"mitigations": '"any"'},
        {"guest_policy__smt": '"on"'},
        {"guest_policy__smt": "true"},
        {"min_tcb__milan": "{ bootloader = 4, tee = 0, snp = 24 }"},
        {"min_tcb__milan": "{ fmc = 0, bootloader = 4, tee = 0, snp = 24, microcode = 1 }"},
        {"min_tcb__milan": "{ bootloader = 256, tee = 0, snp = 24, microcode = 1 }"},
        {"min_tcb__turin": "{ bootloader = 4, tee = 0, snp = 24, microcode = 1 }"},
    ],
    ids=str,
)
def test_a_wrong_pin_is_an_error(lines: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        read_format_policy(FORMAT, parse(policy_with(**lines).encode(), "policy"))


@pytest.mark.parametrize(
    "extra",
    ["min_tcb.rome = { snp = 1 }", "guest_policy.debug = 'any'", "platform.x = 'any'", "a = 1"],
)
def test_an_unknown_key_is_an_error(extra: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown keys"):
        read_format_policy(FORMAT, parse((POLICY + extra).encode(), "policy"))


def test_a_policy_without_any_product_is_an_error() -> None:
    text = "\n".join(line for line in POLICY.splitlines() if not line.startswith("min_tcb"))
    with pytest.raises(ConfigurationError, match="at least one product"):
        read_format_policy(FORMAT, parse(f"{text}\nmin_tcb = {{}}".encode(), "policy"))
