"""Azure confidential VMs: SEV-SNP of two generations and TDX, recorded by another verifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedenclave.attestation.azure.confidential_vm import (
    CERTIFICATES,
    FORMAT,
    HCL_REPORT,
    TD_QUOTE,
    TPM_PCRS,
    TPM_QUOTE,
    TPM_SIGNATURE,
)
from fedenclave.attestation.azure.hcl import HEADER_SIZE
from fedenclave.attestation.azure.recordings import recognise
from fedenclave.attestation.azure.td_report import without_mac
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case

_SNP, _TDX = "azure/trustee-az-snp-vtpm/", "azure/trustee-az-tdx-vtpm/"
_SNP_PINS = """
[sev-snp]
measurements = ["MEASUREMENT"]
host_data = ["any"]
id_key_digests = ["any"]
author_key_digests = ["any"]
min_guest_svn = 0
vmpl = 0
min_report_version = 3
signing_keys = ["vcek"]
chip_ids = ["any"]
csp_ids = []
crl = "none"
min_firmware = "1.51.0"
min_policy_abi = "0.0"
mitigations = "0000000000000000"
guest_policy.smt = "any"
guest_policy.single_socket = "any"
guest_policy.cxl = "forbidden"
guest_policy.mem_aes_256_xts = "any"
guest_policy.rapl_disabled = "any"
guest_policy.ciphertext_hiding = "any"
guest_policy.page_swap_disabled = "any"
platform.smt = "any"
platform.tsme = "any"
platform.ecc = "any"
platform.rapl_disabled = "any"
platform.ciphertext_hiding = "any"
platform.alias_check_complete = "any"
platform.iommu_write_safe = "any"
platform.tio = "forbidden"
min_tcb.milan = { bootloader = 3, tee = 0, snp = 8, microcode = 115 }
min_tcb.genoa = { bootloader = 7, tee = 0, snp = 14, microcode = 50 }
"""
_CONFIGURATION = """
[vm-configuration]
console-enabled = true
secure-boot = true
tpm-enabled = true
"""


def _policy(
    *, version: int, pcr4: str, pcr7: str, hardware: str, persisted: str = "", exceptions: str = ""
) -> str:
    return f"""
hcl_version = {version}
vm_ids = ["any"]
measurements = ["none"]
exceptions = [{exceptions}]
[pcrs]
4 = ["{pcr4}"]
7 = ["{pcr7}"]
{_CONFIGURATION}{persisted}
{hardware}
"""


def _snp(measurement: str) -> str:
    return _SNP_PINS.replace("MEASUREMENT", measurement)


def _parts(row: str) -> Callable[[Path], Parts]:
    def read(folder: Path) -> Parts:
        parts = recognise((folder / row).read_bytes())
        assert parts is not None
        return parts

    return read


_UBUNTU_PCR7 = "3b20e022416fdf61d72e4da32b4354781be3de0608116976d28ffdad8c341d2a"
_MILAN_PCR4 = "eee70c86ea856a27719a2127d6090f02e100e2947c16a0d6a355f7294382992f"
_SEPARATOR = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
_MILAN = _policy(
    version=1,
    pcr4=_MILAN_PCR4,
    pcr7=_UBUNTU_PCR7,
    hardware=_snp(
        "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6"
        "c79b75a5eb77fc769959f4aeb2f9401e"
    ),
)
_MILAN_2 = _policy(
    version=1,
    pcr4="7461d6b7d5922dbd8fd58bfaac8f53c3380f01708bd1593ef367e3371791e717",
    pcr7="f014e5cbfa297ee787a976abc51bc1d67e23e1b9e4a60128a1106dd0adef0c5b",
    hardware=_snp(
        "5b0ce64ad1c1f6375dbda5f760b98526ca1bcf91b8195091afc28e7b024251d6"
        "8fe32e05af34048d6607678cd23283ff"
    ),
)
_GENOA = _policy(
    version=2,
    pcr4="d8353e5595ec7b44e41e157e7135d370cab44c2280a751542b00af454485d4e9",
    pcr7=_UBUNTU_PCR7,
    persisted="tpm-persisted = true",
    hardware=_snp(
        "f57dc09a507c6ecd82369bffb600f0003792f4d99bc26e985ec0c266fc34faf3"
        "706faf814c9e61065768a6ff917c89ae"
    ),
)
_TDX_POLICY = _policy(
    version=2,
    pcr4="1d3b1cb141906329dd8ab09584214a88dffaf839ed14c8ef677a6bcf6ea27a02",
    pcr7="4d98d960d39753d97c718812eb4baa6c4bae9eca0365d6100393bf227d91f894",
    persisted='tpm-persisted = "any"',
    exceptions='"sept-ve", "unchecked-mac"',
    hardware="""
