"""What a client's receipts prove, all of them: for its owner, who looks often.

A receipt that was judged is not judged again while neither it nor what it is judged by has changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedenclave.attestation.endorsements import (
    COLLATERAL_FOLDER,
    REVOCATIONS_FILE,
    read_endorsements,
)
from fedenclave.audit.amended import manifests_before
from fedenclave.audit.folder import JudgedFile, contradictions, judge_files
from fedenclave.audit.receipt import Verdict, VerifiedReceipt
from fedenclave.client.folder import ClientFolder

_Facts = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCounts:
    """What they prove.

    Attributes:
        verdicts: how many receipts prove what; every verdict is there.
        unverifiable: why one proves nothing, by file name.
        newest: the one of the latest time; of two in one second, of the later round.
        contradictions: what those that are valid say against each other.
    """

    verdicts: Mapping[Verdict, int]
    unverifiable: Mapping[str, str]
    newest: VerifiedReceipt | None
    contradictions: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many files there are."""
        return sum(self.verdicts.values()) + len(self.unverifiable)


class ReceiptJudge:
    """Judges the receipts of one folder, again and again."""

    def __init__(self, folder: ClientFolder) -> None:
        """Use the folder; nothing is read yet."""
        self._folder = folder
        self._basis: tuple[_Facts, ...] = ()
        self._judged: dict[_Facts, JudgedFile] = {}

    def counts(self, now: int | None = None) -> ReceiptCounts:
        """Judge what is new, and return what all of them prove.

        Args:
            now: Unix seconds; by default the present time.

        Raises:
            ConfigurationError: there is no manifest to judge by, or a file cannot be read.
        """
        paths = {_facts(path): path for path in self._folder.receipts()}
        basis = tuple(_facts(path) for path in sorted(self._judged_by()))
        if basis != self._basis:
            self._judged, self._basis = {}, basis
        self._judged = {key: file for key, file in self._judged.items() if key in paths}
        new = {key: path for key, path in paths.items() if key not in self._judged}
        if new:
            self._judged.update(zip(new, self._judge(list(new.values())), strict=True))
        return _counted([self._judged[key] for key in paths], now)

    def _judge(self, paths: list[Path]) -> list[JudgedFile]:
        manifest, folder = self._folder.manifest(), self._folder
        before = manifests_before(manifest, folder.former())
        return judge_files(paths, manifest, read_endorsements(folder.path, manifest), before)

    def _judged_by(self) -> Iterator[Path]:
        folder = self._folder.path
        yield from (folder / name for name in ("federation.toml", REVOCATIONS_FILE))
        yield from (folder / "former").glob("*.toml")
        yield from (folder / COLLATERAL_FOLDER).rglob("*")


def newest_times(folder: ClientFolder) -> tuple[int, int] | None:
    """Return when the newest round's receipt was judged here, and which time the enclave had.

    None where there is no receipt, or the newest proves nothing. Unix seconds; the enclave's is
    its host's word.

    Raises:
        ConfigurationError: there is no manifest to judge by, or a file cannot be read.
    """
    (newest,) = folder.receipts()[-1:] or (None,)
    if newest is None:
        return None
    manifest = folder.manifest()
    before = manifests_before(manifest, folder.former())
    held = read_endorsements(folder.path, manifest)
    (judged,) = judge_files([newest], manifest, held, before)
    receipt = judged.verified
    return None if receipt is None else (receipt.judged_at, receipt.time)


def _facts(path: Path) -> _Facts:
    """Return what changes with a file."""
    try:
        facts = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), facts.st_mtime_ns, facts.st_size


def _counted(judged: list[JudgedFile], now: int | None) -> ReceiptCounts:
    valid = [file.verified for file in judged if file.verified is not None]
    at = int(time.time()) if now is None else now
    return ReceiptCounts(
        verdicts={each: sum(one.verdict is each for one in valid) for each in Verdict},
        unverifiable={file.path.name: file.problem for file in judged if file.problem},
        newest=max(valid, key=lambda receipt: (receipt.judged_at, receipt.round), default=None),
        contradictions=tuple(contradictions(valid, now=at)),
    )
