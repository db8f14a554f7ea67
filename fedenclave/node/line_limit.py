"""How many lines of a program its node's log takes: so many an hour, and the rest is counted.

What an operator sends makes lines: without a bound he could push the log of what he did out of it.
Refusals are kept for the owner besides (client/events.py), whatever happens to lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A round has six lines of Flower's. Lines have at most 500 characters, and the log 16 MiB: whoever
# wants a line out of it needs more than a day, and is seen to make lines for as long.
LINES_AT_ONCE = 300
LINES_AN_HOUR = 1200


class LineLimit:
    """A bucket of lines, which fills itself evenly."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a full one.

        Args:
            clock: in seconds.
        """
        self._clock, self._at = clock, clock()
        self._left = float(LINES_AT_ONCE)
        self._passed_over = 0

    def admit(self) -> bool:
        """Say whether one more line is taken, and count it if it is not."""
        now = self._clock()
        self._left += (now - self._at) * LINES_AN_HOUR / 3600
        self._left, self._at = min(self._left, float(LINES_AT_ONCE)), now
        if self._left < 1:
            self._passed_over += 1
            return False
        self._left -= 1
        return True

    def take_passed_over(self) -> int:
        """Return how many were not taken since this was asked last."""
        count, self._passed_over = self._passed_over, 0
        return count
