"""The data holder's side: appraise the enclave, check the round, seal, keep receipts.

Knows nothing of Flower: `fedenclave.flower` carries its messages, and so does the simulation.
"""
