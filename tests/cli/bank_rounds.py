"""Rounds of the three banks, through their client folders and an enclave of their federation."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from fedenclave.client.folder import ClientFolder
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import pack, unpack
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.cli.conftest import BANKS


def folders_of(federation: Path) -> dict[str, ClientFolder]:
    """Return the client folder of every bank."""
    return {bank: ClientFolder(federation / bank) for bank in BANKS}


def aggregator_of(federation: Path, name: str = "aggregator") -> Aggregator:
    """Start an enclave on the manifest that the banks have approved, in a folder of that name."""
    folder = ClientFolder(federation / BANKS[0])
    return Aggregator(
        federation / name,
        manifest=folder.manifest().source,
        approvals=folder.approvals(),
        model=Model.from_bytes((federation / "first-model.fem").read_bytes()),
        tee=INSECURE,
    )


def one_round(
    coordinator: RoundCoordinator, folders: dict[str, ClientFolder], model_file: bytes
) -> None:
    """Run one round through a coordinator, every client as in a process of its own."""
    now = int(time.time())
    model = Model.from_bytes(model_file)
    sessions = {bank: folder.session() for bank, folder in folders.items()}
    offers = coordinator.open(
        {b: session.hello(now) for b, session in sessions.items()}, NO_TRAINING_CONFIG
    )
    for bank, offer in offers.items():
        accepted = sessions[bank].accept(offer, model_file, now, training_config=NO_TRAINING_CONFIG)
        tensors = unpack(model.schema, model.payload)
        trained = {k: (v + np.ones_like(v)).astype(v.dtype) for k, v in tensors.items()}
        sealed = sessions[bank].seal(accepted, pack(model.schema, trained), 7)
        assert coordinator.submit(bank, sealed).admitted
    _, deliveries = coordinator.close()
    for bank, delivery in deliveries.items():
        # A new session each time, as in a new process: everything is on disk.
        folders[bank].session().take_delivery(delivery)
