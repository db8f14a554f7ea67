"""Runs Flower's SuperNode, and ends when it ends.

A SuperNode that has lost its connection for good (a SuperLink that answers what no message is, for
one) goes on living: the thread that serves its apps keeps the process, which never asks for work
again, and whoever waits for its end waits for ever. Here its end is the process's.

Source: flwr 1.41, flwr/supernode/cli/flower_supernode.py, `_start_supernode_http_api`.
"""

from __future__ import annotations

import os
import sys

_LEFT_ITS_LOOP = 1


def main() -> None:
    """Run a SuperNode with this process's arguments."""
    from flwr.supernode.cli import flower_supernode

    code = _LEFT_ITS_LOOP
    try:
        flower_supernode()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else _LEFT_ITS_LOOP
    except Exception as error:
        # Its text may be the SuperLink's; the type says enough.
        print(f"error: the SuperNode failed: {type(error).__name__}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
