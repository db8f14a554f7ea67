"""Becomes another program, which ends with its parent.

`python -m fedenclave.node.bound PARENT PROGRAM WORDS...`, PARENT being the parent's process id.

For a program that is not ours, and so cannot ask for that itself (process_limits.py).
"""

from __future__ import annotations

import os
import sys

from fedenclave.node.process_limits import end_with_parent


def bound(command: list[str], parent_pid: int) -> list[str]:
    """Return how `command` is started so that it ends with `parent_pid`."""
    return [sys.executable, "-P", "-m", "fedenclave.node.bound", str(parent_pid), *command]


def main() -> int:
    """Ask for the end with the parent, and become the program; return only if there is none."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    end_with_parent(parent)
    try:
        os.execv(command[0], command)  # noqa: S606 - the supervisor's own words
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
