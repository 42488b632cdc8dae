"""Encoders behind one protocol each; the heavy libraries load when an encoder is made, not before."""
