"""Read the policy `[attestation.cca]`: what a CCA platform and the realm on it must be."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from fedenclave.attestation.arm.cca_token import (
    EXTENSIBLE,
    LFA_POLICIES,
    MAX_CONFIG,
    MEC_POLICIES,
    PERSONALIZATION_SIZE,
    PLATFORM_PROFILES,
    REALM_PROFILES,
)
from fedenclave.attestation.arm.claims import HASH_SIZES, IMPLEMENTATION_ID_SIZE
from fedenclave.attestation.arm.components import ABSENT, ComponentPin, read_component_pins
from fedenclave.attestation.arm.devices import Devices, read_devices
from fedenclave.attestation.pins import (
    take_hexes,
    take_hexes_or_any,
    take_some_texts,
    take_texts_or_any,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

_HASH_NAMES = ("sha-256", "sha-384", "sha-512")
_CONFIG = re.compile(rf"(?:[0-9a-f]{{2}}){{1,{MAX_CONFIG}}}")
TEMPLATE = """\
# cca: a realm of Arm's Confidential Compute Architecture.
[attestation.cca]
# or "http://arm.com/CCA-SSD/1.0.0" or "tag:arm.com,2024:cca_platform#2.0.0"
platform_profiles = ["tag:arm.com,2023:cca_platform#1.0.0"]
# or "tag:arm.com,2024:realm#2.0.0"; "absent" accepts realm tokens without
realm_profiles = ["tag:arm.com,2023:realm#1.0.0"]
# of the platform, by its maker
implementation_ids = ["0000000000000000000000000000000000000000000000000000000000000000"]
# the maker's system properties (memory encryption, integrity), hex of any length; or ["any"]
platform_configs = ["00000000"]
platform_hash_algorithms = ["sha-256"]  # made the components' measurements
realm_hash_algorithms = ["sha-256"]  # made RIM and REM
# Realm Initial Measurement: 64, 96 or 128 hex digits, by the tool that builds the realm
rims = ["0000000000000000000000000000000000000000000000000000000000000000"]
# Realm Extensible Measurements: what the realm measured after its start; or ["any"]
rem0 = ["0000000000000000000000000000000000000000000000000000000000000000"]
rem1 = ["0000000000000000000000000000000000000000000000000000000000000000"]
rem2 = ["0000000000000000000000000000000000000000000000000000000000000000"]
rem3 = ["0000000000000000000000000000000000000000000000000000000000000000"]
# Realm Personalization Values that the host gave at the start, 128 hex digits; or ["any"]
rpvs = ["any"]
mec_policies = ["absent"]  # memory encryption of profile 2.0.0: "private", "shared"; or ["any"]
lfa_policies = ["absent"]  # live firmware activation of 2.0.0: "disallow", "allow"; or ["any"]
# may name "non-platform-rot-debug", "recoverable-platform-rot-debug", "unknown-claims"
exceptions = []

# Every platform that may run the realm, with its public CCA Platform Attestation Key, by its maker.
[[attestation.cca.platforms]]
instance_id = "010000000000000000000000000000000000000000000000000000000000000000"
public_key = '''
-----BEGIN PUBLIC KEY-----
...
-----END PUBLIC KEY-----
'''

# Every component of the platform, in its order, as `fedenclave attest inspect` shows them.
[[attestation.cca.components]]
type = "RMM"  # "absent" if the component has none
values = ["0000000000000000000000000000000000000000000000000000000000000000"]
signers = ["0000000000000000000000000000000000000000000000000000000000000000"]  # or ["any"]
versions = ["any"]  # "absent" accepts components without
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CcaPins:
    """The policy; None stands for any."""

    platform_profiles: tuple[str, ...]
    realm_profiles: tuple[str, ...]
    implementation_ids: tuple[bytes, ...]
    platform_configs: tuple[bytes, ...] | None
    platform_hash_algorithms: tuple[str, ...]
    realm_hash_algorithms: tuple[str, ...]
    rims: tuple[bytes, ...]
    rems: tuple[tuple[bytes, ...] | None, ...]
    personalization_values: tuple[bytes, ...] | None
    mec_policies: tuple[str, ...] | None
    lfa_policies: tuple[str, ...] | None
    platforms: Devices
    components: tuple[ComponentPin, ...]


def read_policy(table: Table) -> CcaPins:
    """Return the pins."""
    return CcaPins(
        platform_profiles=_take_of(table, "platform_profiles", PLATFORM_PROFILES),
        realm_profiles=_take_of(table, "realm_profiles", REALM_PROFILES),
        implementation_ids=take_hexes(table, "implementation_ids", sizes=(IMPLEMENTATION_ID_SIZE,)),
        platform_configs=_take_configs(table, "platform_configs"),
        platform_hash_algorithms=_take_of(table, "platform_hash_algorithms", _HASH_NAMES),
        realm_hash_algorithms=_take_of(table, "realm_hash_algorithms", _HASH_NAMES),
        rims=take_hexes(table, "rims", sizes=HASH_SIZES),
        rems=tuple(
            take_hexes_or_any(table, f"rem{index}", sizes=HASH_SIZES) for index in range(EXTENSIBLE)
        ),
        personalization_values=take_hexes_or_any(table, "rpvs", sizes=(PERSONALIZATION_SIZE,)),
        mec_policies=_take_of_or_any(table, "mec_policies", (ABSENT, *MEC_POLICIES)),
        lfa_policies=_take_of_or_any(table, "lfa_policies", (ABSENT, *LFA_POLICIES)),
        platforms=read_devices(table, "platforms"),
        components=read_component_pins(table),
    )


def _take_of(table: Table, key: str, choices: Collection[str]) -> tuple[str, ...]:
    return _of(table, key, take_some_texts(table, key), choices)


def _of(
    table: Table, key: str, texts: tuple[str, ...], choices: Collection[str]
) -> tuple[str, ...]:
    if not set(texts) <= set(choices):
        raise ConfigurationError(f"{table.where} {key} is not of {', '.join(choices)}")
    return texts


def _take_of_or_any(table: Table, key: str, choices: Collection[str]) -> tuple[str, ...] | None:
    texts = take_texts_or_any(table, key)
    return None if texts is None else _of(table, key, texts, choices)


def _take_configs(table: Table, key: str) -> tuple[bytes, ...] | None:
    texts = take_texts_or_any(table, key)
    if texts is None:
        return None
    if not all(_CONFIG.fullmatch(text) for text in texts):
        raise ConfigurationError(
            f'{table.where} {key} is not of lower-case hex digits, or ["any"] to accept all'
        )
    return tuple(map(bytes.fromhex, texts))
