"""TPM 2.0: its structures, its keys, credential activation, and the format `tpm`."""
