"""What the demonstrations' figures have in common: their style, and how they are drawn from a file.

matplotlib is not imported here: who draws does that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

STYLE: Mapping[str, object] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}
"""For `matplotlib.pyplot.rcParams`."""


def draw_from_file(
    app: str, draw: Callable[[Mapping[str, Any], Path], None], arguments: Sequence[str] | None
) -> int:
    """Draw what `python -m APP.baselines --json` printed; return the exit status.

    Args:
        app: the Flower app's package.
        draw: given the results and the file to write.
        arguments: the command line's; None for the process's own.
    """
    parser = argparse.ArgumentParser(
        prog=f"{app}.plot", description=f"Draw what {app}.baselines --json printed."
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"error: {options.results} cannot be read: {error}", file=sys.stderr)
        print(f"hint: python -m {app}.baselines --json > results.json", file=sys.stderr)
        return 1
    draw(results, options.out)
    return 0
