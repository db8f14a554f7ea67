"""Ports that are free, and a clear word about one that is not."""

from __future__ import annotations

import socket

import pytest

from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.ports import HOST, check_port_is_free, is_free, pick_free_ports


def test_picked_ports_differ_and_can_be_listened_on() -> None:
    ports = pick_free_ports(5)
    assert len(set(ports)) == 5
    assert all(is_free(port) for port in ports)


def test_taken_port_is_refused_with_a_hint() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"port {port} on 127.0.0.1 is taken") as refusal:
            check_port_is_free(port, used_by="the SuperLink", option="--port")
    assert "--port" in refusal.value.hint


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(DeploymentError, match="want a port from 1 to 65535"):
        check_port_is_free(port, used_by="the SuperLink", option="--port")
