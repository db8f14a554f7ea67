"""A collateral bundle: what vendors publish about their hardware, as files on disk.

    collateral/
      2026-11-25T10-00-00Z/            one snapshot: everything as it was fetched at that time
        amd/milan/ark-crl.der
        intel/tdx/tcb-info/b0c06f000000.json

A later fetch adds a snapshot and deletes none: an auditor who judges a round of last year needs
what was current then. Names are the formats' own; the page of each format lists its names.

Rules:
  * Only regular files below a snapshot, and no links; their names are of A-Z, a-z, 0-9, `.`, `_`
    and `-`. A file is at most 4 MiB, a bundle 64 MiB and 20,000 files and folders.
  * What is missing is refused by whoever needs it. Nothing is fetched here.
  * Of several versions of a file that a vendor signs with a date, the dates that are signed say
    which one counts (`choose_signed`), never the name of the snapshot. A version that cannot be
    read is refused and not passed over: nobody knows what it would have said.

What a bundle must be trusted for, as its makers could do otherwise and nothing here would tell:
  * to hold the newest that the vendor has signed. Whoever leaves it out brings back the one before,
    until that one's own next update or the policy's greatest age, whichever comes first.
  * the name of a snapshot, where a time of fetching counts: for what nobody signs (a JWKS), for how
    long ago AMD was asked for its lists, and between reference manifests of one signer.
  * the content of what nobody signs: it rests on the file system of whoever verifies.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

SNAPSHOT_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
MAX_FILE = 4 << 20
MAX_BUNDLE = 64 << 20
MAX_ENTRIES = 20_000
MAX_DEPTH = 8
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_TIDY_HINT = "move snapshots that no open audit needs elsewhere"
T = TypeVar("T")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated(Generic[T]):
    """One version of what a vendor signs, parsed and not yet verified.

    Attributes:
        file: as it lies in the bundle.
        content: what it was parsed to.
        issued: Unix seconds, as it says itself.
        next_update: Unix seconds by which the vendor promised a newer one, or at which it ends;
            None if it says nothing.
        rank: what orders versions of the same second, such as a list's number.
    """

    file: CollateralFile
    content: T
    issued: int
    next_update: int | None
    rank: int = 0


def choose_signed(versions: Sequence[Dated[T]], now: int) -> Dated[T]:
    """Return the version that counts at `now`: the latest that was issued by then.

    Not the latest that is still in force: a newer list that has expired may revoke what an older
    one, good for longer, does not know. If none was issued by then, it is the latest of all, so
    that the refusal can say how old it is.

    The dates are as good as the signature, which the caller verifies of what is returned: a version
    with dates that somebody made up is chosen, and refused.

    Args:
        versions: at least one.
        now: Unix seconds at which the evidence is judged.
    """
    issued = [version for version in versions if version.issued <= now]

    def order(version: Dated[T]) -> tuple[int, bool, int]:
        in_force = version.next_update is None or now <= version.next_update
        return version.issued, in_force, version.rank

    return max(issued or versions, key=order)


def distinct(versions: Sequence[CollateralFile]) -> list[CollateralFile]:
    """Return the first version of each content, in order: a fetch often brings the same again."""
    first: dict[bytes, CollateralFile] = {}
    for file in versions:
        first.setdefault(file.data, file)
    return list(first.values())


def read_versions(
    checklist: Checklist,
    name: str,
    files: Sequence[CollateralFile],
    parse: Callable[[CollateralFile], T],
    trust: Trust,
) -> list[T]:
    """Return what `parse` makes of each content that `name` has in the bundle.

    Args:
        checklist: where a refusal goes, as `structure of <name>`: it is the bundle that is damaged,
            and not the evidence.
        name: the collateral's name in the bundle.
        files: its versions.
        parse: raises MalformedMessage for what it cannot read.
        trust: what the check speaks to.

    Raises:
        EvidenceRefused: a version cannot be read.
    """
    found = []
    for file in distinct(files):
        try:
            found.append(parse(file))
        except MalformedMessage as error:
            checklist.refuse(
                f"structure of {name}",
                found=f"{error.message} (fetched {iso(file.fetched)})",
                wanted="what the vendor publishes, as it is published",
                trust=trust,
                hint=f"take that snapshot out of the bundle; {FETCH_HINT}",
            )
    return found


def read_bundle(folder: Path) -> Collateral:
    """Return the bundle in `folder`.

    Raises:
        ConfigurationError: it is no bundle, holds something that does not belong there, is too
            large, or cannot be read.
    """
    files, size = [], 0
    try:
        for entry, name, fetched in _walk(folder):
            expected = entry.stat(follow_symlinks=False).st_size
            size += expected
            # Before it is read: a file of zeros that takes no space on disk takes it in memory.
            if expected > MAX_FILE:
                raise ConfigurationError(
                    f"collateral file {name} is larger than {MAX_FILE >> 20} MiB"
                )
            if size > MAX_BUNDLE:
                raise ConfigurationError(
                    f"collateral bundle {folder} is larger than {MAX_BUNDLE >> 20} MiB",
                    hint=_TIDY_HINT,
                )
            files.append(CollateralFile(name=name, data=_read(entry, expected), fetched=fetched))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read collateral bundle {folder}: {error.strerror}", hint=FETCH_HINT
        ) from error
    return Collateral(files)


def _read(entry: os.DirEntry[str], size: int) -> bytes:
    with Path(entry.path).open("rb") as opened:
        data = opened.read(size + 1)
    if len(data) != size:
        raise ConfigurationError(f"collateral file {entry.path!r} changed while it was read")
    return data


def _walk(folder: Path) -> Iterator[tuple[os.DirEntry[str], str, int]]:
    """Yield every regular file, its name below its snapshot, and the snapshot's Unix seconds."""
    left = iter(range(MAX_ENTRIES))
    for snapshot in _entries(str(folder), left):
        fetched = _fetched(snapshot.name)
        if not snapshot.is_dir(follow_symlinks=False):
            raise ConfigurationError(
                f"collateral bundle holds {snapshot.name}, which is a file or a link, want a folder"
            )
        folders = [(snapshot.path, "", 1)]
        while folders:
            path, prefix, depth = folders.pop()
            for entry in _entries(path, left):
                name = prefix + entry.name
                where = f"collateral snapshot {snapshot.name} holds {name[-200:]!r}"
                if not _NAME.fullmatch(entry.name):
                    raise ConfigurationError(f"{where}, want names of A-Z, a-z, 0-9, ., _ and -")
                if entry.is_file(follow_symlinks=False):
                    yield entry, name, fetched
                elif not entry.is_dir(follow_symlinks=False):
                    raise ConfigurationError(f"{where}, which is no regular file")
                elif depth == MAX_DEPTH:
                    raise ConfigurationError(f"{where}, want at most {MAX_DEPTH} folders deep")
                else:
                    folders.append((entry.path, f"{name}/", depth + 1))


def _entries(path: str, left: Iterator[int]) -> list[os.DirEntry[str]]:
    """Return what lies in the folder `path`, sorted; `left` ends when a bundle holds too much."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if next(left, None) is None:
                raise ConfigurationError(
                    f"collateral bundle holds more than {MAX_ENTRIES} files and folders",
                    hint=_TIDY_HINT,
                )
            found.append(entry)
    return sorted(found, key=lambda entry: entry.name)


def _fetched(name: str) -> int:
    """Return the Unix seconds that a snapshot's name says."""
    try:
        when = datetime.strptime(name, SNAPSHOT_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        when = None
    # The parser takes shorter numbers, and digits of other scripts, which would sort otherwise.
    if when is None or when.strftime(SNAPSHOT_FORMAT) != name:
        raise ConfigurationError(
            f"collateral bundle holds {name[:200]!r}, want folders named by the time at which "
            "they were fetched, such as 2026-11-25T10-00-00Z"
        )
    return int(when.timestamp())


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
