"""T11: what anybody at the gateway's port has rejected in a round stops no later one.

An end's answers come to the ServerApp in one message of the gateway's, 65 MiB at most: 220,000
rejections of a few bytes each fill it. Here the limit is smaller, and so is their number.
"""

from __future__ import annotations

import pytest

from fedenclave.host import endpoint
from fedenclave.host import gateway as gateway_module
from fedenclave.host import remote as remote_module
from fedenclave.host.gateway import Gateway
from fedenclave.host.remote import RemoteAggregator
from fedenclave.host.rounds import RoundCoordinator
from tests.attacks.world import World


def limit_replies(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Have gateway and ServerApp agree on smaller messages."""
    for module in (gateway_module, remote_module):
        sizes = [(n, limit if v == gateway_module.MAX_REPLY else v) for n, v in module._OPTIONS]
        monkeypatch.setattr(module, "_OPTIONS", tuple(sizes))
    monkeypatch.setattr(gateway_module, "LEAVES_AT_ONCE", limit // 64)
    monkeypatch.setattr(endpoint, "PART_BYTES", limit // 2)


def test_many_rejections_keep_no_serverapp_from_its_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round is released, and its receipts cannot be made; nor can a ServerApp start again."""
    limit_replies(monkeypatch, 64 << 10)
    with (
        Gateway(world.aggregator, "127.0.0.1:0", tls=None, insecure_plaintext=True) as gateway,
        RemoteAggregator(gateway.address, root_certificate=None, insecure=True) as remote,
    ):
        world.coordinator = RoundCoordinator(remote, send_manifest=True)
        world.open()
        world.contribute({"a": 1, "b": 1})
        for _ in range(300):
            remote.submit([b"FEU1"])
        world.sealed("c", 1)  # does not arrive
        world.release("abc")
        world.coordinator = RoundCoordinator(remote, send_manifest=True)
        assert world.coordinator.deliveries_before()


def test_a_long_log_keeps_no_serverapp_from_starting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All leaves come in one message, too: two million entries, which an honest log can have."""
    limit_replies(monkeypatch, 16 << 10)
    world.open()
    for _ in range(500):
        world.aggregator.submit([b"FEU1"])
    world.coordinator.abort()
    with (
        Gateway(world.aggregator, "127.0.0.1:0", tls=None, insecure_plaintext=True) as gateway,
        RemoteAggregator(gateway.address, root_certificate=None, insecure=True) as remote,
    ):
        world.coordinator = RoundCoordinator(remote, send_manifest=True)
        world.open()
