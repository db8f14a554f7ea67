"""Formats whose evidence Google Cloud signs."""
