"""An aggregator that ends between two rounds says so in its log, and ends whether it can or not."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import pytest

from fedenclave.audit.log import VerifiedLog, verify_log
from fedenclave.protocol.signed_note import SignedNote
from fedenclave.protocol.signing import PublicKey, Signed
from fedenclave.protocol.statements import Shutdown
from tests.attacks.world import World
from tests.restart.test_restart import one_round

LIMIT_SECONDS = 20.0


def kinds(world: World) -> list[str]:
    """Return the types of what is in the log's file."""
    return [Signed.from_bytes(signed).type for signed in world.aggregator._statements.statements()]


def verified(world: World) -> VerifiedLog:
    """Return what the log's file says."""
    data = (world.folder / "statements.fel").read_bytes()
    key = PublicKey(world.aggregator.info()[2].signing_key)
    return verify_log(io.BytesIO(data), key, world.manifest)


def test_ended_between_rounds_it_says_so_and_the_log_goes_on_behind_it(world: World) -> None:
    world.restart()
    one_round(world, {"a": 1, "b": 1, "c": 1})
    world.restart()
    world.restart()  # and no round between
    assert [kind for kind in kinds(world) if kind != "admission"] == [
        *("start", "shutdown", "announcement", "release", "shutdown", "shutdown")
    ]
    one_round(world, {"a": 1, "b": 1, "c": 1})
    # Every client has followed the log over them.
    assert world.sessions["a"].state.log_size > 7
    world.close()
    found = verified(world)
    assert (found.shutdowns, len(found.rounds)) == (4, 2)
    last = Shutdown.from_bytes(Signed.from_bytes(list(_signed(world))[-1]).payload)
    assert (last.round, last.checkpoint.size) == (2, found.checkpoint.size - 1)


def _signed(world: World) -> list[bytes]:
    world.start()
    return world.aggregator._statements.statements()


def test_the_checkpoint_that_is_published_stays_that_of_the_last_round(world: World) -> None:
    """So members whose copies end there can still cosign it, and no cosignature is lost."""
    one_round(world, {"a": 1, "b": 1, "c": 1})
    published = world.folder / "checkpoint"
    before = published.read_bytes()
    for _ in range(3):
        world.close()
        assert published.read_bytes() == before
        world.start()
        assert published.read_bytes() == before
    assert SignedNote.from_bytes(before).unverified_text.splitlines()[1] == "6"
    assert kinds(world)[-3:] == ["shutdown"] * 3
    # One that is gone, or behind by more than that, is signed anew.
    world.close()
    published.unlink()
    world.start()
    assert world.aggregator.checkpoint_file.size == len(kinds(world)) == 10
    one_round(world, {"a": 1, "b": 1, "c": 1})
    assert world.aggregator.checkpoint_file.size == len(kinds(world)) == 15
    world.close()
    published.write_bytes(before)
    world.start()
    assert world.aggregator.checkpoint_file.size == len(kinds(world)) == 16


def test_ended_in_an_open_round_it_says_nothing_and_the_round_goes_on(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.close()
    world.resume()
    assert "shutdown" not in kinds(world)
    assert world.release("ab")[0].clients == 2


def test_ended_before_a_release_is_fetched_it_says_nothing(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.aggregator._close()
    world.close()
    world.resume()
    assert kinds(world)[-1] == "release"
    assert world.aggregator.close_round().closed.release


@pytest.mark.slow
def test_an_enclave_that_hangs_or_is_gone_holds_up_no_end(world: World) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    pid = world.aggregator.enclave_pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    world.close()
    assert time.monotonic() - began < LIMIT_SECONDS
    world.close()  # twice is once
    world.start()
    assert "shutdown" not in kinds(world)
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)
    began = time.monotonic()
    world.close()
    assert time.monotonic() - began < LIMIT_SECONDS


def test_a_pass_that_is_running_holds_up_no_end(world: World) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with world.aggregator._lock:
            held.set()
            done.wait(LIMIT_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    began = time.monotonic()
    world.close()
    assert time.monotonic() - began < LIMIT_SECONDS
    done.set()
    thread.join()
    world.start()
    assert kinds(world) == ["start"]


def test_a_disk_that_takes_no_more_holds_up_no_end(world: World) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    os.close(world.aggregator._statements._descriptor)
    world.aggregator._statements._descriptor = os.open("/dev/full", os.O_RDWR)
    world.close()
    world.start()
    # It was sealed, so it is written again.
    assert kinds(world)[-1] == "shutdown"
