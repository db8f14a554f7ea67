"""Ends a SuperNode that asks for no work though nothing runs, so that it is started again.

Flower waits for the reply to each message before it asks for the next one, and there are ways for a
reply never to come: an app's process that is killed before it took its message, for one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# A SuperNode asks every 3 seconds. The longest single answer that it may be taking or giving, two
# gigabytes, takes less than this at 20 Mbit/s; most are of 5 megabytes.
PATIENCE_S = 900.0
_LOOKS_S = 10.0


class Watchdog:
    """Knows when the SuperNode has last asked, or got an answer, or an app was at work."""

    def __init__(
        self,
        is_busy: Callable[[], bool],
        end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count now.

        Args:
            is_busy: says whether a task waits or runs.
            end: ends the process; is told why.
            clock: in seconds.
        """
        self._is_busy, self._end, self._clock = is_busy, end, clock
        self._last = clock()

    def alive(self) -> None:
        """Take note that the SuperNode asks, or got an answer."""
        self._last = self._clock()

    def look(self) -> None:
        """End the process if it has been idle for too long."""
        if self._is_busy():
            self._last = self._clock()
        elif (idle := self._clock() - self._last) > PATIENCE_S:
            self._end(f"the SuperNode has asked for no work for {idle:.0f} s, and no app runs")

    def start(self) -> None:
        """Look every now and then, in a thread of its own."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOKS_S)
            self.look()
