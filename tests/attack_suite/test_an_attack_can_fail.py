"""An attack gets through where the check that stops it is missing, and the suite says so.

Each weakening takes one check out: of a copy of the enclave, which the members accept by its own
measurement, or of the clients in this process. What takes several is in the file beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedenclave.attack_suite import t07_rollback
from fedenclave.attack_suite.changed_code import copy_of_the_enclave
from fedenclave.attack_suite.runner import Ending, setting
from fedenclave.attack_suite.world import Setting
from fedenclave.audit import receipt
from fedenclave.client import session
from fedenclave.client.chain import Head
from fedenclave.client.log_copy import Grown
from fedenclave.client.state import IssuedNonce
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence, InsecureDocument
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed
from tests.attack_suite.weakening import (
    no_check,
    played,
    see_it_get_through,
    unverified,
    weakened,
)

ADMISSION, ROUND = "enclave/admission.py", "enclave/round.py"
COLLECTED = "enclave/collected.py"
FEDERATION, MAIN = "enclave/federation_rounds.py", "enclave/__main__.py"
CHOOSE = "enclave/rules/choose.py"
OPENED = "            cipher.decrypt_into(nonce, window.sealed, None, window.plain)\n"
LEAK = "            __import__('os').write(2, bytes(window.plain[:64]))\n"
FEW = "            if len(organisations) < rules.min_cohort or too_few:\n"
OPTIMISER = "enclave/optimiser_state.py"
CLOSE = "if 0 < len(differing) < self._min_cohort:"
UNREAD = ("if not self._fingerprinter.matches(", "if None is self._fingerprinter.matches(")
COUNTED = "client in self.admitted or client in self._set_aside"
OPEN_AT_ONCE = "    (State.COLLECTING, Operation.OPEN): State.COLLECTING,\n"
STATUS = "    (State.COLLECTING, Operation.STATUS): State.COLLECTING,\n"

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
        "if len(approving) < manifest.threshold:",
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
        OPTIMISER,
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
    ("T09-too-large", ADMISSION, "if norm <= rules.max_norm:", "if True:"),
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
    ("T05-one-organisation-more", "enclave/differencing.py", CLOSE, "if False:"),
    ("T05-one-client-exchanged", "enclave/differencing.py", CLOSE, "if False:"),
    ("T06-replay-in-this-round", ROUND, "envelope.digest in self._answers", "False"),
    (
        "T06-update-for-something-else",
        ADMISSION,
        "header.base_model == announcement.base_model",
        "True",
    ),
    ("T08-base-model-swapped", "enclave/base_model.py", *UNREAD),
    ("T09-wrong-shape", ADMISSION, "file.size() != chunks_at", "file.size() < chunks_at"),
    (
        "T09-huge-against-a-median",
        CHOOSE,
        "order_statistics.median(tile, out, work)",
        "np.mean(tile, axis=0, out=out)",
    ),
    (
        "T09-too-few-for-the-rule",
        ROUND,
        FEW,
        "            if len(organisations) < rules.min_cohort:\n",
    ),
    ("T10-malformed-updates", ADMISSION, "envelope.verified_header(client.key)", "claimed"),
    ("T11-failed-pass", "enclave/base_model.py", *UNREAD),
    ("T11-out-of-order", "enclave/states.py", STATUS, STATUS + OPEN_AT_ONCE),
    (
        "T13-text-signed-back",
        ROUND,
        'checked_name(envelope.unverified_header().client, "client")',
        "envelope.unverified_header().client",
    ),
    # A place is taken by whoever comes first, and not by who is admitted.
    (
        "T15-takes-anothers-place",
        ROUND,
        f"lambda client: {COUNTED}",
        "lambda client, seen=set(): client in seen or seen.add(client)",
    ),
    ("DISTFL-client-selection", ROUND, FEW, "            if too_few:\n"),
    ("DISTFL-replay-aggregation", "enclave/differencing.py", CLOSE, "if False:"),
    (
        "DISTFL-drawn-cohort",
        "enclave/cohort_draw.py",
        "if len(available) < drawn.of_at_least:",
        "if False:",
    ),
]
QUICK = 6


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
    see_it_get_through(name, setting(weakened(tmp_path, [(file, old, new)])))


def test_the_enclave_that_is_copied_and_not_changed_stops_the_attack(tmp_path: Path) -> None:
    code = copy_of_the_enclave(tmp_path / "same")
    assert played("T06-second-update", setting(code)).ending is Ending.STOPPED


def any_model(file: bytes, _: object) -> Model:
    return Model.from_bytes(file)


def any_nonce(offer: Any, state: Any, manifest: Any, now: int) -> tuple[bytes, Digest]:
    nonces = (IssuedNonce(nonce=offer.nonce, time=now),)
    return OWN_NONCE(offer, replace(state, nonces=nonces), manifest, now)


OWN_NONCE = session.own_nonce
APPRAISE = session.appraise
SAVE = session.ClientSession._save
SEAL = session.seal_update


def any_log(state: Any, _: object, __: object) -> Grown:
    believing = replace(state, log_manifest=state.manifest)
    return Grown(state=believing, entries=b"", position=state.log_bytes)


def any_measurement(evidence: bytes, manifest: Any, *rest: Any) -> Any:
    document = Signed.from_bytes(Evidence.from_bytes(evidence).document).payload
    claimed = InsecureDocument.from_bytes(document).measurement
    accepting = replace(manifest.attestation, insecure=(claimed,))
    return APPRAISE(evidence, replace(manifest, attestation=accepting), *rest)


def no_chain(state: Any, *_: object) -> Head:
    return Head(round=state.head_round, model=state.head_model)


def forgetful(self: Any, state: Any) -> None:
    """Remember everything but what has been sealed for."""
    SAVE(self, replace(state, sealed_round=0))


def longer_by_its_examples(**update: Any) -> bytes:
    return bytes(SEAL(**update)) + bytes(update["num_examples"].bit_length())


CLIENT = [
    ("T08-own-model", session, "check_model", any_model),
    ("T01-own-round-key", session, "verify", unverified),
    ("T02-changed-line", session, "appraise", any_measurement),
    ("T02-planted-library", session, "appraise", any_measurement),
    ("T02-insecure-not-named", session, "appraise", any_measurement),
    ("T03-stale-evidence", session, "own_nonce", any_nonce),
    ("T03-another-clients-nonce", session, "own_nonce", any_nonce),
    ("T03-another-enclaves-evidence", session, "verify", unverified),
    ("T04-enclave-announces-a-small-cohort", session, "check_announcement", no_check),
    ("T06-round-offered-twice", session.ClientSession, "_save", forgetful),
    ("T07-shorter-log", session, "grown", any_log),
    ("T07-state-wound-back", session, "grown", any_log),
    ("T07-fork", t07_rollback, "contradictions", lambda receipts, now: []),
    ("T08-model-without-a-chain", session, "equal", lambda *_: True),
    ("T08-back-to-the-first-model", session, "follow_chain", no_chain),
    ("T08-trains-otherwise", session, "check_training_config", no_check),
    ("T10-malformed-offers", session, "verify", unverified),
    ("T10-malformed-deliveries", receipt, "require", no_check),
    # The app says what is reported.
    ("T13-metric-not-named", session, "reported_metrics", lambda named, _: [max(named.values())]),
    ("T13-examples-by-the-size", session, "seal_update", longer_by_its_examples),
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
    see_it_get_through(name, installed)
