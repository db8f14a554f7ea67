"""A client that adds a small number to every parameter: what is timed is Flower and FedEnclave."""
