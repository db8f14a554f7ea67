"""Receipts of a real round: valid offline, and worthless after any change."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedenclave
from fedenclave.audit.receipt import ReceiptInvalid, Verdict, summary, verify_receipt
from fedenclave.protocol import merkle
from fedenclave.protocol.codec import encode
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import statement_digest
from tests.attacks.test_t16_swap import one_byte, swap
from tests.attacks.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One round that is released, with c set aside, d rejected and e left out; one aborted."""
    owners = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta", "e": "epsilon"}
    world = World(tmp_path_factory.mktemp("audit"), owners)
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abcd"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    assert not world.submit("d", one_byte(sealed["d"], len(sealed["d"]) - 1)).admitted
    swap(world.stored(sealed["c"]), one_byte(sealed["c"], len(sealed["c"]) - 1))
    world.sealed("e", 1)
    world.release("abcde")
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.sealed("e", 1)
    deliveries = world.coordinator.abort()
    for name in "abe":
        world.sessions[name].take_delivery(deliveries[name])
    yield world
    world.close()


def receipt(world: World, name: str, round_: int = 1) -> bytes:
    kept = world.stores[name].receipts.items()
    return next(data for file, data in kept if file.startswith(f"round-{round_:06d}"))


CASES = {
    ("a", 1): Verdict.INCLUDED,
    ("b", 1): Verdict.INCLUDED,
    ("c", 1): Verdict.SET_ASIDE,
    ("d", 1): Verdict.REJECTED,
    ("e", 1): Verdict.LEFT_OUT,
    ("a", 2): Verdict.ABORTED,
    ("e", 2): Verdict.LEFT_OUT,
}


@pytest.mark.parametrize(("name", "round_"), CASES)
def test_a_receipt_proves_what_became_of_the_update(world: World, name: str, round_: int) -> None:
    found = verify_receipt(receipt(world, name, round_), world.manifest)
    assert found.verdict is CASES[name, round_]
    assert (found.client, found.round, found.federation) == (name, round_, world.manifest.name)
    included = found.verdict in (Verdict.INCLUDED, Verdict.SET_ASIDE) or (name, round_) == ("e", 1)
    assert found.clients == (("a", "b") if included else ())
    assert found.organisations == (("alpha", "beta") if included else ())
    assert (found.model is not None) == included
    reasons = {
        ("d", 1): "cannot-open",
        ("e", 1): "released without it",
        ("e", 2): "aborted without an answer",
    }
    assert found.reason == reasons.get((name, round_), "")
    assert found.attestation.insecure
    assert json.loads(json.dumps(summary(found)))["verdict"] == found.verdict.value


@pytest.mark.parametrize(("name", "round_"), CASES)
def test_a_receipt_holds_the_log_with_the_end_of_its_round_as_the_last_entry(
    world: World, name: str, round_: int
) -> None:
    data = receipt(world, name, round_)
    found, delivery = verify_receipt(data, world.manifest), Receipt.from_bytes(data).delivery
    leaves = world.aggregator.leaves(0)[: found.checkpoint.size]
    assert leaves[-1] == statement_digest(delivery.abort or delivery.release)
    assert found.checkpoint.root == merkle.root(leaves)


def test_an_auditor_needs_no_server_no_flower_and_no_torch(world: World, tmp_path: Path) -> None:
    (tmp_path / "receipt").write_bytes(receipt(world, "a"))
    (tmp_path / "federation.toml").write_bytes(world.manifest.source)
    code = """
import json, sys
from pathlib import Path
def refuse(*arguments):
    if arguments[0] in ("socket.connect", "socket.bind", "subprocess.Popen", "os.fork"):
        raise RuntimeError(arguments[0])
sys.addaudithook(refuse)
from fedenclave.audit.receipt import summary, verify_receipt
from fedenclave.protocol.manifest import Manifest
trusted = Manifest.from_bytes(Path("federation.toml").read_bytes())
found = verify_receipt(Path("receipt").read_bytes(), trusted)
packages = {name.partition(".")[0] for name in sys.modules}
inner = {name for name in sys.modules if name.startswith("fedenclave.")}
print(json.dumps({"summary": summary(found), "packages": sorted(packages), "inner": sorted(inner)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(fedenclave.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["summary"]["verdict"] == "included"
    assert said["summary"]["organisations"] == ["alpha", "beta"]
    assert not {"flwr", "torch", "grpc", "google", "ray"} & set(said["packages"])
    parts = {name.split(".")[1] for name in said["inner"]}
    assert parts == {"attestation", "audit", "protocol"}


def unprotected(data: bytes) -> range:
    """Return where the client's own note of the time lies: nobody signs it, it proves nothing."""
    part = Receipt.from_bytes(data).participation
    plain = encode(part.to_plain())
    start = data.index(plain) + plain.index(encode("time") + encode(part.time))
    return range(start + 5, start + 5 + len(encode(part.time)))


@pytest.mark.parametrize(("name", "round_"), CASES)
def test_a_receipt_with_any_byte_changed_proves_nothing(
    world: World, name: str, round_: int
) -> None:
    data = receipt(world, name, round_)
    note = unprotected(data)
    positions = [*range(0, len(data), 23), *range(len(data) - 300, len(data))]
    for position in positions:
        if position in note:
            continue
        for flip in (0x01, 0x80):
            changed = bytearray(data)
            changed[position] ^= flip
            with pytest.raises(ReceiptInvalid):
                verify_receipt(bytes(changed), world.manifest)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_receipt(world: World, data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        verify_receipt(data, world.manifest)


def test_a_receipt_cut_or_lengthened_proves_nothing(world: World) -> None:
    data = receipt(world, "a")
    for size in range(0, len(data), 97):
        with pytest.raises(ReceiptInvalid):
            verify_receipt(data[:size], world.manifest)
    with pytest.raises(ReceiptInvalid):
        verify_receipt(data + b"\0", world.manifest)


def test_a_receipt_is_judged_by_the_readers_manifest_not_by_its_own(world: World) -> None:
    other = Manifest.from_bytes(world.manifest.source + b"# another\n")
    with pytest.raises(ReceiptInvalid, match="another manifest than yours"):
        verify_receipt(receipt(world, "a"), other)


def test_parts_of_two_receipts_do_not_make_a_third(world: World) -> None:
    a, b, c, d, e = (Receipt.from_bytes(receipt(world, name)) for name in "abcde")
    late = Receipt.from_bytes(receipt(world, "a", 2))
    for mixed in (
        replace(a, delivery=b.delivery),
        replace(a, participation=b.participation),
        replace(a, client="b"),
        replace(a, delivery=late.delivery),
        replace(a, participation=late.participation),
        replace(d, delivery=a.delivery),
        replace(a, delivery=replace(a.delivery, answer=d.delivery.answer)),
        replace(a, delivery=replace(a.delivery, abort=late.delivery.abort)),
        replace(c, delivery=replace(c.delivery, cohort=b"")),
        replace(a, delivery=e.delivery),
        replace(a, delivery=replace(a.delivery, answer=b"")),
        replace(c, delivery=e.delivery),
        replace(e, delivery=a.delivery),
        replace(e, delivery=replace(e.delivery, answer=d.delivery.answer)),
        replace(e, delivery=replace(late.delivery, answer=b"")),
    ):
        with pytest.raises(ReceiptInvalid):
            verify_receipt(mixed.to_bytes(), world.manifest)
