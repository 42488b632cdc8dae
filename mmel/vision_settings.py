"""Settings of what is trained to see, as `mmel.config` has them under `vision`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from mmel.schema import Section

MentionText = Literal["S1", "S", "M-S1", "M-S", "S1-M", "S-M", "S1-M-D", "S-M-D"]


class PatchConfig(Section):
    """Architecture of a patch transformer."""

    side: int = Field(default=112, ge=8, description="pixels of a side of the square input; a multiple of grid")
    grid: int = Field(default=8, ge=1, description="patches along a side (Gan et al. 2021: 8, so 64 patches)")
    colour: Literal["grey", "rgb"] = Field(default="grey", description="what is read of the pixels")
    dim: int = Field(
        default=300, ge=1, description="d, numbers of a vector (Gan et al. 2021: 300); a multiple of heads"
    )
    layers: int = Field(default=6, ge=1, description="transformer layers (Gan et al. 2021: 6)")
    heads: int = Field(default=12, ge=1, description="heads of the attention")
    feed_forward: int = Field(default=600, ge=1, description="width of the feed-forward sublayer")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout within layers in training")

    @field_validator("grid")
    @classmethod
    def _divides_side(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("side", value) % value:
            raise ValueError(f"side = {info.data['side']} must be a multiple of grid = {value}")
        return value

    @field_validator("heads")
    @classmethod
    def _divides_dim(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("dim", value) % value:
            raise ValueError(f"dim = {info.data['dim']} must be a multiple of heads = {value}")
        return value


class AugmentConfig(Section):
    """How far a view may be from its crop; 0 switches a change off."""

    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a mirrored view")
    rotation: float = Field(default=8.0, ge=0, le=180, description="largest rotation in degrees")
    zoom: float = Field(default=0.08, ge=0, lt=1, description="largest change of size, as a share")
    shift: float = Field(default=0.04, ge=0, lt=1, description="largest shift along an axis, as a share of the side")
    gamma: float = Field(default=0.3, ge=0, description="largest |log gamma| of the brightness curve")
    light: float = Field(default=0.3, ge=0, le=1, description="largest slope of light across the crop, as a share")
    tint: float = Field(default=0.1, ge=0, le=1, description="largest change of a colour channel, as a share")
    blur: float = Field(default=0.2, ge=0, le=1, description="probability of a view at half the resolution")
    hide: float = Field(default=0.3, ge=0, le=1, description="probability of a hidden rectangle")


class PatchTrainConfig(Section):
    """How a patch transformer is trained."""

    loss: Literal["triplet", "contrastive", "distil"] = Field(
        default="triplet", description="triplet (Gan et al. 2021, Eq. 8), contrastive, or distil: towards given targets"
    )
    steps: int = Field(default=1000, ge=0, description="batches in all; 0 leaves the first weights as they are")
    people: int = Field(default=32, ge=2, description="people in a batch")
    photographs: int = Field(default=2, ge=2, description="photographs, or views of one, of each person in a batch")
    learning_rate: float = Field(default=3e-4, gt=0, description="at its highest, after the warm-up")
    warm_up: int = Field(default=50, ge=1, description="steps over which the rate rises; it falls as a cosine then")
    weight_decay: float = Field(default=0.05, ge=0, description="of matrices, as in AdamW")
    clip_norm: float = Field(default=1.0, ge=0, description="largest norm of the gradient; 0: no limit")
    margin: float = Field(default=0.3, ge=0, description="margin of the triplet loss on cosines")
    mining: Literal["random", "semi-hard", "batch-hard"] = Field(
        default="random", description="how triplets are chosen; the hardest make young networks collapse"
    )
    easy_steps: int = Field(default=0, ge=0, description="steps at first with random triplets, whatever `mining` says")
    temperature: float = Field(default=0.1, gt=0, description="of the contrastive loss")
    similarity_weight: float = Field(default=0.0, ge=0, description="of cosines within a batch, in distillation")
    memory: int = Field(default=0, ge=0, description="vectors of earlier batches that are compared with, too")
    kept_patches: int | None = Field(
        default=None, ge=1, description="patches that a step reads of each view; none: all"
    )
    ema_decay: float = Field(default=0.99, ge=0, lt=1, description="of the averaged weights, which are the result")
    initial_crops: int = Field(
        default=4000, ge=0, description="crops that the first weights are computed from; 0: random weights"
    )
    every: int = Field(default=250, ge=1, description="steps between validations, each with a checkpoint")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="how far views are from their crops")


class AdapterConfig(Section):
    """How adapters are trained."""

    shared: bool = Field(default=True, description="one adapter for mentions and entities, where both are pictures")
    hidden: int | None = Field(default=None, ge=1, description="width between the layers; none: twice the encoder's")
    start: Literal["within", "identity"] = Field(
        default="within",
        description="before training: within-class covariance normalisation (Hatch et al. 2006), or the encoder as is",
    )
    shrinkage: float = Field(
        default=0.5, gt=0, le=1, description="share of the identity in the covariance that `within` normalises by"
    )
    epochs: int = Field(default=10, ge=0, description="most passes over the mentions; 0: keep the start")
    learning_rate: float = Field(default=3e-4, gt=0, le=1, description="of AdamW, falling to 0 as a cosine")
    weight_decay: float = Field(default=1e-2, ge=0, description="decoupled weight decay of AdamW")
    temperature: float = Field(default=0.05, gt=0, description="of the contrastive loss")
    batch: int = Field(default=256, ge=2, description="mentions of a step")
    negatives: int = Field(default=20, ge=0, description="pictures of others mined for each mention, the most similar")
    mine_every: int = Field(default=2, ge=1, description="epochs after which they are mined again")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation MRR@10 before stopping")


class ClipTrainConfig(Section):
    """How a CLIP model is fine-tuned on pairs of picture and text before anything else (CLIP_ND, Wang et al. 2024)."""

    epochs: int = Field(default=0, ge=0, description="passes over the pairs (Wang et al. 2024: 35); 0: no fine-tuning")
    entities: Literal["all", "linked", "none"] = Field(
        default="all",
        description="whose pictures, with name and description, are pairs beside those of the training documents' "
        "mentions: of the whole base, of the entities that the mentions link to, of none",
    )
    batch: int = Field(default=256, ge=2, description="pairs of a step (Wang et al. 2024: 256)")
    learning_rate: float = Field(
        default=1e-5, gt=0, le=1, description="of AdamW at first, falling to 0 as a cosine (Wang et al. 2024: 1e-5)"
    )
    beta2: float = Field(default=0.98, ge=0, lt=1, description="of AdamW (Wang et al. 2024: 0.98)")
    eps: float = Field(default=1e-6, gt=0, description="of AdamW (Wang et al. 2024: 1e-6)")
    weight_decay: float = Field(
        default=1e-3, ge=0, description="decoupled weight decay of AdamW (Wang et al. 2024: 0.001)"
    )
    crop: float = Field(
        default=0.9, gt=0, le=1, description="least share of a picture's area that a view shows, squeezed by up to 4:3"
    )
    colour: float = Field(
        default=0.0, ge=0, le=1, description="probability of other brightness, contrast, saturation and hue in a view"
    )
    grey: float = Field(default=0.0, ge=0, le=1, description="probability of a view without colour")
