"""Appraise evidence: what a client or an auditor runs. Never imported by the enclave."""
