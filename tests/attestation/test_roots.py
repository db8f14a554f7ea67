"""What is pinned is what README.md beside it says, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import fedenclave.attestation.roots
from fedenclave.attestation.certificates import common_name, fingerprint
from fedenclave.attestation.roots import pinned

FOLDER = Path(fedenclave.attestation.roots.__file__).parent
ROW = re.compile(r"^\| `([\w-]+)\.pem` \| CN=([^|]+) \| `([0-9a-f]{64})` \|", re.MULTILINE)


def test_the_pinned_roots_are_those_of_the_table() -> None:
    table = ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    found = [
        (path.stem, common_name(certificate), fingerprint(certificate))
        for path in sorted(FOLDER.glob("*.pem"))
        for certificate in pinned(path.stem)
    ]
    assert sorted(table) == sorted(found)
    assert len({row[2] for row in table}) == len(table)
