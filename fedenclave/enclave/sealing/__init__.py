"""Sealing: what only this code on this machine can open again, one file for each way to do it."""
