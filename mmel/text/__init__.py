"""Textual scorers: local attention, MulRel, belief propagation and their losses."""
