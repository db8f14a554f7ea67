"""An app, in a process of its own: it is loaded, and called with what `app_caller` sends.

The process has no connection, no token and no way into the node's log: what the app returns goes to
`app_caller`, whatever the app is like, and no further in plain text. What it prints goes where its
owner keeps what apps print, or nowhere.

Source: flwr 1.41, flwr/clientapp/utils.py.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import traceback
from enum import StrEnum
from pathlib import Path

from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.flower.mod import mod_is_around
from fedenclave.flower.own_lines import is_ours
from fedenclave.node.app_pipe import AppPipe
from fedenclave.node.loaded_app import AsLoaded
from fedenclave.node.process_limits import end_with_parent, keep_memory_to_itself
from fedenclave.protocol.errors import FedEnclaveError


class Said(StrEnum):
    """What an app's process says."""

    LOADED = "loaded"
    UNLIKE = "unlike"
    """Which is in `why`."""
    ANSWERED = "answered"
    """The reply's content and the context's state follow."""
    ERROR = "error"
    RAISED = "raised"
    """An error of ours, where it is one, is in `message` and `hint`."""


def serve(pipe: AppPipe) -> None:
    """Load the app that is named, and answer for it until the other end is gone."""
    app = _load(pipe)
    while app is not None:
        try:
            wanted = pipe.receive()
        except EOFError:
            return
        message, context = pipe.receive_call()
        TaskIdentity.task_id = int(str(wanted["task"]))
        TaskIdentity.run_id, TaskIdentity.node_id = context.run_id, context.node_id
        try:
            with mod_is_around():
                reply = app(message=message, context=context)
        except Exception as error:
            traceback.print_exc()
            _flush()
            known = error if isinstance(error, FedEnclaveError) and is_ours(error) else None
            words = {"message": known.message, "hint": known.hint} if known is not None else {}
            pipe.send({"said": Said.RAISED, **words})
            continue
        _flush()
        _answer(pipe, reply)
        if not reply.has_error():
            pipe.send_records(context.state)


def _load(pipe: AppPipe) -> ClientApp | None:
    named = {key: str(value) for key, value in pipe.receive().items()}
    before = AsLoaded()
    load = get_load_client_app_fn(default_app_ref="", app_path=named["folder"], multi_app=True)
    try:
        app = load(named["app"], named["version"], named["hash"])
    except BaseException:
        traceback.print_exc()
        _flush()
        pipe.send({"said": Said.RAISED})
        return None
    why = before.unlike(app, named["module"], Path(named["folder"], named["file"]))
    pipe.send({"said": Said.LOADED} if why is None else {"said": Said.UNLIKE, "why": why})
    return app if why is None else None


def _answer(pipe: AppPipe, reply: Message) -> None:
    if reply.has_error():
        print(f"the app's error: {reply.error}", file=sys.stderr, flush=True)
        pipe.send({"said": Said.ERROR})
    else:
        pipe.send({"said": Said.ANSWERED})
        pipe.send_records(reply.content)


def _flush() -> None:
    # This process may be ended as soon as it has answered.
    sys.stdout.flush()
    sys.stderr.flush()


def main() -> int:
    """Serve at the pipe that was inherited."""
    parser = argparse.ArgumentParser(description="runs an approved app for a node's process")
    parser.add_argument("--pipe", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    words = parser.parse_args()
    keep_memory_to_itself()
    if not end_with_parent(words.parent_pid):
        start_parent_process_monitor(words.parent_pid)
    os.set_inheritable(words.pipe, False)
    serve(AppPipe(socket.socket(fileno=words.pipe)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
