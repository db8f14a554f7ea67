"""A log with many evaluations behind one round, which costs its host nothing, is read as fast."""

from __future__ import annotations

from fedenclave.audit.log_entry import open_entry
from fedenclave.audit.log_rounds import LogRounds
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.signing import public_key, statement_digest
from fedenclave.protocol.statements import Evaluation
from tests.audit.log_builder import KEY, ZERO, LogBuilder
from tests.audit.lying_receipt import BASICS, MANIFEST

MANY = 1000


def test_what_was_read_is_not_copied_with_each_evaluation() -> None:
    """A million of them would take an auditor half an hour."""
    log, rounds = LogBuilder(), LogRounds(public_key(KEY), [MANIFEST])
    log.start()
    log.round()
    for signed in log.signed:
        rounds.add(open_entry(signed).unverified, statement_digest(signed))
    newest = rounds.rounds[-1]
    for number in range(MANY):
        said = Evaluation(
            **BASICS,
            round=1,
            model=rounds.model,
            digest=ZERO,
            checkpoint=rounds.checkpoint(),
            time=0,
        )
        rounds.add(said, Digest(number.to_bytes(32, "big")))
        assert rounds.rounds[-1] is newest
    assert [len(each.evaluations) for each in rounds.history()] == [MANY]
    assert [len(each.evaluations) for each in rounds.history()] == [MANY]
