"""Keys that wrap other keys, and who keeps them: the provider's interface and a local keyring."""
