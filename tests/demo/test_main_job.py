"""The main job from end to end, and its end by a signal. Slow: real deployments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tpm.swtpm import missing

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[demo]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FEDENCLAVE = [sys.executable, "-m", "fedenclave.cli"]
COMMAND = [*FEDENCLAVE, "demo", "--json"]
TPM = pytest.param("tpm", marks=pytest.mark.skipif(bool(missing()), reason=missing()))


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of running processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and f"/{os.getpid()}/" not in str(path):
            found.append(words)
    return found


@pytest.mark.parametrize("tee", [pytest.param("insecure", id="none"), TPM])
def test_four_hospitals_train_get_receipts_and_refuse_the_changed_enclave(
    tmp_path: Path, tee: str
) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--folder", str(folder), "--rounds", "2", "--tee", tee],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["holds"] is True
    assert (result["insecure"], result["tee"]) == (True, tee)
    # A software TPM is no reason to call it secure: it is said wherever a person may look.
    assert f"insecure: {result['warning']}" in done.stderr
    assert "(insecure)" in (folder / "README.txt").read_text()
    for receipts in result["receipts"].values():
        assert [receipt["round"] for receipt in receipts] == [1, 2]
        assert {receipt["verdict"] for receipt in receipts} == {"included"}
        assert {len(receipt["organisations"]) for receipt in receipts} == {4}
        assert {receipt["format"] for receipt in receipts} == {tee}
        assert {receipt["evidence_status"] for receipt in receipts} == {"warning"}
    models = {receipts[-1]["model"] for receipts in result["receipts"].values()}
    assert len(models) == 1
    assert len(result["attack"]["refusals"]) == 4
    assert all("measurement is" in refusal for refusal in result["attack"]["refusals"])
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    # T12: the app without its mod ran nowhere, and got nothing.
    shipped = result["changed_app"]
    assert set(shipped["refusals"]) == set(result["receipts"])
    assert all(
        "is not approved by this node's owner" in each for each in shipped["refusals"].values()
    )
    assert (shipped["answered"], shipped["has_run"]) == (0, False)
    assert not processes_in(folder)
    assert not list((folder / "aggregator").rglob("*.feu"))
    the_rows_lie_sealed_and_are_proved(folder)
    proof = json.loads((folder / "evidence" / "round-000002-hungary.json").read_text())
    assert (proof["format"], proof["evidence_status"]) == (tee, "warning")
    verify = [*FEDENCLAVE, "receipts", "verify", str(folder / "hospitals" / "cleveland")]
    again = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def the_rows_lie_sealed_and_are_proved(folder: Path) -> None:
    hospital = folder / "hospitals" / "cleveland"
    keys = ["--keyring", str(hospital / "keyring")]
    keys += ["--passphrase-file", str(hospital / "keyring.passphrase")]

    def data(*words: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*FEDENCLAVE, "data", *map(str, words), *keys], capture_output=True, check=False
        )

    rows = data("open", hospital / "sealed", "cleveland.csv").stdout.splitlines()
    assert len(rows) == 304
    # No row of a patient, and no part of one, is anywhere else, the logs of every program included.
    row = rows[100].removeprefix(b"cleveland,")
    for path in folder.rglob("*"):
        assert not path.is_file() or row not in path.read_bytes(), path
    proved = data("prove", hospital / "sealed", "--round", 1, "--client", hospital, "--json")
    assert proved.returncode == 0, proved.stderr
    assert json.loads(proved.stdout)["stages"] == ["read-rows", "scale-as-agreed"]
    other = folder / "hospitals" / "hungary"
    wrong = data("prove", hospital / "sealed", "--round", 1, "--client", other)
    assert wrong.returncode == 1
    assert b"other data, or another salt" in wrong.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle_ends_every_process(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "demo"
    child = subprocess.Popen(
        [*COMMAND, "--folder", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "rounds " in line:
            break
    time.sleep(15)
    assert processes_in(folder)
    child.send_signal(number)
    rest = child.stderr.read()
    assert child.wait(30) in {130, 143}
    child.stderr.close()
    assert "Traceback" not in rest
    deadline = time.monotonic() + 5
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes_in(folder)
