"""A collateral bundle: what vendors publish about their hardware, as files on disk.

    collateral/
      2026-11-25T10-00-00Z/            one snapshot: everything as it was fetched at that time
        amd/milan/ark-crl.der
        intel/tdx/tcb-info/b0c06f000000.json

A later fetch adds a snapshot and deletes none: an auditor who judges a round of last year needs
what was current then. Names are the formats' own; README.md in this folder lists them.

Rules:
  * Only regular files below a snapshot; no links; a file is at most 4 MiB, a bundle 64 MiB.
  * What is missing is refused by whoever needs it. Nothing is fetched here.
  * Vendors sign their collateral, so the bundle need not be trusted, but for what nobody signs
    (a JWKS): that rests on the file system of whoever verifies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError

SNAPSHOT_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
MAX_FILE = 4 << 20
MAX_BUNDLE = 64 << 20
FETCH_HINT = "get it with `fedenclave attest collateral fetch`, or copy it from who has a network"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralFile:
    """One version of one file. `fetched` is in Unix seconds."""

    name: str
    data: bytes
    fetched: int


class Collateral:
    """A bundle in memory: versions of files by name, newest first."""

    def __init__(self, files: Sequence[CollateralFile] = ()) -> None:
        """Sort the versions."""
        self._versions: dict[str, list[CollateralFile]] = {}
        for file in sorted(files, key=lambda file: file.fetched, reverse=True):
            self._versions.setdefault(file.name, []).append(file)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted(self._versions))

    def versions(self, name: str) -> tuple[CollateralFile, ...]:
        """Return the versions of `name`, newest first; empty if there is none."""
        return tuple(self._versions.get(name, ()))

    def need(self, name: str, checklist: Checklist, trust: Trust) -> tuple[CollateralFile, ...]:
        """Return the versions of `name`, newest first, at least one.

        Raises:
            EvidenceRefused: there is none. A check that cannot be made is a check that fails.
        """
        found = self.versions(name)
        if not found:
            checklist.refuse(
                "collateral", found="missing", wanted=name, trust=trust, hint=FETCH_HINT
            )
        return found


EMPTY = Collateral()


def from_mapping(files: Mapping[str, bytes], fetched: int) -> Collateral:
    """Return a bundle of one snapshot."""
    return Collateral(
        [CollateralFile(name=name, data=data, fetched=fetched) for name, data in files.items()]
    )


def read_bundle(folder: Path) -> Collateral:
    """Return the bundle in `folder`.

    Raises:
        ConfigurationError: it is no bundle, holds something that does not belong there, or cannot
            be read.
    """
    try:
        snapshots = sorted(folder.iterdir())
        files = [file for snapshot in snapshots for file in _read_snapshot(snapshot)]
    except OSError as error:
        raise ConfigurationError(
            f"cannot read collateral bundle {folder}: {error.strerror}", hint=FETCH_HINT
        ) from error
    if sum(len(file.data) for file in files) > MAX_BUNDLE:
        raise ConfigurationError(
            f"collateral bundle {folder} is larger than {MAX_BUNDLE >> 20} MiB",
            hint="move snapshots that no open audit needs elsewhere",
        )
    return Collateral(files)


def _read_snapshot(snapshot: Path) -> list[CollateralFile]:
    try:
        when = datetime.strptime(snapshot.name, SNAPSHOT_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(
            f"collateral bundle holds {snapshot.name!r}, want folders named by the time at which "
            "they were fetched, such as 2026-11-25T10-00-00Z"
        ) from error
    files = []
    for path in sorted(snapshot.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ConfigurationError(f"collateral bundle holds {path}, which is no regular file")
        if path.is_dir():
            continue
        if path.stat().st_size > MAX_FILE:
            raise ConfigurationError(f"collateral file {path} is larger than {MAX_FILE >> 20} MiB")
        name = path.relative_to(snapshot).as_posix()
        files.append(
            CollateralFile(name=name, data=path.read_bytes(), fetched=int(when.timestamp()))
        )
    return files


def judge_age(
    checklist: Checklist,
    name: str,
    *,
    issued: int,
    next_update: int | None,
    now: int,
    max_age_seconds: int,
    trust: Trust,
) -> None:
    """Refuse collateral that is from the future, past its next update, or older than the policy's.

    Args:
        checklist: where the check goes, as `age of <name>`.
        name: the collateral's name in the bundle.
        issued: Unix seconds: when it was issued or, if nothing in it says so, fetched.
        next_update: Unix seconds by which the vendor promised a newer one; None if it promised
            nothing.
        now: Unix seconds at which the evidence is judged.
        max_age_seconds: the policy's `collateral_max_age_seconds`.
        trust: what the check speaks to.

    Raises:
        EvidenceRefused: it is not current.
    """
    age = now - issued
    current = 0 <= age <= max_age_seconds and (next_update is None or now <= next_update)
    until = "" if next_update is None else f", next update {iso(next_update)}"
    checklist.must(
        f"age of {name}",
        holds=current,
        found=f"issued {iso(issued)}{until}",
        wanted=f"at {iso(now)}: issued before it, at most {max_age_seconds} s ago, not superseded",
        trust=trust,
        hint=FETCH_HINT,
    )


def iso(seconds: int) -> str:
    """Return Unix seconds as people write them."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
