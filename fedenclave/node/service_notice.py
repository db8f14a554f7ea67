"""What a service manager is told of a node: that it has begun, its connection, and that it ends.

Nothing happens where there is none. The node's programs are not told of it.

Source: sd_notify(3), systemd.service(5), Type=notify.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

VARIABLE = "NOTIFY_SOCKET"


def tell_service_manager(
    *, state: str = "", status: str = "", environment: Mapping[str, str] = os.environ
) -> None:
    """Send one message; never raises OSError.

    Args:
        state: `READY=1` or `STOPPING=1`, or nothing new.
        status: one line for people.
        environment: where the manager's socket is named.
    """
    address = environment.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    lines = [*([state] if state else []), f"STATUS={status}"]
    # A leading @ stands for the zero byte of an address without a path.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto("\n".join(lines).encode(), target)
