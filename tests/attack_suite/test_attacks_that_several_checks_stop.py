"""An attack that several checks stop, one behind the other, gets through without all of them.

Each entry says what had to go: of the enclave's code, of the clients in this process, or of both.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import fedenclave
from fedenclave.attack_suite import ATTACKS, enclave_socket
from fedenclave.attack_suite.changed_code import change
from fedenclave.attack_suite.runner import Ending, setting
from fedenclave.attack_suite.world import Setting
from fedenclave.audit import receipt, shared_parts
from fedenclave.client import session
from fedenclave.protocol import sealing
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.statements import Checkpoint
from tests.attack_suite.test_an_attack_can_fail import ADMISSION, CLIENT, ENCLAVE, ROUND, any_log
from tests.attack_suite.test_an_attack_can_fail import OPENED as DECRYPTED
from tests.attack_suite.weakening import (
    Change,
    Patch,
    no_check,
    played,
    see_it_get_through,
    weakened,
)

FIXED_POINT, JOURNAL = "enclave/fixed_point.py", "enclave/journal.py"
HARDENING, NORMS, UPDATES = "enclave/hardening.py", "enclave/norms.py", "enclave/updates.py"
FRAMES, HPKE = "enclave/frame_socket.py", "protocol/hpke.py"

ANY_ROUND = (ADMISSION, "header.round == announcement.round", "True")
ANY_ANNOUNCEMENT = (ADMISSION, "header.announcement == round_.announcement_digest", "True")
ANY_MANIFEST = (ADMISSION, "header.manifest == manifest.digest", "True")
ANY_BASE = (ADMISSION, "header.base_model == announcement.base_model", "True")
ANY_CHECKPOINT = (ADMISSION, "round_.knows_checkpoint(header.checkpoint)", "True")
ANY_NORM = (ADMISSION, "if norm <= rules.max_norm:", "if True:")
ONE_ROUND_KEY = (ROUND, "RoundKey(manifest.suite)\n", "RoundKey(manifest.suite, bytes(96))\n")
"""The same in every round, and after a restart."""

READ = (
    ADMISSION,
    DECRYPTED,
    DECRYPTED
    + "            vars(norms).update({} if index else {'seen': bytes(window.plain[:32])})\n",
)
TOLD = (
    ROUND,
    "update=opened.digest,\n            data=",
    "update=__import__('sys').modules['fedenclave.enclave.norms'].seen,\n            data=",
)
FLOATS = [
    (
        "enclave/aggregation.py",
        "sorted(updates, key=lambda update: update.client)",
        "list(updates)",
    ),
    (FIXED_POINT, "    np.add(work, ROUNDER, out=work)\n", "    total = total.view(np.float64)\n"),
    (
        FIXED_POINT,
        "np.add(total, work.view(np.int64), out=total)",
        "total[:] = (total + work).astype(np.float32)",
    ),
    (FIXED_POINT, "surplus = (count * _ROUNDER_BITS) % 2**64", "surplus = 0"),
    (FIXED_POINT, "np.multiply(total, math", "np.multiply(total.view(np.float64), math"),
]
GCM = "self._ciphers[number].decrypt_into(nonce, sealed, None, plain)"
CTR = """from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        start = modes.CTR(nonce + (2).to_bytes(4, "big"))
        cipher = Cipher(algorithms.AES(bytes(update.content_key)), start).decryptor()
        plain[:] = cipher.update(bytes(sealed[:-16]))"""
"""The same decryption, but for its tag."""


def any_subtrees(*_: object) -> Checkpoint:
    return Checkpoint(size=0, root=Digest(bytes(32)))


FIRST_TIME = [
    (session, "check_same_enclave", no_check),
    (session, "check_announcement", no_check),
    (session, "grown", any_log),
]
"""Clients that remember no enclave, no round that they have sealed for, and no log."""

# The attack; what is gone then; what that is in the enclave; what in the clients.
TOGETHER: list[tuple[str, str, Sequence[Change], Sequence[Patch]]] = [
    (
        "T02-amended-manifest",
        "members of before approve it, and members of after do",
        [
            (
                "enclave/agreed.py",
                "if len(approving) < manifest.threshold:",
                "if False:",
            ),
            (
                "enclave/amendment.py",
                "if len(letting) < before.threshold:",
                "if False:",
            ),
        ],
        [],
    ),
    (
        "T08-two-announcements",
        "an update names round and announcement, and each round has a key of its own",
        [ANY_ROUND, ANY_ANNOUNCEMENT, ONE_ROUND_KEY],
        [],
    ),
    (
        "T09-no-number",
        "every chunk is finite, and so is the norm of the whole",
        [(NORMS, "if not math.isfinite(largest):", "if False:"), ANY_NORM],
        [],
    ),
    (
        "T16-other-bytes",
        "a chunk has the fingerprint, and the tag, of when it was judged",
        [(UPDATES, "if not update.fing", "if None is update.fing"), (UPDATES, GCM, CTR)],
        [],
    ),
    (
        "T01-read-the-messages",
        "nothing takes note of a plaintext, and an answer holds the update's digest",
        [READ, TOLD],
        [],
    ),
    (
        "T06-replay-from-an-earlier-round",
        "an update names round, announcement and base model, and each round has its own key",
        [ANY_ROUND, ANY_ANNOUNCEMENT, ANY_BASE, ONE_ROUND_KEY],
        [],
    ),
    (
        "T06-moved-key",
        "one check that both ends make: the header is bound into the wrapping",
        [(HPKE, 'v1\\x00" + header', 'v1\\x00"')],
        [(sealing, "update_info", lambda _: b"fedenclave/update/v1\0")],
    ),
    (
        "T06-from-another-federation",
        "an update names manifest, announcement and checkpoint, and each round has its own key",
        [ANY_MANIFEST, ANY_ANNOUNCEMENT, ANY_CHECKPOINT, ONE_ROUND_KEY],
        [],
    ),
    (
        "T07-old-updates",
        "an update names announcement and checkpoint, and a restart makes another round key",
        [ANY_ANNOUNCEMENT, ANY_CHECKPOINT, ONE_ROUND_KEY],
        [],
    ),
    (
        "DISTFL-rollback",
        "the same",
        [ANY_ANNOUNCEMENT, ANY_CHECKPOINT, ONE_ROUND_KEY],
        [],
    ),
    (
        "T07-restart",
        "a client knows its enclave, the rounds it sealed for, the log, and the newest model",
        [],
        [*FIRST_TIME, (session, "equal", lambda *_: True)],
    ),
    (
        "T11-killed-enclave",
        "a client knows its enclave, the rounds it sealed for, and the log",
        [],
        FIRST_TIME,
    ),
    (
        "T07-state-changed",
        "one check that sealing and opening make: an entry opens behind the one before it only",
        [
            (JOURNAL, "padded, self._before)", "padded, None)"),
            (JOURNAL, "entry[_NONCE_SIZE:], sha256(before))", "entry[_NONCE_SIZE:], None)"),
        ],
        [],
    ),
    (
        "T09-too-large",
        "an element is within max_abs, and the whole within max_norm",
        [(NORMS, "if largest > max_abs:", "if False:"), ANY_NORM],
        [],
    ),
    (
        "T10-endless-frame",
        "one check, and not so long to wait for the answer that does not come",
        [(FRAMES, "if size > MAX_FRAME:", "if False:")],
        [(enclave_socket, "_PATIENCE_SECONDS", 2.0)],
    ),
    (
        "T11-other-order",
        "updates are sorted, and the sum is one of integers",
        FLOATS,
        [],
    ),
    (
        "T11-abort-for-a-release",
        "an end names its round, the answer is in its log, and the subtrees make that log",
        [],
        [
            (receipt, "require", no_check),
            (shared_parts.SharedParts, "_log_after", any_subtrees),
        ],
    ),
    (
        "T11-hidden-admission",
        "the report lists who has no answer as missing, and the receipt's place is the end's",
        [],
        [(receipt, "require", no_check)],
    ),
]


@pytest.mark.parametrize(
    ("name", "missing", "changes", "patches"),
    [
        pytest.param(*each, id=each[0], marks=[pytest.mark.slow] if n >= 3 else [])
        for n, each in enumerate(TOGETHER)
    ],
)
def test_attack_without_all_the_checks_that_stop_it_is_not_stopped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    missing: str,
    changes: Sequence[Change],
    patches: Sequence[Patch],
) -> None:
    for where, what, instead in patches:
        monkeypatch.setattr(where, what, instead)  # type: ignore[arg-type]
    see_it_get_through(name, setting(weakened(tmp_path, changes)))


@pytest.mark.slow
def test_core_file_of_an_enclave_that_does_not_forbid_one_is_found(tmp_path: Path) -> None:
    """Either of two would do: no room for a core file, and memory that must not be dumped."""
    if set("/|") & set(Path("/proc/sys/kernel/core_pattern").read_text()):
        pytest.skip("core files of this machine go elsewhere, where nobody would clear them away")
    allowed = [
        (
            HARDENING,
            "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
            f"os.chdir({str(tmp_path)!r})",
        ),
        (HARDENING, "libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0", "True"),
    ]
    see_it_get_through("T01-core-file", setting(weakened(tmp_path, allowed)))


@pytest.mark.slow
def test_node_that_does_not_ask_its_owner_runs_what_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Setting
) -> None:
    code = tmp_path / "weak" / "fedenclave"
    ignored = shutil.ignore_patterns("__pycache__", "apps")
    shutil.copytree(Path(fedenclave.__file__).parent, code, ignore=ignored)
    change(code.parent, "node/admitted.py", *UNASKED)
    # The node is programs of its own, which find the copy first.
    monkeypatch.setenv("PYTHONPATH", str(code.parent))
    result = played("T12-another-app", installed)
    assert result.ending is Ending.NOT_STOPPED
    assert result.why.startswith("ship an app without the sealing mod: a first line ran: ")
    assert {"unsealed", "shadow"} <= set(result.why.rpartition(": ")[2].split(", "))


UNASKED = (
    "    record, copy = approvals.require(fab_hash(sent))\n",
    "    from fedenclave.node.bundle import read_bundle\n\n    return read_bundle(sent)\n",
)
HAS_A_TEST_OF_ITS_OWN = {"T01-core-file", "T12-another-app"}


def test_every_attack_that_is_stopped_has_been_seen_to_get_through() -> None:
    seen = {str(each[0]) for each in (*ENCLAVE, *CLIENT, *TOGETHER)} | HAS_A_TEST_OF_ITS_OWN
    assert seen == {attack.id for attack in ATTACKS}


def test_every_check_that_is_taken_out_here_is_in_the_code(tmp_path: Path) -> None:
    """Most of these attacks are played apart from the others; what they quote must not go stale."""
    changes: list[tuple[str, Sequence[Change]]] = [
        (name, [(file, old, new)]) for name, file, old, new in ENCLAVE
    ]
    changes += [(name, some) for name, _, some, _ in TOGETHER]
    for number, (name, some) in enumerate(changes):
        try:
            weakened(tmp_path / str(number), some)
        except ValueError as error:
            pytest.fail(f"{name}: {error}")
        shutil.rmtree(tmp_path / str(number))
