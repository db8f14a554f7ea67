"""Two lines make a Flower app confidential.

app = ClientApp(mods=[confidential()])             # client_app.py: first, that is outermost
strategy = Confidential(FedAvg(fraction_train=1))  # server_app.py: around Flower's own

And where an app reads a node's sealed data: node_data.py.
"""

from fedenclave.flower.app_result import LINEAGE
from fedenclave.flower.mod import confidential
from fedenclave.flower.node_data import lineage_record, open_node_dataset, plain_file
from fedenclave.flower.strategy import Confidential

__all__ = [
    "LINEAGE",
    "Confidential",
    "confidential",
    "lineage_record",
    "open_node_dataset",
    "plain_file",
]
