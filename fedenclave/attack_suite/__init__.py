"""Attacks on a live federation of this machine, played to see what stops them.

The operator, the network and one member are the attacker's; the enclave is a real process in
development mode, the honest clients are the client package's own. Nothing is imitated on the
defenders' side: what stops an attack is the code that would stop it in a federation.

Rules:
  * What is reported as having stopped an attack is what was seen when it was played: a refusal, a
    reason, an exception, a number. No text of that kind is written down here.
  * An attack that is refused for another reason than the one it is about was not played: it fails.
  * What this version does not stop is listed as open, with the reason, and never as stopped.

THREAT_MODEL.md has a row for each; README.md beside this file says how to add one.
"""

from fedenclave.attack_suite.attack import Attack, NotStopped, Open, Stopped
from fedenclave.attack_suite.registry import ATTACKS, OPEN

__all__ = ["ATTACKS", "OPEN", "Attack", "NotStopped", "Open", "Stopped"]
