"""`fedenclave attest policy`, and the policies that become part of a manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fedenclave.protocol.evidence import (
    HARDWARE_FORMATS,
)
from tests.attestation.snp_federation import POLICY, policy_with
from tests.cli.conftest import BANKS, Command, init_words
from tests.cli.snp_words import write_policy


@pytest.mark.parametrize("name", ["insecure", *HARDWARE_FORMATS, "nvidia-gpu"])
def test_every_format_has_a_template_that_can_be_filled_in(
    tmp_path: Path, fedenclave: Command, name: str
) -> None:
    done = fedenclave("attest", "policy", "template", "--format", name)
    assert done.status == 0
    assert f"[attestation.{name}]" in done.out
    text = done.out.replace("sha256:...", "sha256:" + "00" * 32)
    if name == "insecure":
        text = re.sub(r"^(collateral_max_age|revocations).*\n", "", text, flags=re.MULTILINE)
    (tmp_path / "policy.toml").write_text(text)
    checked = fedenclave("attest", "policy", "check", tmp_path / "policy.toml")
    if name in ("psa", "cca"):
        # A placeholder that were a real key would be one with which anybody could sign.
        assert "public_key" in checked.err
        return
    assert checked.status == 0, checked.err
    assert f"accepts: {name}" in checked.out


def test_several_formats_in_one_policy(tmp_path: Path, fedenclave: Command) -> None:
    words = ["--format", "sev-snp", "--format", "nitro", "--format", "tpm"]
    done = fedenclave("attest", "policy", "template", *words)
    (tmp_path / "policy.toml").write_text(done.out)
    checked = fedenclave("attest", "policy", "check", tmp_path / "policy.toml")
    assert "nitro, sev-snp, tpm" in checked.out


def test_a_manifest_is_made_with_a_tees_policy_and_shows_it(
    machine: Path, enrolled: Path, fedenclave: Command
) -> None:
    done = fedenclave(*init_words(enrolled, attestation=machine / "policy.toml"))
    assert done.status == 0, done.err
    assert "insecure" not in done.err
    shown = json.loads(fedenclave("federation", "show", enrolled / "federation.toml", "--json").out)
    assert shown["accepted_evidence"] == ["sev-snp"]
    assert shown["pins"]["sev-snp"]["vmpl"] == 0
    for bank in BANKS:
        words = ("federation", "approve", enrolled / "federation.toml", "--dir", enrolled / bank)
        assert fedenclave(*words).status == 0


def test_a_policy_with_a_wrong_pin_is_refused_before_a_manifest_is_written(
    machine: Path, enrolled: Path, fedenclave: Command
) -> None:
    write_policy(machine, policy_with(vmpl="7"))
    done = fedenclave(*init_words(enrolled, attestation=machine / "policy.toml"))
    assert done.status == 1
    assert "vmpl is 7" in done.err
    assert not (enrolled / "federation.toml").exists()


def test_a_policy_file_brings_no_members_of_its_own(
    machine: Path, enrolled: Path, fedenclave: Command
) -> None:
    sybil = '\n[[members]]\nname = "sybil"\nkey = "ed25519:AAAA"\n'
    path = machine / "policy.toml"
    path.write_text(path.read_text() + sybil)
    done = fedenclave(*init_words(enrolled, attestation=path))
    assert done.status == 1
    assert "holds members besides [attestation]" in done.err
    assert not (enrolled / "federation.toml").exists()


def test_a_policy_files_comment_becomes_no_line_of_the_manifest(
    machine: Path, enrolled: Path, fedenclave: Command
) -> None:
    path = machine / "policy.toml"
    # A line break to Python, and none to TOML: it may stand in a comment.
    for separator in ("\u2028", "\u2029", "\u0085"):
        sybil = separator.join(["# harmless", "[[members]]", 'name = "sybil"'])
        write_policy(machine, POLICY)
        path.write_text(path.read_text() + sybil + "\n")
        done = fedenclave(*init_words(enrolled, attestation=path))
        assert done.status == 1
        assert "characters that do not print" in done.err
        assert not (enrolled / "federation.toml").exists()


def test_a_manifest_cannot_hide_pins_from_who_reviews_it(
    machine: Path, enrolled: Path, fedenclave: Command
) -> None:
    write_policy(machine, policy_with(csp_ids='["CN=x[conceal][/b]"]', exceptions='["debug"]'))
    assert fedenclave(*init_words(enrolled, attestation=machine / "policy.toml")).status == 0
    done = fedenclave("federation", "show", enrolled / "federation.toml")
    assert done.status == 0, done.err
    assert "[conceal][/b]" in done.out.replace("\n", "")
    assert "[attestation.sev-snp] lets pass: debug" in done.err


def test_pins_that_nobody_filled_in_are_pointed_out(tmp_path: Path, fedenclave: Command) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(fedenclave("attest", "policy", "template", "--format", "sgx").out)
    done = fedenclave("attest", "policy", "check", path)
    assert done.status == 0
    assert "zeros are pinned, as in a template: attestation.sgx." in done.err
    write_policy(tmp_path, policy_with(id_key_digests='["any"]', author_key_digests='["any"]'))
    path.write_text(path.read_text().replace("0" * 16 + '"', "0" * 15 + '1"'))
    assert "zeros" not in fedenclave("attest", "policy", "check", path).err


def test_lines_of_a_review_are_lines(federation: Path, fedenclave: Command) -> None:
    done = fedenclave("client", "dry-run", "--dir", federation / "alpha", "--model",
                      federation / "first-model.fem")  # fmt: skip
    assert done.status == 0, done.err
    assert "\\n" not in done.out
    assert "\\n" not in fedenclave("federation", "show", federation / "federation.toml").out


def test_a_cpus_policy_can_ask_for_gpus_beside_it(tmp_path: Path, fedenclave: Command) -> None:
    done = fedenclave("attest", "policy", "template", "--format", "sev-snp", "--gpu")
    assert done.status == 0
    assert "[attestation.sev-snp.gpu]" in done.out
    (tmp_path / "policy.toml").write_text(done.out)
    checked = fedenclave("attest", "policy", "check", tmp_path / "policy.toml")
    assert checked.status == 0, checked.err