[tdx]
mrtd = ["024a32b070383331181619fa387cb4d55d1e38879f989933055ccad5bc2db795\
d1737b66205949d15469dc8c1ba7ab7b"]
rtmr0 = ["any"]
rtmr1 = ["any"]
rtmr2 = ["any"]
rtmr3 = ["any"]
events = []
mrseam = ["any"]
td_attributes = ["0000000000000000"]
xfam = ["e718060000000000"]
mrconfigid = ["ZEROS"]
mrowner = ["ZEROS"]
mrownerconfig = ["ZEROS"]
mrservicetd = ["ZEROS"]
platforms = ["any"]
min_tcb_evaluation_data_number = 1
advisories = []
""".replace("ZEROS", "00" * 48),
)
_WORD = b"challenge"
_GENOA_NONCE = bytes.fromhex(
    "0218488bae25d2509232bf676f1a66a30d7372add909109b36016ef136f2938c"
    "a05475f8b46094de6b64270ea35d950f"
)
_MILAN_2_NONCE = bytes.fromhex(
    "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9a"
    "a398f647caa2338748cd0fd9f5f819ef"
)
_V0, _V1, _V2 = (f"{_SNP}evidence-v{number}.json" for number in range(3))
_GENOA_ROW, _TDX_ROW = f"{_SNP}evidence-genoa.json", f"{_TDX}evidence-v1.json"
_OTHER_QUOTE = f"{_SNP}tpm-quote.msg"


def _case(
    name: str,
    row: str,
    refused: str = "",
    *,
    policy: str,
    bound: bytes,
    at: str = "2026-01-01",
    parts: Callable[[Path], Parts] | None = None,
    mutate: tuple[str, ...] = (),
) -> Case:
    return Case(
        name=name,
        rows=(row,),
        format=FORMAT,
        parts=parts or _parts(row),
        policy=policy,
        bound=bound.hex(),
        at=at,
        refused=refused,
        mutate=mutate,
    )


def _mixed(first: str, **others: str) -> Callable[[Path], Parts]:
    """Return the parts of `first`, with some of another machine's."""

    def read(folder: Path) -> Parts:
        taken = {name.replace("_", "-"): row for name, row in others.items()}
        return {
            **_parts(first)(folder),
            **{name: _parts(row)(folder)[name] for name, row in taken.items()},
        }

    return read


def _other_quote(folder: Path) -> Parts:
    """Return the report of one machine with the quote of another, over PCRs 0 to 7 and 14."""
    return {
        HCL_REPORT: (folder / _SNP / "hcl-report.bin").read_bytes(),
        TPM_QUOTE: (folder / _OTHER_QUOTE).read_bytes(),
        TPM_SIGNATURE: (folder / _SNP / "tpm-quote.sig").read_bytes(),
        TPM_PCRS: bytes(9 * 32),
    }


def _blanked(folder: Path) -> Parts:
    parts = dict(_parts(_TDX_ROW)(folder))
    return {**parts, HCL_REPORT: without_mac(parts[HCL_REPORT], HEADER_SIZE)}


def _without(row: str, name: str) -> Callable[[Path], Parts]:
    def read(folder: Path) -> Parts:
        return {part: data for part, data in _parts(row)(folder).items() if part != name}

    return read


