"""Evidence of Amazon Web Services."""
