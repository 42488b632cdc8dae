"""Pictures read from files as upright RGB, alone or decoded ahead of their consumer."""

from mmel.pictures.boxes import clip_box, crop
from mmel.pictures.load import MAX_PIXELS, UNREADABLE, load_picture, picture_size, read_pictures

__all__ = ["MAX_PIXELS", "UNREADABLE", "clip_box", "crop", "load_picture", "picture_size", "read_pictures"]
