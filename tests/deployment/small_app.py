"""A Flower app of a few numbers, without torch: each node adds what its own configuration says.

While the file that `hold` names is there, a node does not finish its training: so a test can strike
when it wants to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import pack, schema_of

FIRST_NUMBERS = np.zeros(8, np.float32)
_SCHEMA = schema_of({"w": FIRST_NUMBERS})
FIRST = Model(schema=_SCHEMA, payload=bytes(pack(_SCHEMA, {"w": FIRST_NUMBERS})))

_PYPROJECT = """
[project]
name = "small"
version = "1.0.0"
description = "adds a number"
license = "Apache-2.0"
dependencies = []
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.flwr.app]
publisher = "fedenclave"
fab-include = ["small/*.py"]
[tool.flwr.app.components]
serverapp = "small.server_app:app"
clientapp = "small.client_app:app"
[tool.flwr.app.config]
rounds = 1
nodes = 3
timeout = 60.0
aggregator = ""
root-certificate = ""
"""

_SERVER_APP = """
import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    nodes = int(config["nodes"])
    inner = FedAvg(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes
    )
    strategy = Confidential(
        inner, aggregator=config["aggregator"], root_certificate=config["root-certificate"]
    )
    first = ArrayRecord({"w": Array(np.zeros(8, np.float32))})
    strategy.start(
        grid, first, num_rounds=int(config["rounds"]), timeout=float(config["timeout"])
    )
"""

_CLIENT_APP = """
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedenclave.flower import confidential

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    hold = Path(context.node_config["hold"])
    print("training")
    while hold.exists():
        time.sleep(0.05)
    numbers = message.content["arrays"]["w"].numpy() + np.float32(context.node_config["step"])
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(numbers)}),
            "metrics": MetricRecord({"num-examples": 1}),
        }
    )
    return Message(content=content, reply_to=message)
"""


def write_app(folder: Path) -> Path:
    """Write the app into `folder`, and return it."""
    package = folder / "small"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(_PYPROJECT)
    (package / "__init__.py").write_text("")
    (package / "server_app.py").write_text(_SERVER_APP)
    (package / "client_app.py").write_text(_CLIENT_APP)
    return folder
