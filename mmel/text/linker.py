"""The trained text model on a knowledge base: prepared documents in, links of their textual mentions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.ranked import ranked_links
from mmel.candidates.retrieval import Retrieval
from mmel.candidates.retrieval.clip import PictureRetriever, open_retrievers
from mmel.config import Config
from mmel.document import Link
from mmel.encoders.entities import entity_vectors
from mmel.encoders.text import CachedTextEncoder, TransformerEncoder
from mmel.errors import InputError
from mmel.files import read_json
from mmel.kb import KnowledgeBase
from mmel.parallel import pick_device, score_batches
from mmel.text.anchored import AnyModel, make_text_model
from mmel.text.batch import TextBatch, iterate_batches
from mmel.text.entity_text import entity_texts
from mmel.text.fusion_inputs import FusionSettings
from mmel.text.modalities import FULL
from mmel.text.pictures import PictureScorer
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from mmel.training.checkpoint import load_module, load_tensors
from mmel.training.run import RunFolder

MAX_MENTIONS = 100  # a longer document is joined in pieces of this many mentions


class TextLinker:
    """Links the textual mentions of documents to entities of one knowledge base."""

    def __init__(self, config: Config, preparer: TextPreparer, model: AnyModel, device: torch.device) -> None:
        self.config, self.preparer, self.device = config, preparer, device
        self.model = model.to(device).eval()

    @property
    def kb(self) -> KnowledgeBase:
        return self.preparer.kb

    @classmethod
    def from_run(
        cls,
        run: RunFolder,
        config: Config,
        kb: KnowledgeBase,
        keep_documents: bool = True,
        pictures: PictureScorer | None = None,
        kb_pictures: Path | None = None,
    ) -> TextLinker:
        """The text model of a run folder on a knowledge base; for `keep_documents` see `CachedTextEncoder`.

        pictures: what computes the columns of the scorer `pictures`, where the run has it.
        kb_pictures: folder that the pictures of `kb` are relative to, where the fusions read them, or retrievers by
            pictures that were made for another base.
        """
        tensors, state = load_tensors(run.model_file)
        annotations = None
        if run.annotations_file.is_file():
            rows = read_json(run.annotations_file, "train again with --restart")
            annotations = AnnotationCounts.from_state([(n, e, c) for n, e, c in rows], kb)
        trained_on = state.get("entities")
        made_of = run.kb()[1].content_hash
        seen = open_retrievers(config, kb, run.visual, run.galleries, made_of, kb_pictures, keep_documents)
        preparer = make_preparer(
            config, kb, annotations, trained_on=trained_on, keep_documents=keep_documents, pictured=seen
        )
        if preparer.retrieval is not None:
            preparer.retrieval.load(run.retrieval_file, run.retrieval_heads_file)
        preparer.pictures = pictures
        if preparer.fusion is not None:
            preparer.fusion.open_pictures(config, run.visual, kb_pictures, keep_documents)
        if state["encoder"] != preparer.encoder.encoder.id:
            raise InputError(
                f"the model was trained on vectors of '{state['encoder']}', this encoder is "
                f"'{preparer.encoder.encoder.id}'",
                file=run.model_file,
                remedy="install the same encoder weights, or train again",
            )
        if trained_on not in (None, preparer.entities.id):
            raise InputError(
                f"the model was trained on entity vectors '{trained_on}', encoder.entities="
                f"{config.encoder.entities} gives '{preparer.entities.id}'",
                file=run.model_file,
                remedy=f"name the same vectors in {run.config_file}, with 'trained' the same base, or train again",
            )
        if state.get("grids") != preparer.grids_id:
            raise InputError(
                f"the model was trained on the grids of '{state.get('grids')}', vision.encoder="
                f"{config.vision.encoder} gives those of '{preparer.grids_id}'",
                file=run.model_file,
                remedy="give the same image encoder weights, or train again",
            )
        if state["columns"] != preparer.columns:
            raise InputError(
                "the model was trained on other score columns than this version computes",
                file=run.model_file,
                remedy="use the version of mmel in versions.json beside it, or train again",
            )
        empty = torch.zeros(len(state["columns"]))
        dims = preparer.encoder.encoder.dim, preparer.entities.dim
        grid_dim = None if preparer.fusion is None else preparer.fusion.grid_dim
        model = make_text_model(config.model, state["columns"], *dims, empty, empty, grid_dim)
        load_module(model, tensors, run.model_file)
        return cls(config, preparer, model, pick_device(config.device))

    def links(self, inputs: TextInputs, scores: np.ndarray | None = None) -> Iterator[tuple[Link, ...]]:
        """The links of each of the documents that the preparer has seen, one a mention that it has.

        scores: what `scores` gave for them, where it is known.
        """
        candidates, scores = inputs.candidates, self.scores(inputs) if scores is None else scores
        links = ranked_links(candidates.ids, scores, self.kb, candidates.prior)
        for d in range(len(inputs.documents)):
            rows = range(inputs.table.first[d], inputs.table.first[d + 1])
            yield tuple(links[i] for i in rows if inputs.asked[i])

    def scores(self, inputs: TextInputs, task: str = FULL) -> np.ndarray:
        """`[M, K]` float32 final scores, very low at pads; `task` says which modalities may be read."""
        return predict(self.model, inputs, self.config.train.batch_pairs, self.device, task)


def predict(model: AnyModel, inputs: TextInputs, max_pairs: int, device: torch.device, task: str = FULL) -> np.ndarray:
    """`[M, K]` float32 scores of the model's last stage; `task` is one of `mmel.text.modalities.TASKS`."""

    def score(batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
        return batch.rows, model(batch.to(device))[-1].float().cpu().numpy()

    out = np.full(inputs.candidates.ids.shape, -1e9, np.float32)
    batches = iterate_batches(inputs, max_pairs, MAX_MENTIONS, model.attention is not None, task)
    for rows, scores in score_batches(score, batches, None if device.type == "cpu" else 1):
        out[rows] = scores
    return out


def make_preparer(
    config: Config,
    kb: KnowledgeBase,
    annotations: AnnotationCounts | None,
    on_batch: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
    trained_on: str | None = None,
    keep_documents: bool = True,
    pictured: Sequence[PictureRetriever] = (),
) -> TextPreparer:
    """The preparer that a config describes; for `say` and `trained_on` (an id of vectors) see `entity_vectors`.

    pictured: those of its retrievers that compare pictures.
    """
    encoder = TransformerEncoder(config.encoder.name, max_tokens=config.encoder.max_tokens)
    cached = CachedTextEncoder(encoder, config.encoder.cache, keep_documents)
    entities = entity_vectors(
        config.encoder.entities, cached, entity_texts, kb,
        folder=config.encoder.cache, say=say, on_batch=on_batch, trained_on=trained_on,
    )  # fmt: skip
    rule = config.candidates
    preparer = TextPreparer(
        kb,
        cached,
        config.model.scorers,
        Selection(**{f.name: getattr(rule, f.name) for f in fields(Selection)}),
        annotations,
        config.model.window,
        config.model.context_words,
        on_batch,
        entities,
        FusionSettings(config.model.fusion_tokens, config.model.fusion_features, config.model.fusion_pictures),
    )
    if rule.retrieval:
        names, k = rule.retrieval, rule.retrieved_k
        preparer.retrieval = Retrieval(names, k, kb, annotations, cached, preparer.sentences, pictured)
    return preparer
