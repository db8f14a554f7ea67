"""One message, answered by an app that the owner approved, or refused: a process of its own.

It takes the place of Flower's `flwr-clientapp`, which installs and runs what it is given. There is
no line here that would do that: the code that runs comes from the owner's copy (admitted.py).

Rules:
  * What an app knows of its node is what node.toml says, and never what came with the message.
  * The decision is made before any of the app's code is imported, which another process does
    (app_alone.py): the mod, the connection and the task's token are this one's.
  * A SuperLink is told that an app is not approved, or that it failed, and no reason (T13).
  * What is not as expected ends the process: then nothing has run, and Flower reports the loss.

Kept from an approved app: to answer in plain text, to write into the node's log, to gain rights, to
outlive its launcher, and, where node.toml has a [confinement] and the kernel Landlock, to write and
connect elsewhere (bound.py). Nothing else that its user may do on this machine.

Source: flwr 1.41, flwr/supernode/runtime/run_clientapp.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from fedenclave.client.events import Asked, EventFile, Kind
from fedenclave.client.refusals import Cause, cause_of
from fedenclave.flower.own_lines import say_error, take_into
from fedenclave.node.admitted import FOR_HOST, admit, unpack
from fedenclave.node.app_caller import AppCaller, AppNotLoaded
from fedenclave.node.approvals import AppApprovals, AppNotApproved
from fedenclave.node.bundle import Bundle
from fedenclave.node.own_settings import with_own_settings, without_settings
from fedenclave.node.process_limits import end_with_parent, keep_memory_to_itself
from fedenclave.node.runtime_api import runtime_client
from fedenclave.protocol.errors import FedEnclaveError

_FAILED = "the client app failed; the reason stays in the node's own log"
_DONE, _REFUSED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back to the SuperLink. `context` is None where no app ran."""

    message: Message
    context: Context | None
    done: bool


def answer(
    message: Message, context: Context, sent: bytes, task_type: str, approvals: AppApprovals
) -> Answer:
    """Let the approved app answer, or refuse."""
    events = EventFile(approvals.folder.parent)
    try:
        bundle = admit(sent, task_type, approvals)
        context = with_own_settings(context, approvals.folder.parent)
    except FedEnclaveError as refusal:
        _refused(refusal, events)
        return _error(message, ErrorCode.INVALID_FAB, FOR_HOST)
    try:
        return Answer(message=_run(bundle, message, context), context=context, done=True)
    except (AppNotApproved, AppNotLoaded) as refusal:
        _refused(refusal, events)
        return _error(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, _FAILED)
    except Exception as error:
        # Its text could carry anything of the node's data.
        traceback.print_exc()
        text = f"the app failed outside of the mod: {type(error).__name__}"
        events.write(Kind.REFUSED, cause=Cause.APP_FAILED, asked=Asked.UNKNOWN, text=text)
        return _error(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, _FAILED)


def _refused(refusal: FedEnclaveError, events: EventFile) -> None:
    causes = {AppNotApproved: Cause.APP, AppNotLoaded: Cause.APP_FAILED}
    cause = causes.get(type(refusal)) or cause_of(refusal)
    events.write(Kind.REFUSED, cause=cause, asked=Asked.UNKNOWN, text=refusal.message)
    say_error(refusal)


def _run(bundle: Bundle, message: Message, context: Context) -> Message:
    with tempfile.TemporaryDirectory(prefix="fedenclave-app-") as folder:
        app_folder = unpack(bundle, Path(folder))
        with AppCaller(bundle, app_folder) as app:
            return app.answer(message, context)


def _error(message: Message, code: int, reason: str) -> Answer:
    return Answer(message=Message(Error(code, reason), reply_to=message), context=None, done=False)


def serve(client: RuntimeHttpClient, task_type: str, approvals: AppApprovals) -> int:
    """Take one task from a SuperNode, answer it, and return the exit status."""
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    try:
        message, context, _run_info, fab = pull_task_input(client)
        given = answer(message, context, fab.content, task_type, approvals)
        push_message(client, given.message, context)
        push_task_output(
            client=client,
            context=without_settings(given.context),
            sub_status=SubStatus.COMPLETED if given.done else SubStatus.FAILED,
            details="" if given.done else FOR_HOST,
        )
        return _DONE if given.done else _REFUSED
    finally:
        heartbeat.stop()
        client.close()


def main() -> int:
    """Run the process; token and certificate come on stdin, where no other user reads them."""
    parser = argparse.ArgumentParser(description="answers one message for a node")
    parser.add_argument("--runtime-api-address", required=True)
    parser.add_argument("--client-folder", type=Path, required=True)
    parser.add_argument("--task-type", required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--own-lines", type=int)
    words = parser.parse_args()
    keep_memory_to_itself()
    if words.own_lines is not None:
        take_into(words.own_lines)
    token = sys.stdin.readline().strip()
    certificate = sys.stdin.read().encode()
    if not end_with_parent(words.parent_pid):
        start_parent_process_monitor(words.parent_pid)
    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
        RuntimeTokenHttpInterceptor(token),
    ]
    client = runtime_client(words.runtime_api_address, certificate, interceptors)
    return serve(client, words.task_type, AppApprovals(words.client_folder))


if __name__ == "__main__":
    sys.exit(main())
