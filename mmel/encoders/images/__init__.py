"""Image encoders behind one protocol: pictures in, rows of unit norm out."""

from mmel.encoders.images.base import ImageEncoder
from mmel.encoders.images.make import make_image_encoder

__all__ = ["ImageEncoder", "make_image_encoder"]
