"""Formats of confidential machines on Microsoft Azure."""
