"""Which loopback ports the demo's servers listen on.

Does not hold a port: it looks whether one is free, and somebody else may take it before the
server does. The range it picks from lies below the one from which Linux gives ports to
outgoing connections, so that the deployment's own connections cannot be that somebody.
"""

from __future__ import annotations

import secrets
import socket

from fedenclave.demo.errors import DeploymentError

HOST = "127.0.0.1"
PICKED_FROM = range(20_000, 30_000)


def pick_free_ports(count: int) -> list[int]:
    """Return `count` different ports on which nobody listens on 127.0.0.1.

    Raises:
        DeploymentError: Fewer than `count` ports of the range are free.
    """
    order = secrets.SystemRandom().sample(PICKED_FROM, len(PICKED_FROM))
    free: list[int] = []
    for port in order:
        if len(free) == count:
            break
        if is_free(port):
            free.append(port)
    if len(free) < count:
        raise DeploymentError(
            f"found {len(free)} free ports on {HOST}, want {count}",
            hint=f"end programs that listen on ports {PICKED_FROM.start} to {PICKED_FROM.stop}",
        )
    return free


def check_port_is_free(port: int, *, used_by: str, option: str) -> int:
    """Return `port`, which the user named for `used_by` with `option`.

    Raises:
        DeploymentError: It is no port number, or somebody listens there.
    """
    if not 1 <= port <= 65_535:
        raise DeploymentError(
            f"{option} is {port}, want a port from 1 to 65535",
            hint=f"leave {option} out to have a free port picked",
        )
    if not is_free(port):
        raise DeploymentError(
            f"port {port} on {HOST} is taken, {used_by} wants it",
            hint=f"name another with {option}, leave {option} out to have a free one picked, "
            f"or see who has it: ss -ltnp 'sport = :{port}'",
        )
    return port


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: without it a port counts as taken for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
