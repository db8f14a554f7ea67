"""What a policy for PSA tokens must pin, and what it must not leave open."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fedenclave.attestation.arm.psa import FORMAT
from fedenclave.attestation.format import read_format_policy
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_arm import (
    COMPONENT_PINS,
    INSTANCE,
    devices,
    iak,
    psa_policy,
)
from tests.attestation.fake_cose import pem


@pytest.mark.parametrize(
    "key",
    ["profiles", "implementation_ids", "clients", "certification_references", "exceptions"],
)
def test_a_policy_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        read_policy(psa_policy(**{key: ""}))


@pytest.mark.parametrize(
    "text",
    [
        psa_policy(""),
        psa_policy().replace("[[devices]]", "[[others]]"),
        psa_policy(devices("devices") + COMPONENT_PINS),
        psa_policy().replace(INSTANCE.hex(), "02" + INSTANCE[1:].hex()),
        psa_policy().replace("BEGIN PUBLIC KEY", "BEGIN KEY"),
        psa_policy().replace('signers = ["any"]', ""),
        psa_policy().replace('versions = ["any"]', "versions = []"),
        psa_policy().replace('type = "BL"', 'type = "BL"\nmore = 1'),
        psa_policy().replace(f'values = ["{"11" * 32}"]', 'values = ["any"]'),
        psa_policy(profiles='["any"]'),
        psa_policy(profiles="[]"),
        psa_policy(implementation_ids='["any"]'),
        psa_policy(clients='["any"]'),
        psa_policy(clients='["0"]'),
        psa_policy(clients='["2147483648"]'),
        psa_policy(clients='["01"]'),
        psa_policy(clients="[3002]"),
        psa_policy(certification_references="[]"),
        psa_policy(exceptions='["decommissioned"]'),
        psa_policy(more="1"),
    ],
)
def test_a_wrong_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_policy(text)


def test_a_key_on_another_curve_is_no_device() -> None:
    for key in (ec.generate_private_key(ec.SECP256K1()), ed25519.Ed25519PrivateKey.generate()):
        text = psa_policy().replace(pem(iak().public_key()), pem(key.public_key()))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="another kind"):
            read_policy(text)


def read_policy(text: str) -> object:
    return read_format_policy(FORMAT, parse(text.encode(), "policy"))


def test_the_template_is_a_policy_once_a_key_is_filled_in() -> None:
    template = FORMAT.template
    with pytest.raises(ConfigurationError, match="public_key"):
        read_template(template)
    start = template.index("-----BEGIN")
    end = template.index("-----END PUBLIC KEY-----\n") + len("-----END PUBLIC KEY-----\n")
    read_template(template[:start] + pem(iak().public_key()) + template[end:])


def read_template(template: str) -> None:
    table = parse(template.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table("psa"))
