"""Evidence of Arm's architectures: PSA (TrustZone) and CCA (realms)."""
