"""What runs beside a hospital's SuperNode: train on its own rows, answer with parameters.

Rules:
  * In a deployment the node's owner says in node.toml which data are read (holdings.py), and the
    server has no say in it. Only in simulation is a hospital chosen by `partition-id`.
  * A reply holds parameters, `num-examples` and, of a sealed dataset, 32 bytes that say which data
    were trained on; no other metric.
  * The confidential mod comes first, so nothing here runs before the enclave has been appraised,
    and nothing leaves but a sealed update.
  * Data errors are logged on this side; the server is told no more than that there was one.
  * torch is imported by the first training message, not by this module: each message is a new
    process, and importing torch takes longer than evaluating.
"""

from __future__ import annotations

import logging

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedenclave.flower import LINEAGE, confidential, lineage_record
from hospital.data import HOSPITALS, HeartDataError, HospitalData, Scale, normalise
from hospital.holdings import Holdings, read_holdings
from hospital.metrics import evaluate as evaluate_model
from hospital.records import named

logger = logging.getLogger("hospital")

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take this round's local updates from the model in the message."""
    import torch

    from hospital.training import local_round

    held = load(context)
    hospital = held.data
    config = context.run_config
    server_round = message.content.config_records["config"]["server-round"]
    if not isinstance(server_round, int):
        raise RuntimeError("message has no server-round")
    torch.set_num_threads(1)  # 14 parameters: a second thread only waits.
    parameters, num_examples = local_round(
        message.content.array_records["arrays"].to_numpy_ndarrays(),
        hospital,
        updates=int(config["local-updates"]),
        batch_size=int(config["batch-size"]),
        learning_rate=float(config["learning-rate"]),
        optimiser=str(config["optimiser"]),
        seed=(int(config["seed"]), server_round, HOSPITALS.index(hospital.name)),
    )
    content = RecordDict(
        {
            "arrays": named(parameters),
            "metrics": MetricRecord({"num-examples": num_examples}),
        }
    )
    if held.lineage is not None:
        content[LINEAGE] = lineage_record(context, held.lineage)
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the model in the message on this hospital's own test rows."""
    hospital = load(context).data
    parameters = message.content.array_records["arrays"].to_numpy_ndarrays()
    result = evaluate_model(parameters, hospital.test_features, hospital.test_labels)
    metrics = MetricRecord({"accuracy": result.accuracy, "num-examples": result.num_examples})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


def load(context: Context) -> Holdings:
    """Return this node's hospital.

    Raises:
        RuntimeError: the data could not be loaded; why is in this node's log.
        FedEnclaveError: the sealed dataset could not be opened; why is said there by the mod.
    """
    scale: Scale = "own" if context.run_config["feature-scale"] == "own" else "agreed"
    try:
        return read_holdings(context, scale) or Holdings(data=_simulated(context, scale))
    except HeartDataError as error:
        logger.error("error: %s\nhint: %s", error, error.hint)
        raise RuntimeError("this hospital's data could not be loaded") from None


def _simulated(context: Context, scale: Scale) -> HospitalData:
    from hospital.uci import read_federation

    hint = (
        "name a sealed dataset in the [data] of node.toml, or simulate with num-supernodes="
        f"{len(HOSPITALS)}"
    )
    partitions = context.node_config.get("num-partitions")
    if partitions != len(HOSPITALS):
        raise HeartDataError(f"federation has {partitions} partitions, want {len(HOSPITALS)}", hint)
    rows = read_federation()[int(context.node_config["partition-id"])]
    return normalise(rows, scale)
