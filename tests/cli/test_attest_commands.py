"""`fedenclave attest`: what people and programs see of evidence, good, bad and damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fedenclave.protocol.evidence import (
    Evidence,
    EvidenceParts,
    collected_report_data,
)
from tests.attestation.fake_amd import NOW, Machine
from tests.attestation.snp_federation import POLICY, policy_with
from tests.cli.conftest import Command
from tests.cli.snp_words import AT, BOUND, verify_words, write_policy


def test_good_evidence_is_accepted_with_every_check_listed(
    machine: Path, fedenclave: Command
) -> None:
    done = fedenclave(*verify_words(machine))
    assert done.status == 0, done.err
    assert "accepted: ear.status is affirming" in done.out
    assert "FAILS" not in done.out
    for check in ("report data", "measurement", "debug", "reported tcb"):
        assert check in done.out
    result = json.loads(fedenclave(*verify_words(machine), "--json").out)
    found = result["submods"]["sev-snp"]
    assert found["ear.status"] == "affirming"
    assert set(found["ear.trustworthiness-vector"].values()) == {2}
    assert found["fedenclave.identifiers"]["measurement"] == ["aa" * 48]
    numbers = [check["number"] for check in found["fedenclave.checks"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert result["iat"] == NOW


@pytest.mark.parametrize(
    ("options", "pins", "check"),
    [
        ({"nonce": "00" * 64}, POLICY, "report data"),
        ({"nonce": "d0" * 32}, POLICY, "report data"),
        ({"at": "2036-11-25T00:00:00Z"}, POLICY, "vcek chain validity"),
        ({}, policy_with(vmpl="1"), "vmpl"),
        ({}, policy_with(measurements='["' + "ab" * 48 + '"]'), "measurement"),
    ],
)
def test_bad_evidence_is_refused_and_the_failing_check_is_named(
    machine: Path, fedenclave: Command, options: dict[str, str], pins: str, check: str
) -> None:
    write_policy(machine, pins)
    done = fedenclave(*verify_words(machine, **options))
    assert done.status == 1
    assert "refused: ear.status is contraindicated" in done.out
    assert f"error: evidence is refused: {check} is " in done.err
    assert "hint: " in done.err
    told = fedenclave(*verify_words(machine, **options), "--json")
    assert told.status == 1
    found = json.loads(told.out)["submods"]["sev-snp"]
    assert found["ear.status"] == "contraindicated"
    assert 96 in found["ear.trustworthiness-vector"].values()
    failing = [entry["name"] for entry in found["fedenclave.checks"] if not entry["holds"]]
    assert failing[0] == check
    assert "fedenclave.claims" not in found


def test_an_exception_that_the_policy_names_is_said_aloud(
    machine: Path, fedenclave: Command
) -> None:
    debugged = Machine()
    report = debugged.report(policy=0x30000 | 1 << 19)
    (machine / "report.bin").write_bytes(report)
    assert fedenclave(*verify_words(machine)).status == 1
    write_policy(machine, policy_with(exceptions='["debug"]'))
    done = fedenclave(*verify_words(machine))
    assert done.status == 0, done.err
    assert "accepted: ear.status is warning" in done.out
    assert "excepted" in done.out
    assert "the policy's exception 'debug' lets it pass" in done.err


def test_fedenclaves_own_record_is_judged_by_its_report_data(
    machine: Path, fedenclave: Command
) -> None:
    parts = {"report": Machine().report(), "certificates": Machine().der}
    record = Evidence(
        format="sev-snp", document=EvidenceParts.of(parts).to_bytes(), signing_key=bytes(32)
    )
    (machine / "evidence.cbor").write_bytes(record.to_bytes())
    words = ["attest", "verify", machine / "evidence.cbor", "--policy", machine / "policy.toml"]
    words += ["--at", AT, "--collateral", machine / "collateral"]
    assert fedenclave(*words, "--nonce", BOUND).status == 0
    assert fedenclave(*words, "--nonce", "d1" * 64).status == 1
    # A root of nonces needs the whole manifest; tables alone have no digest.
    done = fedenclave(*words, "--nonce", "d0" * 32)
    assert (done.status, "Traceback" in done.err) == (1, False)
    done = fedenclave(*words, "--nonce", "d0" * 31)
    assert (done.status, "want 32" in done.err) == (1, True)


def test_inspecting_says_that_nothing_is_verified(machine: Path, fedenclave: Command) -> None:
    report = machine / "report.bin"
    done = fedenclave("attest", "inspect", report)
    assert done.status == 0
    assert "inspected, NOT verified" in done.out
    assert "NOT verified" in done.err
    shown = json.loads(fedenclave("attest", "inspect", report, "--json").out)
    assert shown["verified"] is False
    assert shown["unverified_claims"]["measurement"] == "aa" * 48
    assert shown["parts"] == {"report": 1184}


@pytest.mark.parametrize("text", [lambda d: d.hex(), lambda d: "0x" + d.hex().upper() + "\n"])
def test_evidence_in_hex_is_recognised(machine: Path, fedenclave: Command, text: object) -> None:
    path = machine / "report.hex"
    path.write_text(text((machine / "report.bin").read_bytes()))  # type: ignore[operator]
    assert json.loads(fedenclave("attest", "inspect", path, "--json").out)["format"] == "sev-snp"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["inspect"], "no evidence is named"),
        (["inspect", "--part", "report=x"], "no evidence is named|cannot read"),
        (["inspect", "{report}", "--format", "snp"], "no evidence format 'snp'"),
        (["inspect", "{report}", "--format", "nitro"], "no format that this version knows"),
        (["inspect", "{report}", "--part", "quote={report}"], "has no part quote"),
        (["inspect", "{report}", "--part", "certificates"], "want NAME=FILE"),
        (["inspect", "{missing}"], "cannot read"),
        (["policy", "check", "{report}"], "not valid toml"),
        (["policy", "template", "--format", "x"], "no evidence format 'x'"),
        (["collateral", "list", "{missing}"], "cannot read collateral bundle"),
        (["collateral", "fetch", "--out", "{missing}"], "nothing to fetch"),
        (["collateral", "import", "--out", "{missing}", "{report}"], "cannot be imported"),
        (["tpm", "keys", "--out", "{missing}", "--device", "{missing}"], "cannot open the tpm"),
        (["tpm", "challenge", "{report}", "--ek-root", "{vcek}", "--out", "{missing}", "--secret",
          "{missing}"], "keys of the machine cannot be used"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_error_and_no_traceback(
    machine: Path, fedenclave: Command, words: list[str], match: str
) -> None:
    names = {
        "report": machine / "report.bin",
        "vcek": machine / "vcek.der",
        "missing": machine / "missing",
    }
    done = fedenclave("attest", *[word.format(**names) for word in words])
    assert done.status in (1, 2)
    assert re.search(match, done.err), done.err
    assert "Traceback" not in done.err
    assert not (machine / "missing").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"{}", b"[red]x[/red]", b"\xff" * 5000, b"e30.e30."]
)
def test_a_file_that_is_no_evidence_is_called_that(
    tmp_path: Path, fedenclave: Command, data: bytes
) -> None:
    (tmp_path / "x").write_bytes(data)
    done = fedenclave("attest", "inspect", tmp_path / "x")
    assert done.status == 1
    assert "error: " in done.err
    assert "Traceback" not in done.err


def test_collected_development_evidence_says_that_it_is_insecure(
    tmp_path: Path, fedenclave: Command
) -> None:
    out = tmp_path / "evidence.cbor"
    words = ("attest", "collect", "--tee", "insecure", "--challenge", "00ff", "--out", out)
    done = fedenclave(*words)
    assert done.status == 0, done.err
    assert "insecure: " in done.err
    shown = json.loads(fedenclave("attest", "inspect", out, "--json").out)
    bound = collected_report_data(bytes.fromhex("00ff")).hex()
    assert shown["unverified_claims"]["report-data"] == bound
    policy = tmp_path / "policy.toml"
    measured = json.loads(fedenclave("measure", "--json").out)["measurement"]
    policy.write_text(
        "[attestation]\nfreshness_seconds = 600\n[attestation.insecure]\n"
        f'measurements = ["{measured}"]\n'
    )
    judged = ("attest", "verify", out, "--policy", policy)
    assert fedenclave(*judged, "--challenge", "00ff").status == 0
    assert fedenclave(*judged, "--nonce", bound).status == 0
    assert fedenclave(*judged, "--challenge", "01").status == 1
    for wrong in ((), ("--challenge", "00", "--nonce", "00"), ("--challenge", "xx")):
        done = fedenclave(*judged, *wrong)
        assert (done.status, "hint: " in done.err or "want hex" in done.err) == (1, True)


def test_development_evidence_is_said_to_be_that_also_where_it_was_asked_for(
    tmp_path: Path, fedenclave: Command
) -> None:
    words = ("attest", "collect", "--tee", "insecure", "--challenge", "00", "--out")
    done = fedenclave(*words, tmp_path / "evidence.cbor")
    assert done.status == 0
    assert done.err == "insecure: development evidence: no hardware vouches for it\n"


def test_evidence_of_a_tee_that_is_not_there_is_an_error(
    tmp_path: Path, fedenclave: Command
) -> None:
    out = tmp_path / "evidence.cbor"
    words = ("attest", "collect", "--tee", f"nitro:{tmp_path}/nsm", "--challenge", "00", "--out")
    done = fedenclave(*words, out)
    assert done.status == 1
    assert "no evidence by tee" in done.err
    assert not out.exists()


def test_hostile_names_reach_no_terminal(machine: Path, fedenclave: Command) -> None:
    hostile = "\x1b]0;owned\x07[/x]\u202e"
    parts = EvidenceParts.of({"report": Machine().report(), hostile: b""})
    record = Evidence(format="sev-snp", document=parts.to_bytes(), signing_key=bytes(32))
    path = machine / "evidence.cbor"
    path.write_bytes(record.to_bytes())
    words = ("--policy", machine / "policy.toml", "--nonce", BOUND, "--at", AT)
    for command in (("inspect", path), ("verify", path, *words)):
        done = fedenclave("attest", *command)
        assert "Traceback" not in done.err
        for text in (done.out, done.err):
            assert "\x1b]" not in text
            assert "\u202e" not in text


def test_a_policy_without_members_is_not_taken_for_a_manifest(
    machine: Path, fedenclave: Command
) -> None:
    (machine / "list.signed").write_bytes(b"x")
    done = fedenclave(*verify_words(machine, revocations=machine / "list.signed"))
    assert done.status == 1
    assert "give the federation.toml itself" in done.err


def test_missing_parts_are_named_with_how_to_add_them(machine: Path, fedenclave: Command) -> None:
    words = ["attest", "verify", "--format", "tpm", "--part", f"quote={machine / 'report.bin'}"]
    template = fedenclave("attest", "policy", "template", "--format", "tpm").out
    (machine / "tpm.toml").write_text(template)
    done = fedenclave(*words, "--policy", machine / "tpm.toml", "--nonce", "00")
    assert done.status == 1
    assert "--part ak=FILE" in done.err


def test_all_that_fails_is_listed_at_the_end(machine: Path, fedenclave: Command) -> None:
    write_policy(machine, policy_with(vmpl="1", min_guest_svn="9"))
    done = fedenclave(*verify_words(machine))
    tail = done.out.partition("refused: ear.status is contraindicated")[2]
    assert re.findall(r"^  \d+\. ([a-z ]+): found", tail, re.MULTILINE) == ["guest svn", "vmpl"]
