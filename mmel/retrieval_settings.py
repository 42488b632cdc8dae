"""Settings of retrieval, read by `mmel.config`; light, as `mmel --help` reads them too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field

from mmel.schema import Section

PictureRetrieverName = Literal["clip-text-image", "clip-image-image"]
RetrieverName = Literal["annotations", "names", "bm25", "dense", PictureRetrieverName]
BY_PICTURES: tuple[PictureRetrieverName, ...] = get_args(PictureRetrieverName)


def by_pictures(names: Sequence[str]) -> list[PictureRetrieverName]:
    """Those of the retrievers that compare pictures."""
    return [name for name in BY_PICTURES if name in names]


class DenseTrainConfig(Section):
    """Training of the two heads of the retriever `dense` over the frozen text encoder (Wu et al. 2020, BLINK)."""

    epochs: int = Field(
        default=5, ge=0, description="over the linked mentions of the training documents; 0: plain cosine"
    )
    hard_epochs: int = Field(default=2, ge=0, description="further ones with hard negatives that the heads then find")
    hard_negatives: int = Field(default=2, ge=1, description="hard negatives of a mention in each of these epochs")
    mined: int = Field(default=10, ge=1, description="best wrong entities of a mention that these are drawn from")
    batch: int = Field(default=256, ge=2, description="mentions of a step; their entities are each other's negatives")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam")
    weight_decay: float = Field(default=1e-2, ge=0, description="pulls the heads back to plain cosine (decoupled)")
    temperature: float = Field(default=0.05, gt=0, description="of the softmax over cosines")
    folds: int = Field(
        default=2, ge=2, description="parts of the training documents, each of which heads are trained without, that "
        "score it in training: what they learned from they score too well",
    )  # fmt: skip
