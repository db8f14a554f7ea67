"""Whether the app that was loaded is what was read of it before: how it is made, and from where.

This is asked in the app's own process, after the app's first lines have run: code that wants to can
answer as it likes. Nothing rests on it but that an app which is not as its owner read it is seen to
be so; that an answer leaves sealed, another process sees to (app_caller.py).

Source: flwr 1.41, flwr/clientapp/client_app.py.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from types import CodeType

from flwr.client.mod.utils import make_ffn
from flwr.clientapp import ClientApp, client_app

from fedenclave.flower import confidential


class Unlike(StrEnum):
    """In what it is not. Closed: an app chooses none of these words."""

    KIND = "it is no ClientApp of Flower's"
    MOD = "its first mod is not ours"
    LIFESPAN = "it has a lifespan function"
    FILE = "it comes from another file"
    CHANGED = "it has changed Flower or the mod"


class AsLoaded:
    """What Flower and the mod are before an app is loaded. Make it before."""

    def __init__(self) -> None:
        """Take note of them."""
        self._codes = _codes()
        self._mod = confidential()
        self._nothing = client_app._empty_lifespan  # what an app has that sets none

    def unlike(self, app: object, module: str, file: Path) -> Unlike | None:
        """Return in what a loaded app is not as it was read, or None.

        Args:
            app: what was loaded.
            module: the module that it is to be of.
            file: where that module's source was read.
        """
        if type(app) is not ClientApp:
            return Unlike.KIND
        if _codes() != self._codes or confidential() is not self._mod:
            return Unlike.CHANGED
        if app._mods[:1] != [self._mod]:
            return Unlike.MOD
        if app._lifespan is not self._nothing:
            return Unlike.LIFESPAN
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if not isinstance(loaded, str) or Path(loaded).resolve() != file.resolve():
            return Unlike.FILE
        return None


def _codes() -> list[CodeType | None]:
    functions = [confidential, confidential()]
    functions += [ClientApp.__init__, ClientApp.__call__, ClientApp.train, ClientApp.evaluate]
    functions += [ClientApp.query, ClientApp.lifespan, make_ffn]
    return [getattr(each, "__code__", None) for each in functions]
