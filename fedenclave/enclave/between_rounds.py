"""What the enclave signs between two rounds, when its host asks for it.

Rules:
  * Only where no round is open, and the host has the newest release.
  * Sealed and settled as the end of a round is, and told after that.

SPEC.md, sections 7 and 12.3.
"""

from __future__ import annotations

from fedenclave.enclave.federation_rounds import FederationRounds
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.statements import VERSION, Evaluation, FederationStatement, Shutdown


class BetweenRounds(FederationRounds):
    """What one enclave says when it is idle."""

    def shut_down(self, time: int) -> bytes:
        """Return a signed statement that this run ends here; `time` is the host's clock.

        Raises:
            RequestRefused: a round is open, or the newest release has not been fetched.
        """
        self._check_between()
        return self._say(
            Shutdown(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )

    def evaluated(self, digest: Digest, time: int) -> bytes:
        """Return a signed statement that the host says to have evaluated the newest model.

        Args:
            digest: of what it found; nothing here judges it.
            time: the host's clock.

        Raises:
            RequestRefused: as for `shut_down`; or there was no round yet.
        """
        self._check_between()
        if not self._round_number:
            raise RequestRefused(Refusal.WRONG_STATE, hint="there was no round yet")
        return self._say(
            Evaluation(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                model=self._base_digest,
                digest=digest,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )

    def _check_between(self) -> None:
        # Behind a release that was never told, on a machine that keeps no round, nothing may stand:
        # a restart could cut off neither.
        if self._round is not None or not self._fetched:
            raise RequestRefused(
                Refusal.WRONG_STATE, hint="end the round, and fetch its release, first"
            )
        # Whoever reaches the host can ask for as many as it likes: the other half is for rounds.
        if self._journal.full or self._log.is_half_full:
            raise RequestRefused(Refusal.STATE, hint="open a round")

    def _say(self, statement: FederationStatement) -> bytes:
        self._journal.bind()
        signed = self._log.append(statement)
        self._log.checkpoint()  # of the note that the host asks for next
        return signed
