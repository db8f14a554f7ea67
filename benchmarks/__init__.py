"""What FedEnclave costs, measured beside its peers in the same run. See README.md."""
