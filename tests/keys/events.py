"""What an audit log tells."""

import json
from pathlib import Path
from typing import Any


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return a file's events, the oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
