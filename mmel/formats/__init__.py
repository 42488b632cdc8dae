"""Readers and writers of the formats that documents, candidates and knowledge bases travel in."""
