"""Runs Flower's SuperNode with bounds to what a SuperLink can do to it, and ends when it ends.

A SuperNode that has lost its connection for good (a SuperLink that answers what no message is, for
one) goes on living: the thread that serves its apps keeps the process, which never asks for work
again, and whoever waits for its end waits for ever. Here its end is the process's, and so is the
end of any of its threads by an error: the one that sends heartbeats would leave a node that its
SuperLink takes for gone.

Rules:
  * What a SuperLink answers is looked at first (fleet_answers.py), and so is an app's bundle.
  * Who asks at the Runtime API is known before much is read of what he asks (runtime_admission.py).
  * A SuperNode that no longer asks for work is ended (watchdog.py).

Source: flwr 1.41, flwr/supernode/cli/flower_supernode.py, `_start_supernode_http_api`.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from fedenclave.client.events import Asked, EventFile, Kind
from fedenclave.client.refusals import Cause
from fedenclave.node import fleet_answers
from fedenclave.node.bundle import read_bundle
from fedenclave.node.flower_log import keep_lines_short
from fedenclave.node.runtime_admission import Admission
from fedenclave.node.watchdog import Watchdog
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

# Where refusals are kept for the owner: the client's folder.
FOLDER_VARIABLE = "FEDENCLAVE_NODE_FOLDER"
_LEFT_ITS_LOOP = 1


def main() -> None:
    """Run a SuperNode with this process's arguments."""
    from flwr.supernode.cli import flower_supernode

    code = _LEFT_ITS_LOOP
    try:
        threading.excepthook = _end_with_thread
        bind()
        flower_supernode()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else _LEFT_ITS_LOOP
    except Exception as error:
        # Its text may be the SuperLink's; the type says enough.
        print(f"error: the SuperNode failed: {type(error).__name__}", file=sys.stderr)
    finally:
        _end(code)


def bind() -> None:
    """Put the bounds in Flower's place; all of it is of this process alone."""
    keep_lines_short()
    server = importlib.import_module("flwr.supernode.main")
    loop = importlib.import_module("flwr.supernode.start_client_internal")
    create_app, fused_config = server.create_app, loop.get_fused_config_from_fab
    watchdogs: list[Watchdog] = []

    def create(state_factory: Any, **options: Any) -> Admission:
        state = state_factory.state()
        watchdogs.append(Watchdog(lambda: _is_busy(state), _end_because))
        watchdogs[-1].start()
        application = create_app(state_factory=state_factory, **options)
        return Admission(application, lambda token: state.get_task_by_token(token) is not None)

    def fused(content: bytes, run: Any) -> Any:
        try:
            read_bundle(content)
        except ConfigurationError:
            # No owner could approve it: nobody is going to read what it is configured with.
            return {}
        return fused_config(content, run)

    def alive() -> None:
        for each in watchdogs:
            each.alive()

    server.create_app, loop.get_fused_config_from_fab = create, fused  # type: ignore[attr-defined]
    fleet_answers.guard(_say, alive)


def _is_busy(state: Any) -> bool:
    from flwr.common.constant import Status

    unfinished = [Status.PENDING, Status.STARTING, Status.RUNNING]
    return bool(state.get_tasks(statuses=unfinished, limit=1))


def _say(refusal: MalformedMessage) -> None:
    print(f"error: {refusal.message}; it was passed over", file=sys.stderr)
    if (folder := os.environ.get(FOLDER_VARIABLE)) is not None:
        events = EventFile(Path(folder))
        cause, asked = Cause.MALFORMED, Asked.UNKNOWN
        events.write(Kind.REFUSED, cause=cause, asked=asked, text=refusal.message)


def _end_with_thread(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is not SystemExit:
        _end_because(f"a thread of the SuperNode failed: {died.exc_type.__name__}")


def _end_because(why: str) -> NoReturn:
    print(f"error: {why}", file=sys.stderr)
    _end(_LEFT_ITS_LOOP)


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
