"""The coupling of the two modalities of a document by optimal transport."""
