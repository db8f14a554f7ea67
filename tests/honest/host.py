"""An honest operator: its aggregator is stopped, killed and started again, and asked again.

A kill comes at any system call that changes the disk, or between two frames: see
`tests/restart/faults.py`. The enclave's thread then finds its socket closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from tests.restart.faults import Faults, Killed

T = TypeVar("T")

HOW = ("before", "half", "after")
POINTS = 16
"""Of a request, at most: the higher ones mean that the kill came too late."""


class Restarted(Exception):
    """The aggregator died and has been started again; what was asked may have happened or not."""


class HostFaults(Faults):
    """Strikes in the thread that made it; the enclave's lives until its socket closes."""

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        striking, own = super()._wrapped(name, real), threading.get_ident()

        def call(*arguments: Any, **keywords: Any) -> Any:
            chosen = striking if threading.get_ident() == own else real
            return chosen(*arguments, **keywords)

        return call


class Host:
    """The operator's side."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        approvals: Sequence[bytes],
        first: Model,
        *,
        kills: float,
        random: np.random.Generator,
        patch: pytest.MonkeyPatch,
    ) -> None:
        """Start. One request in 1 / `kills` is answered by nobody, and its aggregator is dead."""
        self.folder, self._manifest, self._approvals = folder, manifest, approvals
        self._first, self._kills, self._random, self._patch = first, kills, random, patch
        self.restarts = self.killed = 0
        self.aggregator = self._start()
        self.coordinator = RoundCoordinator(self.aggregator, send_manifest=True)

    def _start(self) -> Aggregator:
        return Aggregator(
            self.folder,
            manifest=self._manifest.source,
            approvals=self._approvals,
            model=self._first,
            tee="insecure",
            flushed=False,
        )

    def _go_on(self) -> None:
        self.aggregator = self._start()
        self.coordinator._aggregator = self.aggregator

    def restart(self) -> None:
        """Stop and start the aggregator, while the ServerApp lives on."""
        self.restarts += 1
        self.aggregator.close()
        self._go_on()

    def ask(self, what: Callable[[], T]) -> T:
        """Ask for something.

        Raises:
            Restarted: the aggregator was killed meanwhile.
        """
        if self._random.random() >= self._kills:
            return what()
        strike, how = int(self._random.integers(POINTS)), HOW[self._random.integers(3)]
        try:
            with self._patch.context() as patch:
                HostFaults(patch, strike, how)
                return what()
        except Killed:
            self._bury()
        self.killed += 1
        self._go_on()
        raise Restarted

    def _bury(self) -> None:
        """Leave the files, as the kernel would."""
        self.aggregator._enclave.close()
        self.aggregator._journal.close()
        self.aggregator._statements.close()
        self.aggregator._store._claim.close()

    def close(self) -> None:
        """End."""
        self.aggregator.close()
