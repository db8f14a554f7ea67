"""A TPM 2.0 that vouches for the enclave: evidence, sealing, a counter, credential activation.

Only what the enclave asks of a TPM, as raw commands; no resource manager and no library. What is
loaded into the TPM is flushed before a connection closes, also after an error. Authorisation
values are empty: on a machine whose operating system is measured, whoever can reach the device is
measured code, and a password in that code would protect nothing.

The enclave asks for evidence, seals its state's keys, and anchors which
state is the newest; activation is for the
machine's enrolment.

Not here: session encryption. Whoever taps the wires between processor and TPM is out of scope
(THREAT_MODEL.md).

Sources: TCG Trusted Platform Module Library, family 2.0, revision 1.59, Part 1 (architecture),
Part 2 (structures), Part 3 (commands).
"""
