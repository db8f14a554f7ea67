"""What runs beside a bank's SuperNode: moments or training of its own loans, answered as a model.

Rules:
  * In a deployment the node's owner names its data, sealed or not (holdings.py), and nothing else
    is read. The server has no say in it. Only in simulation, where there is no such entry, is a
    bank chosen by `partition-id`.
  * Whether moments are wanted is what the attested model says, not what the server says: a bank
    answers with moments to a model that has none, and to no other.
  * A reply holds the model, `num-examples`, and the validation loss of the model that came: the
    enclave lets out the mean of it over all banks.
  * The confidential mod comes first, so nothing here runs before the enclave has been appraised,
    and nothing leaves but a sealed update.
  * Data errors are logged on this side; the server is told no more than that there was one.
  * torch is imported by the first training message, not by this module.
"""

from __future__ import annotations

import logging

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bank.data import BankData, LoanDataError, prepared
from bank.holdings import Holdings, read_holdings
from bank.metrics import auc
from bank.records import VALIDATION_LOSS, named, unnamed
from fedenclave.flower import LINEAGE, confidential, lineage_record

logger = logging.getLogger("bank")

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer the model in the message with this bank's moments, or with a model trained here."""
    import torch

    from bank.federation import shuffle_seed
    from bank.training import Steps, local_round, validation_loss

    held = load(context)
    bank = held.data
    config = context.run_config
    server_round = message.content.config_records["config"]["server-round"]
    if not isinstance(server_round, int):
        raise RuntimeError("message has no server-round")
    torch.set_num_threads(1)  # 20 parameters: a second thread only waits.
    came = unnamed(message.content.array_records["arrays"])
    steps = Steps(
        updates=int(config["local-updates"]),
        batch_size=int(config["batch-size"]),
        learning_rate=float(config["learning-rate"]),
    )
    seed = shuffle_seed(int(config["seed"]), server_round, bank.name)
    metrics = {
        "num-examples": len(bank.train.labels),
        VALIDATION_LOSS: validation_loss(came, bank),
    }
    content = RecordDict(
        {
            "arrays": named(local_round(came, bank, steps, seed)),
            "metrics": MetricRecord(metrics),
        }
    )
    if held.lineage is not None:
        content[LINEAGE] = lineage_record(context, held.lineage)
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the model in the message on this bank's own test loans; the figures stay here."""
    test = load(context).data.test
    ranked = auc(
        unnamed(message.content.array_records["arrays"]).logits(test.features), test.labels
    )
    if ranked is None:
        raise RuntimeError("the test loans are all of one kind")
    metrics = MetricRecord({"auc": ranked, "num-examples": len(test.labels)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


def load(context: Context) -> Holdings:
    """Return this node's bank.

    Raises:
        RuntimeError: the data could not be loaded; why is in this node's log.
        FedEnclaveError: the sealed dataset could not be opened; why is said there by the mod.
    """
    try:
        return read_holdings(context) or Holdings(data=_simulated(context))
    except LoanDataError as error:
        logger.error("error: %s\nhint: %s", error, error.hint)
        raise RuntimeError("this bank's loans could not be loaded") from None


def _simulated(context: Context) -> BankData:
    from bank.lending_club import BANKS, read_federation

    hint = (
        "name a sealed dataset in the [data] of node.toml, or simulate with num-supernodes="
        f"{len(BANKS)}"
    )
    partitions = context.node_config.get("num-partitions")
    if partitions != len(BANKS):
        raise LoanDataError(f"federation has {partitions} partitions, want {len(BANKS)}", hint)
    return prepared(read_federation()[int(context.node_config["partition-id"])])
