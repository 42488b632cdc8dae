"""mmel: joint linking of the names in a text and the faces in its pictures to a knowledge base."""

__version__ = "0.1.0"
