"""The owner's decisions about apps, in the client's folder: apps/HASH.toml beside apps/HASH.fab.

Rules:
  * An app is approved by its hash, and only while its record says so; a missing or unreadable
    record approves nothing.
  * A revoked app's record stays, so that an old version that is sent again is known for what it is;
    only its owner, asked again, approves it again.
  * The bundle is kept whole: what runs later are these bytes, and not those that were sent.
  * Records are written wholly or not at all. They are not signed: who can write here has the
    folder's keys anyway.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from fedenclave.client.files import read_file, write_whole
from fedenclave.node.bundle import Bundle, fab_hash, read_bundle
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from fedenclave.protocol.toml_table import parse

FOLDER = "apps"
_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY, _NEVER = "", 0
_LATEST = 2**53


class AppNotApproved(FedEnclaveError):
    """An app was sent that the owner of this node has not approved. It was not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppApproval:
    """Who approved which app, and when; times are seconds since 1970."""

    app_id: str
    version: str
    fab_hash: str
    approved_by: str
    approved_at: int
    revoked_by: str = _NOBODY
    revoked_at: int = _NEVER

    @property
    def holds(self) -> bool:
        """Whether the app may run."""
        return self.revoked_at == _NEVER

    def to_toml(self) -> bytes:
        """Return the record's file."""
        pairs = {
            "app": self.app_id,
            "version": self.version,
            "fab-sha256": self.fab_hash,
            "approved-by": self.approved_by,
            "approved-at": self.approved_at,
            "revoked-by": self.revoked_by,
            "revoked-at": self.revoked_at,
        }
        # json writes a printable string as TOML's basic string reads it; not so its escapes of
        # what is not ASCII, which come in halves.
        lines = (f"{k} = {json.dumps(value, ensure_ascii=False)}\n" for k, value in pairs.items())
        return "".join(lines).encode()

    @classmethod
    def from_toml(cls, data: bytes, where: str) -> AppApproval:
        """Read a record.

        Raises:
            ConfigurationError: it is not one.
        """
        table = parse(data, where)
        record = cls(
            app_id=table.take_text("app"),
            version=table.take_text("version"),
            fab_hash=table.take_text("fab-sha256"),
            approved_by=table.take_text("approved-by"),
            approved_at=table.take_int("approved-at", low=0, high=_LATEST),
            revoked_by=table.take_text("revoked-by"),
            revoked_at=table.take_int("revoked-at", low=0, high=_LATEST),
        )
        table.finish()
        return record


