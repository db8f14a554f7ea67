"""Datasets sealed at rest: their format, written, read, verified and sealed anew."""
