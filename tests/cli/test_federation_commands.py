"""Manifest and identities: what is made, what is refused, and that refusals change nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from fedenclave.client.folder import ClientFolder
from fedenclave.protocol.errors import ConfigurationError
from tests.cli.conftest import BANKS, Command, init_words


def test_keys_are_readable_by_their_owner_only(enrolled: Path) -> None:
    for name in ("client.key", "member.key"):
        assert stat.S_IMODE((enrolled / "alpha" / name).stat().st_mode) == 0o600


def test_enrolment_holds_public_keys_only(enrolled: Path) -> None:
    text = (enrolled / "alpha" / "enrolment.json").read_text()
    assert set(json.loads(text)) == {"client", "member", "client_key", "member_key"}
    assert "PRIVATE" not in text


def test_enrolling_twice_changes_nothing(enrolled: Path, fedenclave: Command) -> None:
    before = (enrolled / "alpha" / "client.key").read_bytes()
    done = fedenclave("client", "enroll", "--dir", enrolled / "alpha", "--organisation", "other")
    assert done.status == 1
    assert "holds a client already" in done.err
    assert (enrolled / "alpha" / "client.key").read_bytes() == before


def test_approved_federation_opens_a_session_for_every_bank(federation: Path) -> None:
    for bank in BANKS:
        assert ClientFolder(federation / bank).session().manifest.name == "banks"


def test_show_tells_who_approved(federation: Path, fedenclave: Command) -> None:
    (federation / "shared").mkdir()
    for bank in BANKS[:2]:
        approval = federation / bank / "approvals" / f"{bank}.approval"
        (federation / "shared" / approval.name).write_bytes(approval.read_bytes())
    manifest, shared = federation / "federation.toml", federation / "shared"
    done = fedenclave("federation", "show", manifest, "--approvals", shared, "--json")
    assert done.status == 0
    facts = json.loads(done.out)
    assert facts["approved_by"] == ["alpha", "beta"]
    assert facts["approvals"] == "2 of 3, 3 needed"


def test_manifest_changed_after_approval_is_refused_by_its_owner(federation: Path) -> None:
    manifest = federation / "alpha" / "federation.toml"
    manifest.write_bytes(manifest.read_bytes().replace(b"min_cohort = 3", b"min_cohort = 2"))
    with pytest.raises(ConfigurationError, match="not approved by alpha, this client's owner"):
        ClientFolder(federation / "alpha").session()


def test_approval_of_another_manifest_is_not_kept(
    federation: Path, fedenclave: Command, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    words = init_words(federation, min_cohort=2)
    words[words.index("--out") + 1] = tmp_path / "elsewhere"
    assert fedenclave(*words).status == 0
    other = tmp_path / "elsewhere" / "federation.toml"
    before = (federation / "alpha" / "approvals" / "alpha.approval").read_bytes()
    folder = ClientFolder(federation / "beta")
    kept = (folder.path / "federation.toml").read_bytes()
    done = fedenclave("federation", "approve", other, "--dir", federation / "beta", "--replace")
    assert done.status == 0
    assert (folder.path / "federation.toml").read_bytes() != kept
    stray = federation / "beta" / "approvals" / "beta.approval"
    done = fedenclave("client", "add-approvals", "--dir", federation / "alpha", stray)
    assert done.status == 1
    assert "is no member's approval of the manifest" in done.err
    assert (federation / "alpha" / "approvals" / "alpha.approval").read_bytes() == before


def test_key_that_others_can_read_is_refused(federation: Path) -> None:
    (federation / "alpha" / "client.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="has mode 0644, want 0600") as refused:
        ClientFolder(federation / "alpha").session()
    assert "chmod 600" in refused.value.hint


def test_truncated_key_is_refused(federation: Path) -> None:
    path = federation / "alpha" / "client.key"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigurationError, match="not a private key in PEM"):
        ClientFolder(federation / "alpha").session()


def test_a_damaged_state_can_be_set_aside_by_its_owner(
    federation: Path, fedenclave: Command
) -> None:
    state = federation / "alpha" / "state.cbor"
    state.write_bytes(b"damaged")
    done = fedenclave("client", "forget-chain", "--dir", federation / "alpha", "--yes")
    assert done.status == 0, done.err
    assert "warning: client state is damaged: " in done.err
    assert not state.exists()
    (kept,) = (federation / "alpha").glob("state-*.cbor")
    assert kept.read_bytes() == b"damaged"


def test_damaged_client_state_is_refused_and_kept(federation: Path) -> None:
    state = federation / "alpha" / "state.cbor"
    state.write_bytes(b"\xa1garbage")
    with pytest.raises(ConfigurationError, match="client state is damaged"):
        ClientFolder(federation / "alpha").session()
    assert state.read_bytes() == b"\xa1garbage"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("min_cohort", 4, "min_cohort is 4, want at most 3"),
        ("min_cohort", 1, "min_cohort is 1, want 2 to"),
        ("threshold", 9, "threshold is 9, want at most 3"),
        ("max_abs", "nan", "max_abs"),
        ("over_norm", "ignore", "want 'reject' or 'clip'"),
        ("insecure_measurement", "abc", "want sha256: and 64 hex digits"),
    ],
)
def test_rules_that_cannot_hold_write_nothing(
    enrolled: Path, fedenclave: Command, option: str, value: object, message: str
) -> None:
    done = fedenclave(*init_words(enrolled, **{option: value}))
    assert done.status == 1
    assert message in done.err
    assert not (enrolled / "federation.toml").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"FEM1\x00\x00\xff\xff", b"PK\x03\x04half"])
def test_unusable_model_file_is_an_error_with_a_hint(
    enrolled: Path, fedenclave: Command, content: bytes
) -> None:
    (enrolled / "bad.npz").write_bytes(content)
    done = fedenclave(*init_words(enrolled, model=enrolled / "bad.npz"))
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert "hint: " in done.err


def test_an_array_of_no_number_is_named(enrolled: Path, fedenclave: Command) -> None:
    np.savez(enrolled / "ints.npz", steps=np.zeros(3, np.bool_))
    done = fedenclave(*init_words(enrolled, model=enrolled / "ints.npz"))
    assert done.status == 1
    assert "tensor steps is bool, want one of float32, float16" in done.err


def test_two_keys_for_one_organisation_are_refused(enrolled: Path, fedenclave: Command) -> None:
    fedenclave("client", "enroll", "--dir", enrolled / "fake", "--organisation", "alpha")
    words = [*init_words(enrolled), "--enrolment", enrolled / "fake" / "enrolment.json"]
    done = fedenclave(*words)
    assert done.status == 1
    assert "alpha comes with two different keys" in done.err


@pytest.mark.parametrize("words", [["federation"], ["client", "enroll"], ["no-such-command"]])
def test_wrong_usage_ends_with_two(fedenclave: Command, words: list[str]) -> None:
    assert fedenclave(*words).status == 2


def test_measure_names_every_measured_file(fedenclave: Command) -> None:
    report = json.loads(fedenclave("measure", "--json").out)
    assert "enclave/admission.py" in report["files"]
    assert set(report["versions"]) == {"python", "numpy", "cryptography", "cbor2"}
    assert fedenclave("measure").out.strip() == report["measurement"]


def test_dry_run_tells_what_leaves_and_what_does_not(federation: Path, fedenclave: Command) -> None:
    model = federation / "first-model.fem"
    done = fedenclave(
        "client", "dry-run", "--dir", federation / "alpha", "--model", model, "--json"
    )
    assert done.status == 0
    shown = json.loads(done.out)
    assert "8 numbers in 2 tensors" in shown["sealed_to_the_attested_enclave"][0]
    assert "at least 3 organisations of alpha, beta, gamma" in shown["averaged_with"]
    assert shown["differential_privacy"].startswith("off")
    assert not list((federation / "alpha" / "receipts").iterdir())
    assert not (federation / "alpha" / "state.cbor").exists()


def test_approving_another_manifest_keeps_the_running_one(
    federation: Path, fedenclave: Command, tmp_path: Path
) -> None:
    words = init_words(federation, min_cohort=2)
    words[words.index("--out") + 1] = tmp_path / "second"
    (tmp_path / "second").mkdir()
    assert fedenclave(*words).status == 0
    other, folder = tmp_path / "second" / "federation.toml", federation / "alpha"
    before = (folder / "federation.toml").read_bytes()
    done = fedenclave("federation", "approve", other, "--dir", folder)
    assert done.status == 1
    assert "runs under another manifest already" in done.err
    assert (folder / "federation.toml").read_bytes() == before
    (folder / "revocations.signed").write_bytes(b"by the members of the first")
    assert fedenclave("federation", "approve", other, "--dir", folder, "--replace").status == 0
    (aside,) = folder.glob("replaced-*/federation.toml")
    assert aside.read_bytes() == before
    # A list of the other members' would be in the way of every round and of every newer list.
    assert aside.with_name("revocations.signed").exists()
    assert not (folder / "revocations.signed").exists()


def test_init_never_writes_over_a_manifest(federation: Path, fedenclave: Command) -> None:
    before = (federation / "federation.toml").read_bytes()
    done = fedenclave(*init_words(federation, min_cohort=2))
    assert done.status == 1
    assert "exists already" in done.err
    assert (federation / "federation.toml").read_bytes() == before


def test_first_model_with_a_nan_is_refused(enrolled: Path, fedenclave: Command) -> None:
    np.savez(enrolled / "nan.npz", w=np.array([1, np.nan], np.float32))
    done = fedenclave(*init_words(enrolled, model=enrolled / "nan.npz"))
    assert done.status == 1
    assert "a NaN or an infinity" in done.err


def test_single_array_file_is_refused_without_a_traceback(
    enrolled: Path, fedenclave: Command
) -> None:
    np.save(enrolled / "one.npy", np.zeros(3, np.float32))
    done = fedenclave(*init_words(enrolled, model=enrolled / "one.npy"))
    assert done.status == 1
    assert "neither an .npz archive nor a model file" in done.err


def test_show_says_that_approvals_are_of_other_bytes(federation: Path, fedenclave: Command) -> None:
    manifest = federation / "federation.toml"
    edited = manifest.read_bytes().replace(b"min_cohort = 3", b"min_cohort = 2")
    manifest.write_bytes(edited)
    approvals = federation / "alpha" / "approvals"
    done = fedenclave("federation", "show", manifest, "--approvals", approvals, "--json")
    assert json.loads(done.out)["approved_by"] == []
    assert "no approval of exactly this file: alpha.approval, beta.approval" in " ".join(
        done.err.split()
    )


def test_version_is_an_option_too(fedenclave: Command) -> None:
    assert fedenclave("--version") == fedenclave("version")


def test_misspelt_rule_is_said_to_be_missing(federation: Path, fedenclave: Command) -> None:
    manifest = federation / "federation.toml"
    manifest.write_bytes(manifest.read_bytes().replace(b"max_abs =", b"max_abz ="))
    done = fedenclave("federation", "show", manifest)
    assert done.status == 1
    assert "has no max_abs, want a number from" in " ".join(done.err.split())
    assert "is it misspelt?" in done.err


def test_paths_print_as_they_are(enrolled: Path, fedenclave: Command) -> None:
    out = enrolled / "[bold] and [/red]"
    out.mkdir(parents=True)
    words = init_words(enrolled)
    words[words.index("--out") + 1] = out
    done = fedenclave(*words)
    assert f"wrote {out / 'federation.toml'} and {out / 'first-model.fem'}" in done.out
    client = out / "[x] bank"
    done = fedenclave("client", "enroll", "--dir", client, "--organisation", "delta")
    assert f"keys made in {client} (mode 0600)" in done.out
    manifest = out / "federation.toml"
    moved = (enrolled / "alpha").rename(out / "[alpha]")
    done = fedenclave("federation", "approve", manifest, "--dir", moved)
    assert f"members: {moved / 'approvals' / 'alpha.approval'}" in done.out


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("freshness_seconds", 600, "say freshness_seconds under"),
        ("insecure_measurement", "0" * 64, "put [attestation.insecure] into the file"),
    ],
)
def test_what_the_attestation_file_says_cannot_be_said_beside_it(
    enrolled: Path, fedenclave: Command, option: str, value: object, hint: str
) -> None:
    policy = enrolled / "policy.toml"
    policy.write_text("")
    done = fedenclave(*init_words(enrolled, attestation=policy, **{option: value}))
    assert done.status == 1
    named = f"--{option.replace('_', '-')}"
    assert f"both --attestation and {named} are given, want one of them" in done.err
    assert hint in done.err
    assert not (enrolled / "federation.toml").exists()