class AppApprovals:
    """The decisions in one client's folder."""

    def __init__(self, client_folder: Path) -> None:
        """Use the folder; nothing is read yet."""
        self.folder = client_folder / FOLDER

    def approve(self, bundle: Bundle, *, by: str, now: int, again: bool = False) -> AppApproval:
        """Keep a bundle and that it was approved. The caller has looked at it (inspection.py).

        Raises:
            ConfigurationError: it was revoked and `again` is not set, or cannot be written.
        """
        record = AppApproval(
            app_id=bundle.app_id,
            version=bundle.version,
            fab_hash=bundle.fab_hash,
            approved_by=_name(by),
            approved_at=now,
        )
        path = self._record(bundle.fab_hash)
        held = self._read(path) if path.exists() else None
        if held is not None and not held.holds and not again:
            raise ConfigurationError(
                f"app {bundle.fab_hash} was revoked by {held.revoked_by}",
                hint="--again approves it again",
            )
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot make {self.folder}: {error.strerror}") from error
        # The bundle first: a record whose bundle is missing would approve what cannot run.
        write_whole(self._bundle(bundle.fab_hash), bundle.data)
        write_whole(path, record.to_toml())
        return record

    def others_of(self, bundle: Bundle) -> list[AppApproval]:
        """Return the approved other versions of an app: same publisher and name, the newest last.

        Raises:
            ConfigurationError: a record cannot be read.
        """
        return [
            each
            for each in self.records()
            if each.holds and each.app_id == bundle.app_id and each.fab_hash != bundle.fab_hash
        ]

    def replace(
        self, bundle: Bundle, *, by: str, now: int, again: bool = False
    ) -> tuple[AppApproval, list[AppApproval]]:
        """Approve a bundle, and revoke all other versions of its app; return both.

        The new one comes first: what interrupts this leaves both, and the same again ends it.

        Raises:
            ConfigurationError: as of `approve`; or a record cannot be read or written.
        """
        others = self.others_of(bundle)
        record = self.approve(bundle, by=by, now=now, again=again)
        return record, [self._revoke(each, by=by, now=now) for each in others]

    def _revoke(self, record: AppApproval, *, by: str, now: int) -> AppApproval:
        revoked = replace(record, revoked_by=_name(by), revoked_at=now)
        write_whole(self._record(record.fab_hash), revoked.to_toml())
        return revoked

    def revoke(self, app: str, *, by: str, now: int) -> list[AppApproval]:
        """Let an app run no more; return what was revoked.

        Args:
            app: a hash, its first digits (8 at least), or PUBLISHER/NAME for all its versions.
            by: who does.
            now: seconds since 1970.

        Raises:
            ConfigurationError: no approved app is meant by `app`.
        """
        meant = [each for each in self.records() if each.holds and _means(app, each)]
        if not meant:
            raise ConfigurationError(
                f"no approved app is {app[:100]!r}", hint="see them: fedenclave node apps"
            )
        return [self._revoke(each, by=by, now=now) for each in meant]

    def records(self) -> list[AppApproval]:
        """Return all decisions, the newest last.

        Raises:
            ConfigurationError: one cannot be read.
        """
        found = [self._read(path) for path in sorted(self.folder.glob("*.toml"))]
        return sorted(found, key=lambda each: each.approved_at)

    def require(self, sent_hash: str) -> tuple[AppApproval, Bundle]:
        """Return the owner's decision and the owner's copy of the app with this hash.

        Raises:
            AppNotApproved: there is no decision, or another.
            ConfigurationError: record or copy cannot be used: then it does not run either.
        """
        if not _HASH.fullmatch(sent_hash):
            raise AppNotApproved("the app's hash is none")
        path = self._record(sent_hash)
        if not path.exists():
            raise AppNotApproved(
                f"app {sent_hash} is not approved by this node's owner",
                hint="read it, then: fedenclave node approve APP",
            )
        record = self._read(path)
        if not record.holds:
            raise AppNotApproved(f"app {sent_hash} was revoked by this node's owner")
        data = read_file(self._bundle(sent_hash), "approved app")
        if fab_hash(data) != sent_hash:
            raise ConfigurationError(
                f"approved app {self._bundle(sent_hash)} was changed",
                hint="find out by whom; then approve it again",
            )
        return record, read_bundle(data)

    def _read(self, path: Path) -> AppApproval:
        record = AppApproval.from_toml(read_file(path, "app approval"), path.name)
        if path != self._record(record.fab_hash):
            raise ConfigurationError(
                f"app approval {path} is for app {record.fab_hash[:64]!r}",
                hint="an approval's file is named by the hash that it approves",
            )
        return record

    def _record(self, digest: str) -> Path:
        return self.folder / f"{digest}.toml"

    def _bundle(self, digest: str) -> Path:
        return self.folder / f"{digest}.fab"


def _means(app: str, record: AppApproval) -> bool:
    by_hash = re.fullmatch(r"[0-9a-f]{8,64}", app) and record.fab_hash.startswith(app)
    return bool(by_hash) or record.app_id == app


def _name(by: str) -> str:
    if not by or not by.isprintable() or len(by) > 100:
        raise ConfigurationError(
            f"name of who decides is {by[:100]!r}, want 1 to 100 printable characters",
            hint="--by NAME",
        )
    return by
