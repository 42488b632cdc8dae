"""Mentions found: names in texts, and faces in pictures, aligned to a template, one chosen for a region."""

from mmel.detection.align import ARCFACE_TEMPLATE, align_face, similarity_transform
from mmel.detection.annotate import Annotator
from mmel.detection.faces import FaceDetector, Faces, choose_face
from mmel.detection.make import DETECTORS, make_detector, open_text_detector
from mmel.detection.mentions import detect_mentions
from mmel.detection.refine import refine_landmarks
from mmel.detection.spans import Span, TextDetector

__all__ = [
    "ARCFACE_TEMPLATE",
    "DETECTORS",
    "Annotator",
    "FaceDetector",
    "Faces",
    "Span",
    "TextDetector",
    "align_face",
    "choose_face",
    "detect_mentions",
    "make_detector",
    "open_text_detector",
    "refine_landmarks",
    "similarity_transform",
]
