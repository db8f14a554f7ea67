"""Two lines make a Flower app confidential.

app = ClientApp(mods=[confidential()])             # client_app.py: first, that is outermost
strategy = Confidential(FedAvg(fraction_train=1))  # server_app.py: around Flower's own
"""

from fedenclave.flower.mod import confidential
from fedenclave.flower.strategy import Confidential

__all__ = ["Confidential", "confidential"]
