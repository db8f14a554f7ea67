"""Which machine a figure is from, and how busy it was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

_PACKAGES = ("fedenclave", "flwr", "numpy", "cryptography", "protobuf")
LITTLE_LOAD = 0.5


def describe_machine() -> dict[str, Any]:
    """Return processor, memory, versions, time and load, for a table's foot and for JSON."""
    return {
        "processor": _first(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "virtual": "hypervisor" in (_first(Path("/proc/cpuinfo"), "flags") or "").split(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "tee_hardware": False,
        "load_before": os.getloadavg()[0],
    }


def note_load(machine: dict[str, Any]) -> None:
    """Add the load as it is now, after the measurement."""
    machine["load_after"] = os.getloadavg()[0]


NO_TEE = "No TEE hardware: a development enclave, so no figure holds a TEE's memory encryption."


def machine_line(machine: dict[str, Any]) -> str:
    """Return the machine, with a warning where others were using it."""
    return "\n".join([machine_facts(machine), *load_warnings(machine)])


def machine_facts(machine: dict[str, Any]) -> str:
    """Return the machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores"
        f"{', virtual' if machine['virtual'] else ''}, {machine['memory_gib']} GiB; "
        f"Python {machine['python']}, {versions}\n"
        f"load before {machine['load_before']:.1f}, after {machine['load_after']:.1f}. {NO_TEE}"
    )


def load_warnings(machine: dict[str, Any]) -> list[str]:
    """Return what to say where other programs used the machine; nothing where hardly any did."""
    warnings = []
    if machine["load_before"] > LITTLE_LOAD:
        warnings.append(
            f"Other programs were busy before this one began (load {machine['load_before']:.1f}, "
            f"want at most {LITTLE_LOAD}): trust ratios, not seconds."
        )
    return warnings


def _first(file: Path, key: str) -> str | None:
    """Return the value of the first `key : value` line of a file of /proc, if there is one."""
    if not file.exists():
        return None
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
