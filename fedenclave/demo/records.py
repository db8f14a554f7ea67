"""What the demonstration leaves behind to look at: evidence as files, and a guide to the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedenclave.audit.folder import JudgedFile
from fedenclave.audit.receipt import VerifiedReceipt, summary
from fedenclave.demo.tee import WORDS, Tee
from fedenclave.protocol.exchange import Receipt

_GUIDE = """What is in this folder

federation.toml        the rules that all four hospitals approved
approvals/             their signed approvals
first-model.fem, .npz  the model that everybody agreed to start from
hospitals/NAME/        what a hospital has on its own machine: keys, receipts, newest model; its
                       patients' rows sealed (sealed/, under keyring), and what stands for them in
                       the log (lineage/); the app it approved (apps/), node.toml, logs/node.log.
                       The keyring's passphrase lies beside it only here: keep it elsewhere
evidence/              the enclave's evidence, round by round, and what the receipts prove, as JSON
models/                the released models, round by round
aggregator/            what the operator has: models, logs; ciphertext only while it runs
changed-app/           the app without its mod that the operator shipped, and what it got: refusals
swapped-code/          the enclave's code with the operator's added line, and
swapped-aggregator/    what that got: no update (its models are the agreed first one)
flower/                logs of the SuperLink, of the hospitals' commands, and of the runs
{folder}results.json, .png     local, federated and pooled models compared

The logs of SuperNodes may end with a traceback of Flower's own: that is how it is told to end.

Try, with the environment of the demonstration active (make demo: . .venv/bin/activate):
  fedenclave receipts verify hospitals/cleveland
  fedenclave federation show federation.toml --approvals approvals
  fedenclave client dry-run --dir hospitals/cleveland
  cd hospitals/cleveland
  export FEDENCLAVE_KEYRING=keyring FEDENCLAVE_PASSPHRASE_FILE=keyring.passphrase
  fedenclave data open sealed
  fedenclave data prove sealed --round 1 --client .
{command}Then change one byte of a receipt, or of sealed/body-*, and verify or prove again.

{ending}"""


def proof(verified: VerifiedReceipt) -> dict[str, object]:
    """Return what a receipt proves, and how its evidence was judged, for JSON."""
    return {**summary(verified), "evidence_status": verified.attestation.status.value}


def write_evidence(folder: Path, receipts: Mapping[str, Sequence[JudgedFile]], tee: Tee) -> None:
    """Write each round's evidence, what each receipt proves, and the guide to the folder."""
    write_proofs(folder, receipts)
    words = WORDS[tee]
    guide = _GUIDE.format(folder=words.folder, command=words.command, ending=words.ending)
    (folder / "README.txt").write_text(guide)


def write_proofs(folder: Path, receipts: Mapping[str, Sequence[JudgedFile]]) -> None:
    """Write each round's evidence and what each receipt proves into `folder`/evidence."""
    target = folder / "evidence"
    target.mkdir(exist_ok=True)
    for name, files in receipts.items():
        for file in files:
            if file.verified is None:
                continue
            receipt = Receipt.from_bytes(file.path.read_bytes())
            round_ = f"round-{file.verified.round:06d}"
            (target / f"{round_}.evidence").write_bytes(receipt.participation.evidence)
            text = json.dumps(proof(file.verified), indent=2)
            (target / f"{round_}-{name}.json").write_text(text + "\n")
