"""The client: Flower's quickstart, and one line of FedEnclave."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedenclave.flower import confidential
from quickstart.task import Net, load_data, test
from quickstart.task import train as train_net

app = ClientApp(mods=[confidential()])  # was: ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model on this node's data."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loader, _ = load_data(int(context.node_config["partition-id"]))
    loss = train_net(
        net,
        loader,
        int(context.run_config["local-epochs"]),
        float(context.run_config["learning-rate"]),
    )
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(loader.dataset)})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's test data."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    _, loader = load_data(int(context.node_config["partition-id"]))
    metrics = MetricRecord({"accuracy": test(net, loader), "num-examples": len(loader.dataset)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
