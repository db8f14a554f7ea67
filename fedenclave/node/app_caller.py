"""Calls an approved app in a process of its own, with our mod around it in this one.

Python holds nothing against code in its own process: an app that ran here could put other functions
in the mod's place, or use the connection itself. So it does not run here. What it returns comes by
a pipe, as records, and is read by the mod; what it did in its own process changes nothing here.

Not held: it is a process of the same user. What its user may read and whom that one may connect to,
it may, too, but for what [confinement] takes away (bound.py). And the text of an error of ours that
was raised there comes here and gets into the node's log: code that poses as ours can choose it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.app import Context, Message
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.flower import confidential
from fedenclave.flower.app_call import AppRaised
from fedenclave.node.app_alone import Said
from fedenclave.node.app_pipe import AppPipe
from fedenclave.node.approvals import AppNotApproved
from fedenclave.node.bundle import Bundle
from fedenclave.node.loaded_app import Unlike
from fedenclave.node.source import module_file
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError

_GRACE_S = 10.0
_LONGEST = 1000


class AppNotLoaded(FedEnclaveError):
    """The app's own first lines failed."""


class AppCaller:
    """The app's process, from here."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        """Start the process and have it load the app; none of the app's words come back.

        Args:
            bundle: the approved app.
            folder: where it is unpacked.

        Raises:
            AppNotApproved: what was loaded is not what was read before it was approved.
            AppNotLoaded: it cannot be loaded.
        """
        here, there = socket.socketpair()
        command = [sys.executable, "-P", "-m", "fedenclave.node.app_alone"]
        command += ["--pipe", str(there.fileno()), "--parent-pid", str(os.getpid())]
        with there:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(there.fileno(),)
            )
        self._pipe = AppPipe(here)
        # What the app has started may hold the other end after it is gone.
        threading.Thread(target=self._hang_up_after_it, daemon=True).start()
        try:
            self._load(bundle, folder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """Let the process end, and end it."""
        with contextlib.suppress(OSError):
            self._pipe.hang_up()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()

    def answer(self, message: Message, context: Context) -> Message:
        """Return the mod's answer to a message. The context's state becomes what the app left."""
        return confidential()(message, context, self._call)

    def _hang_up_after_it(self) -> None:
        self._process.wait()
        with contextlib.suppress(OSError, ValueError):
            self._pipe.hang_up()

    def _load(self, bundle: Bundle, folder: Path) -> None:
        module = bundle.client_app.partition(":")[0]
        try:
            self._pipe.send(
                {
                    "folder": str(folder),
                    "app": bundle.app_id,
                    "version": bundle.version,
                    "hash": bundle.fab_hash,
                    "module": module,
                    "file": module_file(bundle.files, module) or "",
                }
            )
            said = self._pipe.receive()
        except (OSError, EOFError, ValueError) as error:
            raise AppNotLoaded("the app's process ended before the app was loaded") from error
        if said.get("said") == Said.UNLIKE and said.get("why") in set(Unlike):
            raise AppNotApproved(
                f"the app is not what was read of it: {said['why']}",
                hint="it is made to be taken for another: revoke it, and ask who made it",
            )
        if said.get("said") != Said.LOADED:
            raise AppNotLoaded("the app cannot be loaded")

    def _call(self, message: Message, context: Context) -> Message:
        """Call the app: `CallNext`, for the mod."""
        with _as_raised():
            self._pipe.send({"task": TaskIdentity.task_id})
            self._pipe.send_call(message, context)
            said = self._pipe.receive()
            if said.get("said") == Said.ANSWERED:
                reply = Message(self._pipe.receive_records(), reply_to=message)
                context.state = self._pipe.receive_records()
                return reply
        if said.get("said") == Said.RAISED and "message" in said:
            raise ConfigurationError(
                str(said["message"])[:_LONGEST], hint=str(said.get("hint", ""))[:_LONGEST]
            )
        raise AppRaised


@contextlib.contextmanager
def _as_raised() -> Iterator[None]:
    """Take whatever is wrong with what an app's process sends for a failure of the app."""
    try:
        yield
    except Exception as error:
        raise AppRaised from error
