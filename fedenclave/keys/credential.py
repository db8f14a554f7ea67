"""Secrets that systemd hands to a service: LoadCredential= and LoadCredentialEncrypted=.

They lie in a folder that `$CREDENTIALS_DIRECTORY` names, read-only, out of the reach of every other
user. There each file's mode is 0440: it is root's, the service's user may read it by an access
control list, and the group bits show that list's mask and no group's right.

Source: systemd.exec(5), Credentials; systemd issue 29435.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CREDENTIALS_DIRECTORY"
_ANYBODY_ELSE = 0o077
_BUT_THE_MASK = 0o037


def rights_of_others(path: Path, environment: Mapping[str, str] = os.environ) -> int:
    """Return the bits of a file's mode that would let somebody else read or change it.

    Args:
        path: the file that holds a secret.
        environment: where the folder of credentials is named.
    """
    folder = environment.get(VARIABLE, "")
    # Only right in that folder: a path that leads out of it is any other file's.
    if folder and path.resolve().parent == Path(folder).resolve():
        return _BUT_THE_MASK
    return _ANYBODY_ELSE
