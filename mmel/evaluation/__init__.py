"""Scores of links against gold labels, and the protocol printed beside them."""
