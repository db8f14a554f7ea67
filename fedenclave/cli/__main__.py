"""`python -m fedenclave.cli` is the `fedenclave` command."""

import sys

from fedenclave.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
