"""A token of SoftHSM2, made for one test: a real PKCS #11 library, and no hardware.

Where SoftHSM2 or python-pkcs11 is not installed, what needs it skips and says so.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN, SO_PIN = "correct-pin", "officer-pin"
_LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class SoftToken:
    """An initialised token, and where its PIN is written down."""

    label: str
    module: str
    pin_file: Path

    def uri(self, key: str = "") -> str:
        """Return its PKCS #11 URI, with a key's label if one is given."""
        of_key = f";object={key}" if key else ""
        query = f"module-path={self.module}&pin-source=file:{self.pin_file}"
        return f"pkcs11:token={self.label}{of_key}?{query}"


def library() -> str:
    """Return the path of SoftHSM2's library, or skip."""
    found = [path for path in _LIBRARIES if Path(path).exists()]
    if shutil.which("softhsm2-util") is None or not found:
        pytest.skip("SoftHSM2 is not installed: apt-get install softhsm2")
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: pip install '.[pkcs11]'")
    return found[0]


_MADE: dict[str, SoftToken] = {}


def soft_token(label: str) -> SoftToken:
    """Return one of the tokens that a process has, `node` or `other`.

    They are made together: the library looks for tokens when it is loaded, and not after.
    """
    if not _MADE:
        module = library()
        home = Path(tempfile.mkdtemp(prefix="fedenclave-softhsm-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        (home / "tokens").mkdir()
        conf = home / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {home}/tokens\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        for each in ("node", "other"):
            words = ["--init-token", "--free", "--label", each, "--pin", PIN, "--so-pin", SO_PIN]
            subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
            pin_file = home / f"{each}.pin"
            pin_file.write_text(PIN + "\n")
            pin_file.chmod(0o600)
            _MADE[each] = SoftToken(label=each, module=module, pin_file=pin_file)
    return _MADE[label]
