"""Judge receipts offline: needs no server, no flwr, no torch, no network."""
