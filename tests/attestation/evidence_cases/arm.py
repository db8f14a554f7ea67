"""Arm's tokens, PSA and CCA: every row of SOURCES.md that has a verdict.

The keys are the test keys that Trusted Firmware-M, Veraison and Trustee publish for these tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cbor2

from fedenclave.attestation.arm import cca, psa
from fedenclave.attestation.arm.cca import TOKEN
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case

_AT = "2026-11-25"
_TFM, _PSA, _CCA = "arm-psa/veraison-tfm", "arm-psa/veraison-services", "arm-cca"
_TFM_KEY = """
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeeupDov0UKZ1FXatRZmwet+TjaO7
C9F9ADbtSaLQ/D+/zfqJVrVov9uGc+ZI2LWNkplVsUomwwgPNBF9lx1oZA==
-----END PUBLIC KEY-----
"""
_VERAISON_KEY = """
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8A
iTo7Tu6KPAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==
-----END PUBLIC KEY-----
"""
_TRUSTEE_KEY = """
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEIShnxS4rlQiwpCCpBWDzlNLfqiG911FP
8akBr+fh94uxHU5m+Kijivp2r2oxxN6MhM4tr8mWQli1P61xh3T0ViDREbF26DGO
EYfbAjWjGNN7pZf+6A4OTHYqEryz6m7U
-----END PUBLIC KEY-----
"""
_TFM_INSTANCE = "01fa58755f658627ce5460f29b75296713248cae7ad9e2984b90280efcbcb50248"
_TFM_IMPLEMENTATION = "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
_TFM_SPE_SIGNER = "bfe6d86f8826f4ff97fb96c4e6fbc4993e4619fc565da26adf34c329489adc38"
_TFM_NSPE = (
    "NSPE",
    "087d13c68f32aaafb8c4fc0a2253445432009765e216fb85c398c9580522c1bf",
    "b360caf5c98c6b942a4882fa9d4823efb166a9ef6a6e4aa37c1919ed1fccc049",
    "0.0.0",
)
_TFM_SPE = "96a2ec56c65120a60ce3a53ef8d2082233772aacd5b17935a92be12ac577f685"
_TFM_SPE_OLD = "f79f1fe6aa0445d620a017d3d5c5215a20367fc135b6ad355beda66a21b693a9"
_ACME_INSTANCE = "01ceebae7b8927a3227e5303cf5e0f1f7b34bb542ad7250ac03fbcde36ec2f1508"
_ACME_NONCE = "414a7c174141b3d0e9a1d28af31520f0d42299feac4007ded89d68ae6cd92f19"
_ACME_SIGNER = "acbb11c7e4da217205523ce4ce1a245ae1a239ae3c6bfd9e7871f7e5d8bae86b"
_ACME = (
    (
        "BL",
        "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7",
        _ACME_SIGNER,
        "2.1.0",
    ),
    (
        "PRoT",
        "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f",
        _ACME_SIGNER,
        "1.3.5",
    ),
    (
        "ARoT",
        "a3a5e715f0cc574a73c3f9bebb6bc24f32ffd5b67b387244c2c909da779a1478",
        _ACME_SIGNER,
        "0.1.4",
    ),
)
_RD_SIGNER = "5378796307535df3ec8d8b15a2e2dc5641419c3d3060cfe32238c0fa973f7aa3"
_SCP_SIGNER = "f14b4987904bcb5814e4459a057ed4d20f58a633152288a761214dcd28780b56"
_RD_VALUES = {
    "RSE_BL1_2": "9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa",
    "RSE_BL2": "53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3",
    "RSE_S": "1121cfccd5913f0a63fec40a6ffd44ea64f9dc135c66634ba001d10bcf4302a2",
    "AP_BL1": "1571b5ec78bd68512bf7830bb6a2a44b2047c7df57bce79eb8a1c0e5bea0a501",
    "AP_BL2": "10159baf262b43a92d95db59dae1f72c645127301661e0a3ce4e38b295a97c58",
    "SCP_BL1": "10122e856b3fcd49f063636317476149cb730a1aa1cfaad818552b72f56d6f68",
    "SCP_BL2": "aa67a169b0bba217aa0aa88a65346920c84c42447c36ba5f7ea65f422c1fe5d8",
    "AP_BL31": "2e6d31a5983a91251bfae5aefa1c0a19d8ba3cf601d0e8a706b4cfa9661a6b8a",
    "RMM": "a1fb50e6c86fae1679ef3351296fd6713411a08cf8dd1790a4fd05fae8688164",
    "HW_CONFIG": "1a252402972f6057fa53cc172b52b9ffca698e18311facd0f3b06ecaaef79e17",
    "FW_CONFIG": "9a92adbc0cee38ef658c71ce1b1bf8c65668f166bfb213644c895ccb1ad07a25",
    "TB_FW_CONFIG": "238903180cc104ec2c5d8b3f20c5bc61b389ec0a967df8cc208cdc7cd454174f",
    "SOC_FW_CONFIG": "e6c21e8d260fe71882debdb339d2402a2ca7648529bc2303f48649bce0380017",
}
_RD = tuple(
    (kind, value, _SCP_SIGNER if kind == "SCP_BL2" else _RD_SIGNER, "absent")
    for kind, value in _RD_VALUES.items()
)
_RD_INSTANCE = "0107060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
_RD_CHALLENGE = (
    "57e979ae2618de0c1ab73144c440d741cf9236dc9d52ed190053382a4d190252"
    "f9f0370403c35dcb155fb4362d73c66d5b0494bf939315d3dc52b8cdc8b85a96"
)
_RD_RIM = (
    "ae87fbf7f105e71a7827cb6f0896889c73d2beaf4830d4f9cb05e3e96c3fc7b4"
    "faa04caf36a26bd094cf9c7b738617e4c189aaee184dedda5d7a03c39dbdac7c"
)
_GOOD_TAIL = "060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
_GOOD = tuple(
    (kind, first + _GOOD_TAIL, "07" + _GOOD_TAIL, version)
    for kind, first, version in (
        ("BL", "07", "3.4.2"),
        ("M1", "0b", "1.2.0"),
        ("M2", "0f", "1.2.3"),
        ("M3", "13", "1.0.0"),
    )
)
_GOOD_CHALLENGE = (
    "6f24d6b9635a2c8bbf58e908b94e04c1bfb3ae80cdebe832424578499fe31761"
    "e7f5e1d8bce0121844f54abdfa5286da88f53a657b15335c9396b4329254bc5c"
)


def token(row: str) -> Callable[[Path], Parts]:
    return lambda folder: {TOKEN: (folder / row).read_bytes()}


def mixed(platform_row: str, realm_row: str) -> Callable[[Path], Parts]:
    """The platform token of one collection with the realm token of another."""

    def read(folder: Path) -> Parts:
        platform, realm = (
            cbor2.loads((folder / row).read_bytes()).value for row in (platform_row, realm_row)
        )
        entries = {44234: platform[44234], 44241: realm[44241]}
        return {TOKEN: cbor2.dumps(cbor2.CBORTag(399, entries))}

    return read


def components(pins: tuple[tuple[str, str, str, str], ...]) -> str:
    return "".join(
        f'[[components]]\ntype = "{kind}"\nvalues = ["{value}"]\n'
        f'signers = ["{signer}"]\nversions = ["{version}"]\n'
        for kind, value, signer, version in pins
    )


def policy(
    table: dict[str, str],
    devices: str,
    instance: str,
    key: str,
    pins: tuple[tuple[str, str, str, str], ...],
) -> str:
    """Return a policy; values of `table` are TOML."""
    lines = "\n".join(f"{name} = {value}" for name, value in table.items())
    device = f"[[{devices}]]\ninstance_id = \"{instance}\"\npublic_key = '''{key}'''\n"
    return f"{lines}\n{device}{components(pins)}"


def psa_policy(
    profile: str,
    instance: str,
    key: str,
    *pins: tuple[str, str, str, str],
    **changes: str,
) -> str:
    table = {
        "profiles": f'["{profile}"]',
        "implementation_ids": f'["{_TFM_IMPLEMENTATION}"]',
        "clients": '["3002"]',
        "certification_references": '["0604565272829-10010"]',
        "exceptions": "[]",
    }
    return policy(table | changes, "devices", instance, key, pins)


def cca_policy(
    instance: str, key: str, pins: tuple[tuple[str, str, str, str], ...], **changes: str
) -> str:
    table = {
        "platform_profiles": '["http://arm.com/CCA-SSD/1.0.0"]',
        "platform_hash_algorithms": '["sha-256"]',
        "mec_policies": '["absent"]',
        "lfa_policies": '["absent"]',
        "exceptions": "[]",
    }
    return policy(table | changes, "platforms", instance, key, pins)


_NEW = psa_policy(
    "http://arm.com/psa/2.0.0",
    _TFM_INSTANCE,
    _TFM_KEY,
    ("SPE", _TFM_SPE, _TFM_SPE_SIGNER, "1.6.0"),
    _TFM_NSPE,
)
_OLD = psa_policy(
    "PSA_IOT_PROFILE_1",
    _TFM_INSTANCE,
    _TFM_KEY,
    ("SPE", _TFM_SPE_OLD, _TFM_SPE_SIGNER, "1.6.0"),
    _TFM_NSPE,
)
_ACME_TABLE = {
    "implementation_ids": f'["{b"acme-implementation-id-000000001".hex()}"]',
    "clients": '["secure"]',
    "certification_references": '["absent"]',
}
_PSA_2 = "http://arm.com/psa/2.0.0"
_RD_TABLE = {
    "realm_profiles": '["absent"]',
    "implementation_ids": '["7f454c4602010100000000000000000003003e00010000005058000000000000"]',
    "platform_configs": '["cfcfcfcf"]',
    "realm_hash_algorithms": '["sha-512"]',
    "rims": f'["{_RD_RIM}"]',
    **{f"rem{index}": f'["{"00" * 64}"]' for index in range(4)},
    "rpvs": f'["{"00" * 64}"]',
}
_RD_POLICY = cca_policy(_RD_INSTANCE, _TRUSTEE_KEY, _RD, **_RD_TABLE)
_GOOD_TABLE = {
    "realm_profiles": '["tag:arm.com,2023:realm#1.0.0"]',
    "implementation_ids": f'["{"00" * 32}"]',
    "platform_configs": '["010203"]',
    "realm_hash_algorithms": '["sha-256"]',
    "rims": f'["{"43" * 64}"]',
    **{f"rem{index}": f'["{"43" * 64}"]' for index in range(4)},
    "rpvs": f'["{"41444144" * 16}"]',
}
_GOOD_POLICY = cca_policy("01" + "02" * 32, _VERAISON_KEY, _GOOD, **_GOOD_TABLE)
_SIGN1, _OLD_SIGN1 = f"{_TFM}/psa-2_0_0_sign1.bin", f"{_TFM}/psa-iot-1_sign1.bin"
_GOOD_PSA = f"{_PSA}/psa.good.cbor"
_EXAMPLE = f"{_CCA}/trustee/cca-example-token.cbor"
_GOOD_CCA = f"{_CCA}/veraison-services/scheme_arm-cca_test_evidence_cca-good.cbor"

CASES: list[Case] = [
    Case(
        name="Trusted Firmware-M",
        rows=(_SIGN1, f"{_TFM}/public.pem"),
        format=psa.FORMAT,
        parts=token(_SIGN1),
        policy=_NEW,
        bound="00" * 64,
        at=_AT,
        mutate=(TOKEN,),
    ),
    Case(
        name="Trusted Firmware-M, old profile",
        rows=(_OLD_SIGN1, f"{_TFM}/public.pem"),
        format=psa.FORMAT,
        parts=token(_OLD_SIGN1),
        policy=_OLD,
        bound="00" * 64,
        at=_AT,
        mutate=(TOKEN,),
    ),
    *(
        Case(
            name=f"a mac of Trusted Firmware-M is refused, {version}",
            rows=(f"{_TFM}/psa-{version}_mac0.bin",),
            format=psa.FORMAT,
            parts=token(f"{_TFM}/psa-{version}_mac0.bin"),
            policy=pins,
            bound="00000080" + "00" * 60,
            at=_AT,
            refused="structure",
            found="cose_mac0",
        )
        for version, pins in (("2_0_0", _NEW), ("iot-1", _OLD))
    ),
    Case(
        name="Veraison's good token",
        rows=(_GOOD_PSA,),
        format=psa.FORMAT,
        parts=token(_GOOD_PSA),
        policy=psa_policy(_PSA_2, _ACME_INSTANCE, _VERAISON_KEY, *_ACME, **_ACME_TABLE),
        bound=_ACME_NONCE,
        at=_AT,
        mutate=(TOKEN,),
    ),
    Case(
        name="Veraison's good token for another nonce",
        rows=(_GOOD_PSA,),
        format=psa.FORMAT,
        parts=token(_GOOD_PSA),
        policy=psa_policy(_PSA_2, _ACME_INSTANCE, _VERAISON_KEY, *_ACME, **_ACME_TABLE),
        bound="00" * 32,
        at=_AT,
        refused="report data",
        found=_ACME_NONCE,
    ),
    Case(
        name="Veraison's good token under another device's key",
        rows=(_GOOD_PSA,),
        format=psa.FORMAT,
        parts=token(_GOOD_PSA),
        policy=psa_policy(_PSA_2, _ACME_INSTANCE, _TFM_KEY, *_ACME, **_ACME_TABLE),
        bound=_ACME_NONCE,
        at=_AT,
        refused="signature",
    ),
    Case(
        name="Veraison's good token where another device is approved",
        rows=(_GOOD_PSA,),
        format=psa.FORMAT,
        parts=token(_GOOD_PSA),
        policy=psa_policy(_PSA_2, _TFM_INSTANCE, _VERAISON_KEY, *_ACME, **_ACME_TABLE),
        bound=_ACME_NONCE,
        at=_AT,
        refused="instance id",
    ),
    Case(
        name="firmware that grew by a component",
        rows=(_GOOD_PSA,),
        format=psa.FORMAT,
        parts=token(_GOOD_PSA),
        policy=psa_policy(_PSA_2, _ACME_INSTANCE, _VERAISON_KEY, *_ACME[:2], **_ACME_TABLE),
        bound=_ACME_NONCE,
        at=_AT,
        refused="components",
    ),
    Case(
        name="firmware of an old profile is not that of the new one",
        rows=(_OLD_SIGN1,),
        format=psa.FORMAT,
        parts=token(_OLD_SIGN1),
        policy=_NEW,
        bound="00" * 64,
        at=_AT,
        refused="profile",
    ),
    Case(
        name="a token of the secure side where the other must have asked",
        rows=(_SIGN1,),
        format=psa.FORMAT,
        parts=token(_SIGN1),
        policy=_NEW.replace('["3002"]', '["non-secure"]'),
        bound="00" * 64,
        at=_AT,
        refused="client",
    ),
    Case(
        name="Trustee's example: a realm without a profile, its key a point",
        rows=(_EXAMPLE, f"{_CCA}/trustee/cpak-pub.json", f"{_CCA}/trustee/rvstore.json"),
        format=cca.FORMAT,
        parts=token(_EXAMPLE),
        policy=_RD_POLICY,
        bound=_RD_CHALLENGE,
        at=_AT,
        mutate=(TOKEN,),
    ),
    Case(
        name="Veraison's good token: a realm with a profile, its key a COSE_Key",
        rows=(_GOOD_CCA,),
        format=cca.FORMAT,
        parts=token(_GOOD_CCA),
        policy=_GOOD_POLICY,
        bound=_GOOD_CHALLENGE,
        at=_AT,
        mutate=(TOKEN,),
    ),
    Case(
        name="a realm token on another platform",
        rows=(_EXAMPLE, _GOOD_CCA),
        format=cca.FORMAT,
        parts=mixed(_EXAMPLE, _GOOD_CCA),
        policy=_RD_POLICY,
        bound=_GOOD_CHALLENGE,
        at=_AT,
        refused="realm key",
    ),
    Case(
        name="Trustee's example for another nonce",
        rows=(_EXAMPLE,),
        format=cca.FORMAT,
        parts=token(_EXAMPLE),
        policy=_RD_POLICY,
        bound="00" * 64,
        at=_AT,
        refused="report data",
        found=_RD_CHALLENGE,
    ),
    Case(
        name="Trustee's example under another platform's key",
        rows=(_EXAMPLE,),
        format=cca.FORMAT,
        parts=token(_EXAMPLE),
        policy=cca_policy(_RD_INSTANCE, _VERAISON_KEY, _RD, **_RD_TABLE),
        bound=_RD_CHALLENGE,
        at=_AT,
        refused="platform signature",
    ),
    Case(
        name="Trustee's example is not the approved realm",
        rows=(_EXAMPLE,),
        format=cca.FORMAT,
        parts=token(_EXAMPLE),
        policy=cca_policy(
            _RD_INSTANCE, _TRUSTEE_KEY, _RD, **(_RD_TABLE | {"rims": f'["{"00" * 64}"]'})
        ),
        bound=_RD_CHALLENGE,
        at=_AT,
        refused="rim",
        found=_RD_RIM,
    ),
    Case(
        name="Trustee's example with another realm manager",
        rows=(_EXAMPLE,),
        format=cca.FORMAT,
        parts=token(_EXAMPLE),
        policy=_RD_POLICY.replace(_RD_VALUES["RMM"], "00" * 32),
        bound=_RD_CHALLENGE,
        at=_AT,
        refused="component 9",
        found=_RD_VALUES["RMM"],
    ),
    Case(
        name="Parsec's key attestation is another format",
        rows=(f"{_CCA}/veraison-services/scheme_parsec-cca_test_evidence_evidence.cbor",),
        format=cca.FORMAT,
        parts=token(f"{_CCA}/veraison-services/scheme_parsec-cca_test_evidence_evidence.cbor"),
        policy=_GOOD_POLICY,
        bound=_GOOD_CHALLENGE,
        at=_AT,
        refused="structure",
    ),
]
