"""From the bytes that a SuperLink sent to the owner's own copy of the same app, or to a refusal.

What was sent is hashed and compared, and goes nowhere else: it is not unpacked, not written to the
disk, and not read as an archive. What runs is the copy that the owner approved, unpacked into a
folder of this one process. So nothing that an earlier run, another version or another user of
Flower left in its home can be found in its place. (Flower finds an installed app by 8 digits of its
hash, which two apps can be made to share within minutes.)
"""

from __future__ import annotations

from pathlib import Path

from fedenclave.node.approvals import AppApprovals, AppNotApproved
from fedenclave.node.bundle import Bundle, fab_hash
from fedenclave.protocol.errors import FedEnclaveError

CLIENT_APP = "flwr-clientapp"
FOR_HOST = "this node's owner has not approved this app; nothing of it was run"


def admit(sent: bytes, task_type: str, approvals: AppApprovals) -> Bundle:
    """Return the owner's copy of the app that was sent.

    Args:
        sent: the bundle, as it came.
        task_type: as what it is to run, in Flower's words.
        approvals: the owner's.

    Raises:
        FedEnclaveError: the owner has not approved it. The text is for the node's own log.
    """
    if task_type != CLIENT_APP:
        # A SuperLink can ask for an agent or a model server, too, which have no mods at all.
        raise AppNotApproved(f"the app is to run as {task_type[:40]!r}, want {CLIENT_APP!r}")
    record, copy = approvals.require(fab_hash(sent))
    if copy.fab_hash != record.fab_hash or copy.data != sent:
        raise AppNotApproved("the app that was sent is not the owner's copy of it")
    return copy


def unpack(bundle: Bundle, folder: Path) -> Path:
    """Write an app's files below an empty folder of this process, and return that folder.

    Raises:
        FedEnclaveError: the folder cannot be written.
    """
    try:
        for name, content in bundle.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise FedEnclaveError(f"cannot unpack the app: {error.strerror}") from error
    return folder
