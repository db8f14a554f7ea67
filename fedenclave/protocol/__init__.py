"""The bytes that clients, host, enclave and auditors agree on.

No socket, no file, no clock in this folder: callers bring bytes and the time. `SPEC.md` beside
this file is the numbered specification; the modules cite its sections.
"""
