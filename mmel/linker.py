"""The composed model: documents in, linked documents out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import numpy as np

from mmel.confidence import Confidence
from mmel.config import Config, DetectionConfig
from mmel.coupling.coupler import Coupler, Sides, listen
from mmel.detection import Annotator, TextDetector, open_text_detector
from mmel.document import Document, LinkedDocument
from mmel.errors import InputError, SkipReport
from mmel.kb import KnowledgeBase
from mmel.parallel import made_ahead
from mmel.text.linker import TextLinker
from mmel.text.pictures import PictureScorer
from mmel.text.prepare import TextInputs
from mmel.training.run import RunFolder
from mmel.vision.linker import VisualLinker, mention_regions
from mmel.vision.tasks import Ranking


class Linker:
    """Links the mentions of documents, textual and visual, to entities of one knowledge base.

    A side that was not trained is None, and its mentions get no links; without a coupler each side decides alone;
    without a confidence every mention that has candidates is linked to the best of them.

    Example:
        >>> linker = Linker.from_pretrained("runs/sample-0")        # doctest: +SKIP
        >>> for linked in linker.link(documents): print(linked.text_links[0].entity)  # doctest: +SKIP
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        text: TextLinker | None = None,
        visual: VisualLinker | None = None,
        coupler: Coupler | None = None,
        detector: TextDetector | None = None,
        detection: DetectionConfig | None = None,
        confidence: Confidence | None = None,
        detection_file: Path | None = None,
    ) -> None:
        self.kb, self.text, self.visual, self.coupler, self.confidence = kb, text, visual, coupler, confidence
        self.detection = detection or DetectionConfig()
        self._detector, self._detection_file = detector, detection_file
        self._unread = SkipReport()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        kb: KnowledgeBase | None = None,
        check_kb: bool = True,
        pictures: Path | None = None,
        keep_documents: bool = False,
    ) -> Linker:
        """Open the linker of a run folder.

        Args:
            kb: the knowledge base to link to; None opens the run's own where it was.
            check_kb: refuse a base that is not the run's own or a later revision of it. Off where a dataset brings its
                candidates: then the base is only their titles, links and in-links.
            pictures: folder that the pictures of `kb` are relative to; needed where the fusions read them, and where
                `kb` is not the state of the base that the run's galleries were made of.
            keep_documents: store what is encoded of the documents' texts and pictures, to link the same ones sooner
                another time; else neither the disk nor memory fills up with them.
        """
        run = RunFolder(Path(path))
        run.check_trained()
        config = Config.load(run.config_file)
        where, meta = run.kb()
        if kb is None:
            kb = KnowledgeBase.open(where)
        if check_kb and run.model_file.is_file():
            kb.check_lineage(meta)
        scored = "pictures" in config.model.scorers and run.model_file.is_file()
        text, scorer = None, None
        if scored:  # an instance of its own: texts are prepared on another thread
            seen = VisualLinker.from_run(run.visual, config, kb, pictures, keep_documents)
            scorer = PictureScorer(seen, config.detection)
        if run.model_file.is_file():
            text = TextLinker.from_run(run, config, kb, keep_documents, scorer, pictures)
        visual = None
        taken = config.coupling.visual_run is not None
        if run.visual.is_dir() and ("visual" in config.modalities or taken):  # else it serves the texts alone
            visual = VisualLinker.from_run(run.visual, config, kb, pictures, keep_documents)
        coupler = Coupler.load(run.coupling_file, config.coupling, kb) if run.coupling_file.is_file() else None
        confidence = Confidence.load(run.confidence_file) if run.confidence_file.is_file() else None
        return cls(
            kb,
            text,
            visual,
            coupler,
            detection=config.detection,
            confidence=confidence,
            detection_file=run.detection_file,
        )

    @property
    def detector(self) -> TextDetector | None:
        """Finds mentions in texts that bring none; None where the run cannot. It is opened when it is first needed."""
        if self._detector is None and self._detection_file is not None:
            self._detector, self._detection_file = open_text_detector(self._detection_file, self.kb), None
        return self._detector

    @detector.setter
    def detector(self, detector: TextDetector | None) -> None:
        self._detector, self._detection_file = detector, None

    @property
    def skips(self) -> SkipReport:
        """What was passed over so far: pictures that could not be read, looking for faces, candidates, or links."""
        skips = SkipReport()
        skips.update(self._unread)
        preparer = self.text.preparer if self.text else None
        readers = (preparer.pictures, preparer.fusion) if preparer else ()
        retrievers = preparer.retrieval.pictured if preparer and preparer.retrieval else ()
        for part in (self.visual, *readers, *retrievers):
            if part is not None:
                skips.update(part.skips)
        return skips

    def candidate_source(self, listed: str) -> str:
        """Where candidates of texts come from: what the dataset says, and the retrievers that find more in the base."""
        retrievers = self.text.config.candidates.retrieval if self.text else ()
        return " + ".join([listed, *retrievers]) if listed == "kb" else listed

    @property
    def missing_images(self) -> int:
        """How many pictures and regions could not be read so far."""
        return sum(self.skips.counts.values())

    @property
    def choice(self) -> dict[str, int]:
        """How many entities a mention can be linked to, by modality, where it brings no candidates of its own."""
        choice = {} if self.text is None else {"text": len(self.kb)}
        return choice if self.visual is None else choice | {"visual": len(self.visual.entities)}

    def annotate(self, documents: Iterable[Document], pictures: Path | None = None) -> Iterator[Document]:
        """Yield the documents in order, with the mentions that are found in those that have none of a modality.

        Mentions of a text are what `detector` finds, `extra` telling the probability; those of `Document.images` are
        the faces that the run's face detector finds, `extra` telling its confidence, or each picture as a whole where
        the run has no face detector. A modality that has mentions keeps them, and one that the linker was not trained
        for gets none. Pictures that cannot be read are counted in `skips`.

        Args:
            pictures: folder that the images of documents are relative to.

        Raises:
            InputError: a text needs a detector, and the run has none.
            ConfigError: pictures are to be read, and `pictures` is not given.
        """
        rule, visual = self.detection, self.visual
        annotator = Annotator(
            visual is not None,
            visual.detector if visual else None,
            rule.face_confidence,
            rule.face_size,
            skips=self._unread,
        )
        return annotator.annotate(((one, self._detector_of(one)) for one in documents), pictures)

    def _detector_of(self, document: Document) -> TextDetector | None:
        """What finds the mentions of a text; None where that is not asked for."""
        if self.text is None or document.text_mentions or not document.text.strip():
            return None
        if self.detector is None:
            raise InputError(
                f"document '{document.id}' has a text without mentions, and the run cannot find them",
                field="text_mentions",
                remedy="train with detection.text=names, or give documents with mentions",
            )
        return self.detector

    def link(
        self,
        documents: Iterable[Document],
        pictures: Path | None = None,
        documents_per_batch: int = 64,
        nil: bool = True,
    ) -> Iterator[LinkedDocument]:
        """Yield the documents in order, each with one link per mention.

        They are drawn in batches, and the text of the next batch is prepared while one is scored. A document without
        mentions gets no links: `link(annotate(documents))` finds them first.

        Args:
            pictures: folder that the images of visual mentions, and of documents, are relative to.
            nil: decide between entity and NIL where the run has learned it (`Linker.confidence`), with the calibrated
                probability that the decision is right as the link's score. Without it every mention that has candidates
                is linked to the best of them, as the protocol "NIL ignored" has it.
        """
        stream = iter(documents)
        batches = iter(lambda: list(islice(stream, documents_per_batch)), [])
        for batch, inputs in made_ahead(partial(self._prepare, pictures=pictures), batches, self.kb.close):
            yield from self.link_prepared(batch, inputs, pictures, nil)

    def _prepare(
        self, documents: Sequence[Document], pictures: Path | None
    ) -> tuple[Sequence[Document], TextInputs | None]:
        return documents, self.text.preparer(documents, pictures=pictures) if self.text else None

    def link_prepared(
        self,
        documents: Sequence[Document],
        inputs: TextInputs | None,
        pictures: Path | None = None,
        nil: bool = True,
    ) -> Iterator[LinkedDocument]:
        """Links of documents whose texts the text linker's preparer has made `inputs` of; `nil` as for `link`."""
        linked, ranking = self.best(documents, inputs, pictures)
        return self.judged(linked, inputs, ranking, nil)

    def judged(
        self, linked: Sequence[LinkedDocument], inputs: TextInputs | None, ranking: Ranking | None, nil: bool = True
    ) -> Iterator[LinkedDocument]:
        """What `best` gave for `inputs`, with confidences and, where asked for, NIL; as it is without a confidence."""
        if self.confidence is None:
            return iter(linked)
        return self.confidence.judge(linked, inputs, ranking, self.kb, nil)

    def best(
        self, documents: Sequence[Document], inputs: TextInputs | None, pictures: Path | None = None
    ) -> tuple[list[LinkedDocument], Ranking | None]:
        """Links to the best candidates, as `link_prepared`, and the ranking of all visual mentions behind them."""
        if self.coupler is not None and self.text and self.visual and inputs is not None:
            sides = self.listen(documents, inputs, pictures)
            alone = self._alone(documents, inputs, sides.scores, sides.ranking)
            return self.coupler.link(sides, alone, self.visual.config.candidates), sides.ranking
        ranking = self.visual.rank(mention_regions(documents, pictures)) if self.visual else None
        return self._alone(documents, inputs, None, ranking), ranking

    def listen(self, documents: Sequence[Document], inputs: TextInputs, pictures: Path | None) -> Sides:
        """What both sides say of documents, each alone; both must be there, and the coupling's settings."""
        assert self.text is not None and self.visual is not None
        config = self.text.config.coupling
        return listen(documents, inputs, self.text.scores(inputs), self.visual, pictures, config)

    def _alone(
        self,
        documents: Sequence[Document],
        inputs: TextInputs | None,
        scores: np.ndarray | None,
        ranking: Ranking | None,
    ) -> list[LinkedDocument]:
        """Each modality's own links; a side that is not there gives none."""
        text = self.text.links(inputs, scores) if self.text and inputs is not None else repeat(())
        visual = self.visual.links_of(documents, ranking) if self.visual and ranking is not None else repeat(())
        meta = {"kb": self.kb.meta.content_hash[:12]}
        return [LinkedDocument(*each, meta) for each in zip(documents, text, visual, strict=False)]
