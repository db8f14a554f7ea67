"""Read the policy `[attestation.psa]`: what a PSA root of trust and its firmware must be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedenclave.attestation.arm.claims import IMPLEMENTATION_ID_SIZE
from fedenclave.attestation.arm.components import ComponentPin, read_component_pins
from fedenclave.attestation.arm.devices import Devices, read_devices
from fedenclave.attestation.arm.psa_token import PROFILES
from fedenclave.attestation.pins import take_hexes, take_some_texts, take_texts_or_any
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

SECURE, NON_SECURE = "secure", "non-secure"
_CLIENT_ID = re.compile(r"-?[1-9][0-9]{0,9}")
TEMPLATE = """\
# psa: a PSA root of trust (TrustZone), such as Trusted Firmware-M.
[attestation.psa]
# or "http://arm.com/psa/2.0.0" or "PSA_IOT_PROFILE_1"
profiles = ["tag:psacertified.org,2023:psa#tfm"]
# of the chip, by its maker
implementation_ids = ["0000000000000000000000000000000000000000000000000000000000000000"]
# who may ask for a token: "secure", "non-secure", or client ids such as "3002" and "-1"
clients = ["secure"]
# such as "0604565272829-10010"; "absent" accepts tokens without; or ["any"]
certification_references = ["any"]
# may name "non-psa-rot-debug", "recoverable-psa-rot-debug", "unknown-claims"
exceptions = []

# Every device that may run the aggregator, with its public Initial Attestation Key, by its maker.
[[attestation.psa.devices]]
instance_id = "010000000000000000000000000000000000000000000000000000000000000000"
public_key = '''
-----BEGIN PUBLIC KEY-----
...
-----END PUBLIC KEY-----
'''

# Every component that the token reports, in its order, as `fedenclave attest inspect` shows them.
[[attestation.psa.components]]
type = "BL"  # "absent" if the component has none
values = ["0000000000000000000000000000000000000000000000000000000000000000"]
signers = ["0000000000000000000000000000000000000000000000000000000000000000"]  # or ["any"]
versions = ["any"]  # such as "1.6.0"; "absent" accepts components without
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PsaPins:
    """The policy; None stands for any."""

    profiles: tuple[str, ...]
    implementation_ids: tuple[bytes, ...]
    clients: tuple[str, ...]
    certifications: tuple[str, ...] | None
    devices: Devices
    components: tuple[ComponentPin, ...]


def read_policy(table: Table) -> PsaPins:
    """Return the pins."""
    profiles = take_some_texts(table, "profiles")
    if not set(profiles) <= set(PROFILES):
        raise ConfigurationError(f"{table.where} profiles is not of {', '.join(PROFILES)}")
    clients = take_some_texts(table, "clients")
    if not all(client in (SECURE, NON_SECURE) or _is_client_id(client) for client in clients):
        raise ConfigurationError(
            f'{table.where} clients is not of "{SECURE}", "{NON_SECURE}", and 32-bit client ids'
        )
    certifications = take_texts_or_any(table, "certification_references")
    return PsaPins(
        profiles=profiles,
        implementation_ids=take_hexes(table, "implementation_ids", sizes=(IMPLEMENTATION_ID_SIZE,)),
        clients=clients,
        certifications=certifications,
        devices=read_devices(table, "devices"),
        components=read_component_pins(table),
    )


def _is_client_id(text: str) -> bool:
    return bool(_CLIENT_ID.fullmatch(text)) and -(2**31) <= int(text) < 2**31
