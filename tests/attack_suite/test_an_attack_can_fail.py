"""An attack gets through where the check that stops it is missing, and the suite says so.

Each weakening takes one check out: of a copy of the enclave, which the members accept by its own
measurement, or of the clients in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedenclave.attack_suite import t07_rollback
from fedenclave.attack_suite.changed_code import change, copy_of_the_enclave
from fedenclave.attack_suite.registry import chosen
from fedenclave.attack_suite.runner import Ending, Played, play, setting
from fedenclave.attack_suite.world import Setting
from fedenclave.client import session
from fedenclave.client.log_copy import Grown
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence, InsecureDocument
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed

ADMISSION, ROUND = "enclave/admission.py", "enclave/round.py"
COLLECTED = "enclave/collected.py"
FEDERATION, MAIN = "enclave/federation_rounds.py", "enclave/__main__.py"
OPENED = "            cipher.decrypt_into(nonce, window.sealed, None, window.plain)\n"
LEAK = "            __import__('os').write(2, bytes(window.plain[:64]))\n"
FEW = "            if len(organisations) < rules.min_cohort or too_few:\n"
OPTIMISER = "enclave/optimiser_state.py"
CLOSE = "if 0 < len(differing) < self._min_cohort:"
UNREAD = ("if not self._fingerprinter.matches(", "if None is self._fingerprinter.matches(")

# The attack; the file; the check; what is left of it.
ENCLAVE = [
    ("T06-second-update", ADMISSION, "not round_.admitted(header.client)", "True"),
    ("T04-few-updates", ROUND, FEW, "            if too_few:\n"),
    ("T05-one-organisation-less", "enclave/differencing.py", CLOSE, "if False:"),
    ("T16-same-tag", "enclave/updates.py", "if not update.fing", "if None is update.fing"),
    ("T01-read-the-disk", ADMISSION, OPENED, OPENED + LEAK),
    ("T13-rejection-tells-a-value", ADMISSION, OPENED, OPENED + LEAK),
    (
        "T04-small-cohort",
        FEDERATION,
        "if len(self.manifest.organisations(cohort)) < self.manifest.rules.min_cohort:",
        "if False:",
    ),
    (
        "T02-changed-manifest",
        "enclave/agreed.py",
        "if len(approving_members(manifest, approvals)) < manifest.threshold:",
        "if False:",
    ),
    (
        "T02-planted-cache",
        MAIN,
        "    sys.dont_write_bytecode = True\n    sys.pycache_prefix = os.devnull\n",
        "",
    ),
    ("T06-not-asked", ADMISSION, "header.client in announcement.cohort", "True"),
    ("T07-older-checkpoint", ADMISSION, "round_.knows_checkpoint(header.checkpoint)", "True"),
    (
        "T07-optimiser-rolled-back",
        "enclave/optimiser_state.py",
        "self._next_key = os.urandom(_KEY_SIZE)",
        "self._next_key = bytes(_KEY_SIZE)",
    ),
    (
        "T08-other-first-model",
        "enclave/base_model.py",
        "if not any(equal(digest, one) for one in agreed):",
        "if False:",
    ),
    ("T09-no-examples", ADMISSION, "if num_examples < 1:", "if num_examples < 0:"),
    ("T09-no-number", "enclave/norms.py", "if not math.isfinite(largest):", "if False:"),
    ("T09-too-large", "enclave/norms.py", "if largest > max_abs:", "if False:"),
    ("T09-inflated-examples", ADMISSION, "rules.weight_cap)", "9 * rules.weight_cap)"),
    (
        "T10-malformed-requests",
        "enclave/service.py",
        "        except MalformedMessage:\n            return",
        "        except KeyError:\n            return",
    ),
    ("T11-dropped-update", COLLECTED, "missing=missing", "missing=()"),
    ("T15-bad-updates", ADMISSION, "envelope.verified_header(client.key)", "claimed"),
    ("T16-too-few-left", ROUND, FEW, "            if too_few:\n"),
    ("T04-sybils", FEDERATION, "len(set(cohort)) != len(cohort) or ", ""),
    ("T05-one-client-exchanged", "enclave/differencing.py", CLOSE, "if False:"),
    ("T06-replay-in-this-round", ROUND, "envelope.digest in self._answers", "False"),
    (
        "T06-update-for-something-else",
        ADMISSION,
        "header.base_model == announcement.base_model",
        "True",
    ),
    ("T08-base-model-swapped", "enclave/base_model.py", *UNREAD),
    ("T11-failed-pass", "enclave/base_model.py", *UNREAD),
    ("DISTFL-client-selection", ROUND, FEW, "            if too_few:\n"),
    ("DISTFL-replay-aggregation", "enclave/differencing.py", CLOSE, "if False:"),
]
QUICK = 6


def played(name: str, where: Setting) -> Played:
    (attack,) = chosen([name])
    return play(attack, where)


def weakened(folder: Path, file: str, old: str, new: str) -> Path:
    """Return a copy of the enclave's code with one check taken out."""
    code = copy_of_the_enclave(folder / "weak")
    change(code, file, old, new)
    return code


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        pytest.param(*each, id=each[0], marks=[pytest.mark.slow] if n >= QUICK else [])
        for n, each in enumerate(ENCLAVE)
    ],
)
def test_attack_on_an_enclave_without_the_check_is_not_stopped(
    tmp_path: Path, name: str, file: str, old: str, new: str
) -> None:
    result = played(name, setting(weakened(tmp_path, file, old, new)))
    assert result.ending is Ending.NOT_STOPPED, (result.ending, result.why)


