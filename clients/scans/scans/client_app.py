"""What runs beside a hospital's SuperNode: train on its own sealed pictures.

Rules:
  * Only the sealed dataset that the node's owner named is read. There is no way for plain text.
  * A reply holds parameters, `num-examples`, and 32 bytes that say which data were trained on.
  * The confidential mod comes first, so nothing here runs before the enclave has been appraised,
    and nothing leaves but a sealed update.
"""

from __future__ import annotations

import logging

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedenclave.flower import LINEAGE, confidential, lineage_record, open_node_dataset

logger = logging.getLogger("scans")

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take this round's local epochs from the model in the message."""
    import torch

    from scans.holdings import ScansError, holdings
    from scans.training import Setting
    from scans.training import train as train_model

    config = context.run_config
    server_round = message.content.config_records["config"]["server-round"]
    if not isinstance(server_round, int):
        raise RuntimeError("message has no server-round")
    setting = Setting(
        epochs=int(config["local-epochs"]),
        batch_size=int(config["batch-size"]),
        learning_rate=float(config["learning-rate"]),
    )
    arrays = {
        name: array.numpy() for name, array in message.content.array_records["arrays"].items()
    }
    torch.set_num_threads(1)
    with open_node_dataset(context) as dataset:
        if dataset is None:
            logger.error("error: no sealed dataset is named\nhint: in node.toml's [data]")
            raise RuntimeError("this hospital's pictures could not be read")
        try:
            held = holdings(dataset)
            pictures = held.parts["train"]
            seed = int(config["seed"]) * 1000 + server_round
            trained = train_model(arrays, pictures, setting, seed)
        except ScansError as error:
            logger.error("error: %s\nhint: %s", error, error.hint)
            raise RuntimeError("this hospital's pictures could not be read") from None
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(values) for name, values in trained.items()}),
            "metrics": MetricRecord({"num-examples": len(pictures)}),
            LINEAGE: lineage_record(context, held.lineage),
        }
    )
    return Message(content=content, reply_to=message)
