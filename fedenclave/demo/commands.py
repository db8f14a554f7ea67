"""Commands that are run together, each by a process of its own, and waited for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from fedenclave.demo.processes import ProcessGroup

TIMEOUT_S = 120.0
FEDENCLAVE = (sys.executable, "-m", "fedenclave.cli")


def run_together(
    group: ProcessGroup, commands: Mapping[str, Sequence[str]], *, what: str, hint: str
) -> None:
    """Run commands at the same time, and wait for all of them.

    Args:
        group: ends them.
        commands: by the names of the children.
        what: that one could not do, for the error.
        hint: what to do about it.

    Raises:
        DeploymentError: one failed; the error ends with what it wrote.
    """
    children = [group.start(name, command) for name, command in commands.items()]
    for child in children:
        child.may_end = True
    for child in children:
        exit_code = group.follow(child, _ignore, timeout_s=TIMEOUT_S)
        if exit_code != 0:
            raise child.failure(f"could not {what} (exit code {exit_code})", hint)


def _ignore(line: str) -> None:
    """Take a line that nobody wants."""
