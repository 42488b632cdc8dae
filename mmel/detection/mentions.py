"""Pictures in, visual mentions out: one for each face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmel.detection.faces import FaceDetector, Faces
from mmel.document import VisualMention
from mmel.errors import InputError, SkipReport
from mmel.parallel import tried_ahead
from mmel.pictures import MAX_PIXELS, UNREADABLE, load_picture


def detect_mentions(
    images: Sequence[str],
    detector: FaceDetector,
    root: str | Path = ".",
    *,
    skips: SkipReport | None = None,
    threshold: float = 0.0,
    least: float = 0.0,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[tuple[VisualMention, ...]]:
    """The visual mentions of each picture, most confident face first, `extra` telling the detector's confidence.

    A picture without a face has none. An animation is read by its first frame; a video is no picture.

    Args:
        images: paths as the mentions shall have them, relative to `root`.
        skips: counts pictures that cannot be read, which then have no mention; None raises their InputError.
        threshold: least confidence of a face, beyond the detector's own. least: its least size in pixels.
    """

    def detect(image: str) -> tuple[VisualMention, ...]:
        picture = load_picture(Path(root) / image, max_pixels)
        return tuple(_mentions(image, detector.detect([picture])[0], picture.size, threshold, least))

    for mentions in tried_ahead(detect, images, workers):
        if not isinstance(mentions, InputError):
            yield mentions
        elif skips is None:
            raise mentions
        else:
            skips.add(UNREADABLE, str(mentions))
            yield ()


def _mentions(
    image: str, faces: Faces, size: tuple[int, int], threshold: float, least: float
) -> Iterator[VisualMention]:
    for box, confidence, side in zip(faces.boxes.tolist(), faces.confidence.tolist(), faces.sizes, strict=True):
        x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], size[0]), min(box[3], size[1])
        # A detector may guess a face whose box lies beyond the edge.
        if confidence >= threshold and side >= least and x0 < x1 and y0 < y1:
            yield VisualMention(image, (x0, y0, x1, y1), extra={"confidence": confidence})
