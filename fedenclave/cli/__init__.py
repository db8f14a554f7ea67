"""Thin commands over the library: read options, call, print."""
