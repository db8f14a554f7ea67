"""Call the app with the checked model and what was digested, and with nothing else (T8).

Whatever of a message an app could tell it from another client's by is made anew here: the order of
records and keys, the metadata, every record of another kind.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from numpy.typing import NDArray

from fedenclave.flower.own_lines import is_ours, say, say_error
from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import unpack

_OURS = "fedenclave"
"""Records of these names are between the strategy and the mod, or the app and the mod."""

CallNext = Callable[[Message, Context], Message]

_SUPERLINK_NODE = 1
_TTL_SECONDS = 43_200.0
"""What Flower gives a message by default."""


class AppRaised(Exception):
    """The app has raised in a process of its own, and its words stayed there."""


def call_app(
    message: Message, context: Context, call_next: CallNext, model: Model, arrays_key: str
) -> Message | None:
    """Give the app an ordinary message, and return its reply; None where it raised.

    Args:
        message: what came, its configuration compared with the announced one where it trains.
        context: the app's, whose run configuration it gets a sorted copy of.
        call_next: the app.
        model: the checked model.
        arrays_key: the name under which the app expects the parameters.
    """
    run_config = context.run_config
    context.run_config = {key: run_config[key] for key in sorted(run_config)}
    try:
        reply = call_next(_made_anew(message, context, model, arrays_key), context)
    except AppRaised:
        return None
    except Exception as error:
        if isinstance(error, FedEnclaveError) and is_ours(error):
            # Said in our own words: a dataset that does not open.
            say_error(error)
        else:
            traceback.print_exc()
        return None
    finally:
        context.run_config = run_config
    if reply.has_error():
        # Why, it says in words of its own, which can hold anything (T13).
        say("error: the client app answered with an error")
        print(f"the app's error: {reply.error}", file=sys.stderr)
        return None
    return reply


def _made_anew(message: Message, context: Context, model: Model, arrays_key: str) -> Message:
    content = RecordDict()
    configs = message.content.config_records
    for name in sorted(configs.keys()):
        # An app may answer with what it got: the server must not say what it says of its data.
        if not name.startswith(_OURS):
            record = configs[name]
            content[name] = ConfigRecord({key: record[key] for key in sorted(record)})
    content[arrays_key] = ArrayRecord(
        {name: _array(values) for name, values in unpack(model.schema, model.payload).items()}
    )
    came = message.metadata
    metadata = Metadata(
        run_id=context.run_id,
        message_id="",
        src_node_id=_SUPERLINK_NODE,
        dst_node_id=context.node_id,
        reply_to_message_id="",
        group_id=came.group_id,
        created_at=time.time(),
        ttl=_TTL_SECONDS,
        message_type=came.message_type,
    )
    return make_message(metadata, content)


def _array(values: NDArray[np.generic]) -> Array:
    # Not ascontiguousarray: it turns a scalar into an array of one.
    return Array(np.array(values, order="C"))
