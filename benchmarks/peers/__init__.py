"""Other frameworks on the same task, each timed by its own code, from the bytes it would receive.

One file, one peer. A file's docstring says what is counted, and from which bytes it begins. Flower
and AES run in this process. The others must not enter the project's environment, whose versions
they contradict: each is a process in a second one, which `make bench-peers` installs.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOT_MEASURED = "not measured: make bench-peers"

OWN_PROCESS = {
    "nvflare_mean": "NVFlare: weighted mean, plain text",
    "openfl_mean": "OpenFL: weighted mean, plain text",
    "openfl_geometric_median": "OpenFL: geometric median, plain text",
    "nvflare_homomorphic": "NVFlare: weighted mean, homomorphic (CKKS)",
}
IN_PROCESS = {
    "flower_median": "Flower: FedMedian, plain text",
    "flower_trimmed_mean": "Flower: FedTrimmedAvg, plain text",
    "flower_krum": "Flower: Krum, plain text",
    "flower_secagg": "Flower: SecAgg+, masked",
    "aes_gcm": "AES-256-GCM alone",
}
PEERS = {**OWN_PROCESS, **IN_PROCESS}


def peers_python() -> Path:
    """Return the interpreter that has the other frameworks, whether it is there or not."""
    return ROOT / os.environ.get("PEERS_VENV", ".venv-peers") / "bin" / "python"


def run_peer(name: str, clients: int, parameters: int, repeat: int) -> dict[str, Any] | None:
    """Return a peer's figures (see `benchmarks.peers.figures`), or None where it is not installed.

    Raises:
        KeyError: there is no such peer.
        RuntimeError: the peer's process failed; the message ends with what it said.
    """
    if name in IN_PROCESS:
        module = importlib.import_module(f"benchmarks.peers.{name}")
        found: dict[str, Any] = module.measure(clients, parameters, repeat)
        return found
    if name not in OWN_PROCESS:
        raise KeyError(f"no peer is named {name}, want one of {', '.join(PEERS)}")
    if not peers_python().exists():
        return None
    return _in_own_process(name, clients, parameters, repeat)


def _in_own_process(name: str, clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [str(peers_python()), "-m", f"benchmarks.peers.{name}", "--json", str(file)]
        command += ["--clients", str(clients), "--parameters", str(parameters)]
        # `cwd` is first on the path of `python -m`; a PYTHONPATH may lead to other packages.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [*command, "--repeat", str(repeat)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"peer {name} exited with {done.returncode}: {done.stderr[-2000:]}")
        figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return figures