_EVERY_PART = (HCL_REPORT, TPM_QUOTE, TPM_SIGNATURE, TPM_PCRS, CERTIFICATES)
CASES = [
    _case("Milan, version 0", _V0, policy=_MILAN, bound=_WORD, mutate=_EVERY_PART),
    # SOURCES.md leaves this one open: its VCEK is base64 of the DER.
    _case("Milan, version 1", _V1, policy=_MILAN, bound=_WORD, mutate=_EVERY_PART),
    _case("Milan, version 2", _V2, policy=_MILAN_2, bound=_MILAN_2_NONCE, mutate=_EVERY_PART),
    _case("Genoa", _GENOA_ROW, policy=_GENOA, bound=_GENOA_NONCE, mutate=_EVERY_PART),
    _case("Milan, for another nonce", _V0, "report data", policy=_MILAN, bound=b"challenger"),
    _case(
        "Milan, after its VCEK",
        _V0,
        "vcek chain validity",
        policy=_MILAN,
        bound=_WORD,
        at="2032-02-01",
    ),
    _case("Milan, for another paravisor", _V0, "measurement", policy=_MILAN_2, bound=_WORD),
    _case(
        "Milan, for another boot",
        _V2,
        "pcr 7",
        bound=_MILAN_2_NONCE,
        policy=_MILAN_2.replace("f014e5", "f014e6"),
    ),
    _case(
        "Milan, where any boot loader is accepted",
        _V0,
        "measured boot",
        bound=_WORD,
        policy=_MILAN.replace(_MILAN_PCR4, "any"),
    ),
    # PCR 2 of all these machines, and of any PC whose firmware measures no device's code.
    _case(
        "Milan, where a separator alone is pinned",
        _V0,
        "measured boot",
        bound=_WORD,
        policy=_MILAN.replace(f'4 = ["{_MILAN_PCR4}"]', f'2 = ["{_SEPARATOR}"]'),
    ),
    _case(
        "Milan, for another report header",
        _V0,
        "hcl version",
        bound=_WORD,
        policy=_MILAN.replace("hcl_version = 1", "hcl_version = 2"),
    ),
    _case(
        "Milan, without secure boot wanted",
        _V0,
        "vm-configuration secure-boot",
        bound=_WORD,
        policy=_MILAN.replace("secure-boot = true", "secure-boot = false"),
    ),
    _case(
        "Genoa, with a flag that the policy does not know",
        _GENOA_ROW,
        "vm-configuration tpm-persisted",
        bound=_GENOA_NONCE,
        policy=_GENOA.replace("tpm-persisted = true", ""),
    ),
    _case(
        "Milan, with code pinned in PCR 11",
        _V0,
        "measurement",
        bound=_WORD,
        policy=_MILAN.replace('["none"]', f'["{"5a" * 32}"]'),
    ),
    _case(
        "Milan, where another chip is wanted",
        _V0,
        "chip id",
        bound=_WORD,
        policy=_MILAN.replace('chip_ids = ["any"]', f'chip_ids = ["{"5a" * 64}"]'),
    ),
    _case(
        "Milan, where AMD's revocation list is wanted and missing",
        _V0,
        "collateral",
        bound=_WORD,
        policy=_MILAN.replace('crl = "none"', 'crl = "required"'),
    ),
    _case(
        "Milan, without its VCEK",
        _V0,
        "certificates",
        policy=_MILAN,
        bound=_WORD,
        parts=_without(_V0, CERTIFICATES),
    ),
    _case(
        "Milan, with the VCEK of another machine",
        _V0,
        "report signature",
        policy=_MILAN,
        bound=_WORD,
        parts=_mixed(_V0, certificates=_GENOA_ROW),
    ),
    _case(
        "Milan, where TDX is wanted",
        _V0,
        "hardware",
        policy=_TDX_POLICY.replace("hcl_version = 2", "hcl_version = 1"),
        bound=_WORD,
    ),
    _case(
        "Genoa, with the report of another machine",
        _GENOA_ROW,
        "vtpm signature",
        policy=_MILAN,
        bound=_GENOA_NONCE,
        parts=_mixed(_GENOA_ROW, hcl_report=_V0),
    ),
    _case(
        "Milan, with the registers of another machine",
        _V0,
        "pcr digest",
        policy=_MILAN,
        bound=_WORD,
        parts=_mixed(_V0, tpm_pcrs=_V2),
    ),
    _case(
        "a report with the quote of another machine's vtpm",
        _OTHER_QUOTE,
        "vtpm signature",
        policy=_MILAN,
        bound=_WORD,
        parts=_other_quote,
    ),
    # Signatures, registers and runtime data of the next ones hold; there is no TCB collateral.
    _case(
        "TDX, without collateral",
        _TDX_ROW,
        "collateral",
        policy=_TDX_POLICY,
        bound=_WORD,
        at="2025-01-01",
    ),
    _case(
        "TDX, blanked, without collateral",
        _TDX_ROW,
        "collateral",
        policy=_TDX_POLICY,
        bound=_WORD,
        at="2025-01-01",
        parts=_blanked,
    ),
    _case(
        "TDX, version 0",
        f"{_TDX}evidence-v0.json",
        "collateral",
        policy=_TDX_POLICY,
        bound=_WORD,
        at="2025-01-01",
    ),
    _case(
        "TDX, where a TD without septve-disable is not excepted",
        _TDX_ROW,
        "sept ve disable",
        policy=_TDX_POLICY.replace('"sept-ve", ', ""),
        bound=_WORD,
    ),
    _case(
        "TDX, without its quote",
        _TDX_ROW,
        "structure",
        policy=_TDX_POLICY,
        bound=_WORD,
        at="2025-01-01",
        parts=_without(_TDX_ROW, TD_QUOTE),
    ),
    _case("TDX, where SEV-SNP is wanted", _TDX_ROW, "hardware", policy=_GENOA, bound=_WORD),
]
