"""The environment that every process of the demo gets.

Built from nothing: the caller's own environment reaches a child only through the names listed
here. A proxy setting would otherwise send loopback traffic elsewhere, and a FLWR_ variable left
over in a shell would change what the demo runs.

Every descendant inherits it. The SuperLink hands its own on to flower-superexec and from there
to the ServerApp's process; a SuperNode likewise to the ClientApp's.

Rules:
  * No process of the demo opens a connection that leaves this machine.
  * Every process carries the marker by which its group finds it again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

MARKER = "FEDENCLAVE_DEMO_ID"

# What an interpreter and its libraries need to start as they do in the caller's shell.
PASSED_ON = (
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)

QUIET_AND_OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Without it the SuperLink runs `uv sync` for every run, which fails offline.
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}

QUICK = {
    # flower-superexec asks for work once a second by default, and every message waits for that.
    # Asking ten times a second would take 0.2 of a core for five of them, this takes 0.08.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.3",
    # Several ClientApps share few cores: more threads in each only make them wait for each other.
    "OMP_NUM_THREADS": "1",
}


def child_environment(
    *, flower_home: Path, marker: str, caller: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the whole environment of a child.

    Args:
        flower_home: Becomes FLWR_HOME: Flower's configuration and installed apps.
        marker: This group's own value of `MARKER`.
        caller: Where the names in `PASSED_ON` and PATH are taken from.
    """
    environment = {name: caller[name] for name in PASSED_ON if name in caller}
    # Flower finds its own programs by name, so those beside our interpreter have to come first.
    path = [str(Path(sys.executable).parent), caller.get("PATH", os.defpath)]
    environment |= {
        "PATH": os.pathsep.join(path),
        "FLWR_HOME": str(flower_home),
        "PYTHONUNBUFFERED": "1",
        MARKER: marker,
    }
    return environment | QUIET_AND_OFFLINE | QUICK
