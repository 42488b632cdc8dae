"""Textual entity linking: scorer columns, and the network that joins them over a document."""
