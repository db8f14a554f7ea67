"""The one error with which the demo's machinery refuses to go on.

Rule: a message says what happened, what was got and what was wanted, in lower case; the hint
says what to do next. A caller's own bug is ValueError instead.
"""

from __future__ import annotations

from fedenclave.protocol.errors import FedEnclaveError, printable


class DeploymentError(FedEnclaveError):
    """A process, port or run of the demo's deployment is not as it has to be.

    Its message may have lines: the last ones of a log, which are our own programs'.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """See `FedEnclaveError`."""
        super().__init__(message, hint=hint)
        self.message = "\n".join(map(printable, message.split("\n")))
