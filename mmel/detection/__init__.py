"""Faces in pictures: boxes, five landmarks, confidence; aligned to a template; one chosen for a region."""

from mmel.detection.align import ARCFACE_TEMPLATE, align_face, similarity_transform
from mmel.detection.faces import FaceDetector, Faces, choose_face
from mmel.detection.make import DETECTORS, make_detector
from mmel.detection.mentions import detect_mentions
from mmel.detection.refine import refine_landmarks

__all__ = [
    "ARCFACE_TEMPLATE",
    "DETECTORS",
    "FaceDetector",
    "Faces",
    "align_face",
    "choose_face",
    "detect_mentions",
    "make_detector",
    "refine_landmarks",
    "similarity_transform",
]
