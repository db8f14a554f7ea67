"""The client: plain or confidential by what its node's environment says."""

from __future__ import annotations

import os

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

if os.environ.get("ROUND_APP_PLAIN"):
    app = ClientApp()
else:
    from fedenclave.flower import confidential

    app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Add a small number to every parameter."""
    arrays = message.content.array_records["arrays"]
    new = {name: Array(array.numpy() + np.float32(0.001)) for name, array in arrays.items()}
    content = RecordDict(
        {"arrays": ArrayRecord(new), "metrics": MetricRecord({"num-examples": 100})}
    )
    return Message(content=content, reply_to=message)
