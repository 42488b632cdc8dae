"""Documents in, the same with mentions out, where they came without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmel.detection.faces import FaceDetector
from mmel.detection.mentions import detect_mentions
from mmel.detection.spans import TextDetector
from mmel.document import Document, TextMention, VisualMention
from mmel.errors import ConfigError, SkipReport
from mmel.parallel import map_ahead


@dataclass(frozen=True)
class Annotator:
    """Finds the mentions of documents, on threads and in order.

    Attributes:
        visual: whether pictures get mentions; texts do where a detector is given to `annotate`.
        faces: what finds them; None: a picture is one mention as a whole.
        confidence, size: least confidence and size (pixels) of a face.
        workers: threads, each of which takes a document.
        skips: counts pictures that could not be read.
    """

    visual: bool
    faces: FaceDetector | None = None
    confidence: float = 0.0
    size: float = 0.0
    workers: int = 2
    skips: SkipReport = field(default_factory=SkipReport)

    def annotate(
        self, documents: Iterable[tuple[Document, TextDetector | None]], pictures: Path | None
    ) -> Iterator[Document]:
        """Documents with what finds the mentions of their texts; each modality that has mentions keeps them.

        Raises ConfigError where pictures are to be read and `pictures`, the folder they are relative to, is None.
        """

        def annotate(item: tuple[Document, TextDetector | None]) -> tuple[Document, SkipReport]:
            document, detector = item
            skips = SkipReport()  # one a document: counts are not added to by several threads
            text = document.text_mentions or _named(document, detector)
            seen = document.visual_mentions or self._seen(document, pictures, skips)
            return replace(document, text_mentions=text, visual_mentions=seen), skips

        for annotated, skips in map_ahead(annotate, documents, self.workers):
            self.skips.update(skips)
            yield annotated

    def _seen(self, document: Document, pictures: Path | None, skips: SkipReport) -> tuple[VisualMention, ...]:
        images = list(dict.fromkeys(document.images)) if self.visual else []
        if not images:
            return ()
        if self.faces is None:
            return tuple(VisualMention(image) for image in images)
        if pictures is None:
            raise ConfigError(
                f"document '{document.id}' has pictures, and their folder is not known. "
                "Remedy: give `pictures`, the folder that `images` is relative to"
            )
        found = detect_mentions(
            images, self.faces, pictures, skips=skips, threshold=self.confidence, least=self.size, workers=1
        )
        return tuple(mention for mentions in found for mention in mentions)


def _named(document: Document, detector: TextDetector | None) -> tuple[TextMention, ...]:
    if detector is None:
        return ()
    return tuple(
        TextMention(
            span.start,
            span.end,
            document.text[span.start : span.end],
            name=span.name,
            extra={"probability": span.probability},
        )
        for span in detector.detect([document.text])[0]
    )
