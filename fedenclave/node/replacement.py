"""A new version of an app beside the approved one: which files differ, by name and hash.

Which lines differ, a reader sees with the tools that he knows: both bundles are zip archives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.node.approvals import AppApproval, AppApprovals
from fedenclave.node.bundle import Bundle
from fedenclave.protocol.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What is replaced (the newest last), and how the new bundle's files differ from the newest's.

    Hashes are SHA-256, in hexadecimal digits; `changed` has the old one and the new one.
    """

    replaced: tuple[AppApproval, ...]
    added: Mapping[str, str]
    removed: Mapping[str, str]
    changed: Mapping[str, tuple[str, str]]
    unchanged: int

    def plain(self) -> dict[str, object]:
        """Return it for a program."""
        return {
            "replaced": [
                {"version": each.version, "fab_hash": each.fab_hash} for each in self.replaced
            ],
            "added": dict(self.added),
            "removed": dict(self.removed),
            "changed": {name: list(hashes) for name, hashes in self.changed.items()},
            "unchanged": self.unchanged,
        }


def replacement(new: Bundle, approvals: AppApprovals) -> Replacement:
    """Return what approving `new` in place of its publisher's and name's earlier versions changes.

    Raises:
        ConfigurationError: no other version of this app is approved, or its copy was changed.
    """
    replaced = tuple(approvals.others_of(new))
    if not replaced:
        raise ConfigurationError(
            f"no other version of {new.app_id} is approved, so there is none to replace",
            hint="is it the same publisher and name? see fedenclave node apps; else without "
            "--replace",
        )
    _, before = approvals.require(replaced[-1].fab_hash)
    old, now = _hashes(before), _hashes(new)
    both = old.keys() & now.keys()
    return Replacement(
        replaced=replaced,
        added={name: now[name] for name in sorted(now.keys() - both)},
        removed={name: old[name] for name in sorted(old.keys() - both)},
        changed={name: (old[name], now[name]) for name in sorted(both) if old[name] != now[name]},
        unchanged=sum(old[name] == now[name] for name in both),
    )


def _hashes(bundle: Bundle) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in bundle.files.items()}