def test_the_enclave_that_is_copied_and_not_changed_stops_the_attack(tmp_path: Path) -> None:
    code = copy_of_the_enclave(tmp_path / "same")
    assert played("T06-second-update", setting(code)).ending is Ending.STOPPED


def no_check(*_: object, **__: object) -> None:
    """Find nothing wrong."""


def any_model(file: bytes, _: object) -> Model:
    return Model.from_bytes(file)


def unverified(cls: Any, signed: bytes, _: object) -> Any:
    return cls.from_bytes(Signed.from_bytes(signed).payload)


def any_nonce(offer: Any, state: Any, manifest: Any, now: int) -> tuple[bytes, Digest]:
    nonces = (session.IssuedNonce(nonce=offer.nonce, time=now),)
    return OWN_NONCE(offer, replace(state, nonces=nonces), manifest, now)


OWN_NONCE = session.own_nonce
APPRAISE = session.appraise


def any_log(state: Any, _: object, __: object) -> Grown:
    return Grown(state=state, entries=b"", position=state.log_bytes)


def any_measurement(evidence: bytes, manifest: Any, *rest: Any) -> Any:
    document = Signed.from_bytes(Evidence.from_bytes(evidence).document).payload
    claimed = InsecureDocument.from_bytes(document).measurement
    accepting = replace(manifest.attestation, insecure=(claimed,))
    return APPRAISE(evidence, replace(manifest, attestation=accepting), *rest)


CLIENT = [
    ("T08-own-model", session, "check_model", any_model),
    ("T07-restart", session, "check_same_enclave", no_check),
    ("T02-changed-line", session, "appraise", any_measurement),
    ("T02-planted-library", session, "appraise", any_measurement),
    ("T02-insecure-not-named", session, "appraise", any_measurement),
    ("T01-own-round-key", session, "verify", unverified),
    ("T03-stale-evidence", session, "own_nonce", any_nonce),
    ("T04-enclave-announces-a-small-cohort", session, "check_announcement", no_check),
    ("T07-shorter-log", session, "grown", any_log),
    ("T07-state-wound-back", session, "grown", any_log),
    ("T08-trains-otherwise", session, "check_training_config", no_check),
    ("T07-fork", t07_rollback, "contradictions", lambda receipts, now: []),
]


@pytest.mark.parametrize(
    ("name", "where", "check", "instead"),
    [
        pytest.param(*each, id=each[0], marks=[pytest.mark.slow] if n >= 3 else [])
        for n, each in enumerate(CLIENT)
    ],
)
def test_attack_on_clients_without_the_check_is_not_stopped(
    installed: Setting,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    where: object,
    check: str,
    instead: Callable[..., object],
) -> None:
    monkeypatch.setattr(where, check, instead)
    result = played(name, installed)
    assert result.ending is Ending.NOT_STOPPED, (result.ending, result.why)
