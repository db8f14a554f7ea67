"""T1, T5: the operator has the newest release computed again, and leaves updates out.

Over other updates the model would come out another and be refused; but the optimiser's memory of
the pass would lie with the host by then. Under the key of the release's own memory the difference
would be readable.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.host_file import HostFile
from fedenclave.protocol.aggregation import Momentum
from fedenclave.protocol.errors import RequestRefused
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import FIRST
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_winding_back import SIX, Windable

RULES = replace(DEFAULT_RULES, server=Momentum(learning_rate=1.0, momentum=0.9))
VICTIM, OTHERS = "c00", ("c01", "c02")


def bytes_of(file: HostFile) -> bytes:
    return file.read(file.size(), 0)


def refused(federation: Federation, base: HostFile, new: HostFile) -> None:
    with pytest.raises(RequestRefused):
        federation.repeat(base, [memory_file(), new])


def resumed(enclave: Windable, base: HostFile) -> Federation:
    federation, _ = Federation.resume(
        agreed=enclave.agreed,
        lent=enclave.lent,
        base_model=base,
        segment=enclave.segment,
        sealer=enclave.sealer,
    )
    return federation


def test_no_memory_of_another_cohort_is_sealed_under_the_releases_key() -> None:
    enclave = Windable(1, AnchoredSealer(), RULES)
    base, first = memory_file(FIRST.payload), enclave.base
    enclave.open(SIX)
    enclave.admit({VICTIM: 1, **dict.fromkeys(OTHERS, 1)})
    kept = {name: bytes_of(file) for name, file in enclave.files.items()}
    enclave.close()
    honest, model = bytes_of(enclave.states[0]), bytes(enclave.model())
    assert enclave.base is not first
    # A restart, and no file but the victim's: one after the other is set aside.
    federation, written = resumed(enclave, base), memory_file()
    federation.attach(memory_file(kept[VICTIM]))
    for _ in range(3):
        federation.settle()
        refused(federation, base, written)
    # Not one chunk: what nobody has released is not sealed, under whatever key.
    assert bytes_of(written) == b""
    # With every file it is the release's model; and its memory is sealed under another key.
    for name in OTHERS:
        federation.attach(memory_file(kept[name]))
    federation.repeat(base, [memory_file(), written])
    repeated = bytes_of(written)
    assert len(repeated) == len(honest)
    assert sum(x == y for x, y in zip(honest, repeated, strict=True)) < len(honest) / 100
    into = memory_file()
    federation.write_model(into)
    assert bytes_of(into) == model
