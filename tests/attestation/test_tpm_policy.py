"""Format `tpm`: how a policy is written, and what is too little for one."""

from __future__ import annotations

import pytest

from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.tpm.quote_format import FORMAT
from fedenclave.enclave.tpm import counter as enclave_counter
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.signing import key_to_text, public_key
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_tpm import MEASUREMENT, MEMBERS, FakeTpm, policy


def test_the_template_reads_and_names_the_enclaves_counter() -> None:
    assert enclave_counter.NAME.hex() in FORMAT.template
    table = parse(FORMAT.template.encode(), "policy").take_table("attestation").take_table("tpm")
    assert read_format_policy(FORMAT, table).exceptions == frozenset()


ALPHA = key_to_text(public_key(MEMBERS["alpha"]))


@pytest.mark.parametrize(
    "changed",
    [
        {"aks": '["none"]'},
        {"aks": "[]"},
        {"aks": '["00"]'},
        {"activated_by": "1"},
        {"activated_by": "1", "activators": f'["{ALPHA}"]'},
        {"activators": f'["{ALPHA}"]'},
        {"ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "2", "activators": f'["{ALPHA}"]', "ek_roots": f'["{"00" * 32}"]'},
        {
            "activated_by": "2",
            "activators": f'["{ALPHA}", "{ALPHA}"]',
            "ek_roots": f'["{"00" * 32}"]',
        },
        {"activated_by": "1", "activators": "[]", "ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "1", "activators": '["alpha"]', "ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "-1"},
        {"measurements": "[]"},
        {"measurements": '["any"]'},
        {"firmware_versions": "[]"},
        {"firmware_versions": '["1"]'},
        {"secure_boot": '"off"'},
        {"secure_boot": "true"},
        {"boot_applications": "[]"},
        {"counter_name": '""'},
        {"counter_name": '"any"'},
        {"measurements": '["none"]', "pcrs": '0 = ["any"]\n'},
        {"pcrs": "\n"},
        {"pcrs": f'0 = ["{"00" * 32}"]\n16 = ["{"00" * 32}"]\n'},
        {"pcrs": f'0 = ["{"00" * 32}"]\n23 = ["{"00" * 32}"]\n'},
        {"pcrs": '24 = ["any"]\n'},
        {"pcrs": '01 = ["any"]\n'},
        {"pcrs": "0 = []\n"},
        {"pcrs": '0 = ["00"]\n'},
        {"more": 'resets = "any"'},
        {"exceptions": '["debug"]'},
        *({key: ""} for key in ("aks", "activated_by", "activators", "ek_roots", "measurements")),
        *({key: ""} for key in ("firmware_versions", "secure_boot", "boot_applications")),
        {"counter_name": ""},
    ],
    ids=lambda changed: " ".join(f"{key}={value}" for key, value in changed.items())[:50],
)
def test_a_policy_with_a_missing_unknown_or_contradictory_pin_is_refused(
    tpm: FakeTpm, changed: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError):
        read_format_policy(FORMAT, parse(policy(tpm, **changed).encode(), "policy"))


@pytest.mark.parametrize(
    "registers",
    [
        '0 = ["any"]\n',
        f'0 = ["any"]\n8 = ["{"42" * 32}"]\n9 = ["{"42" * 32}"]\n',
        f'11 = ["{"42" * 32}"]\n',
        f'4 = ["any"]\n17 = ["{"ff" * 32}"]\n',
    ],
    ids=["any value", "the boot loader's alone", "the enclave's alone", "a dynamic launch"],
)
@pytest.mark.parametrize("measurements", ['["none"]', f'["{MEASUREMENT.hex()}"]'])
def test_pins_that_software_alone_can_satisfy_are_no_policy(
    tpm: FakeTpm, registers: str, measurements: str
) -> None:
    text = policy(tpm, pcrs=registers, measurements=measurements)
    with pytest.raises(ConfigurationError, match="none of pcr 0 to 7"):
        read_format_policy(FORMAT, parse(text.encode(), "policy"))
