"""A whole federation on one machine, with every cryptographic step and a real enclave process.

For research, tests and benchmarks. One process holds every client's keys, so it proves nothing to
anybody: its manifests say `development = true` and accept only `insecure` evidence.
"""

from fedenclave.simulation.federation import SimulatedFederation

__all__ = ["SimulatedFederation"]
