"""Datasets by name: `open_dataset("aida", root)`."""
