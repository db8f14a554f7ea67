"""The end of a log: which round was announced last.

A log grows for years, and is read from its end: the newest announcement is among the last entries.

SPEC.md, section 7.1.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.log_file import MAGIC, read_log
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Announcement

_FIRST_LOOK = 256
_NEXT_LOOK = 16


def newest_announcement(log_part: Callable[[int, int], bytes], size: int) -> Announcement:
    """Return the newest announcement in a log, unverified.

    Args:
        log_part: returns statements from a number up to another (excluded).
        size: how many statements there are.

    Raises:
        MalformedMessage: there is none.
    """
    end, count = size, _FIRST_LOOK
    while end > 0:
        first = max(end - count, 0)
        found = None
        for entry in read_log(io.BytesIO(MAGIC + log_part(first, end))):
            signed = Signed.from_bytes(entry.unverified)
            if signed.type == Announcement.TYPE:
                found = Announcement.from_bytes(signed.payload)
        if found is not None:
            return found
        end, count = first, count * _NEXT_LOOK
    raise MalformedMessage("the aggregator's log has no announcement")
