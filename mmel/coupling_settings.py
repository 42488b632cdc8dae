"""Settings of how the two modalities are coupled, as `mmel.config` has them under `coupling`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mmel.schema import Section, UserPath


class TransportConfig(Section):
    """Which optimal transport couples the textual and the visual mentions of a document."""

    cost: Literal["wasserstein", "gromov-wasserstein", "fused"] = Field(
        default="wasserstein",
        description="what the plan makes small: cross-modal cost (Gan et al. 2021, Eq. 10), the difference of the two "
        "intra-modal structures (Eq. 9), or both",
    )
    mass: Literal["balanced", "partial", "semi-relaxed"] = Field(
        default="balanced",
        description="what is moved: all mass of both sides, a share of it, or all textual mass to wherever is cheapest",
    )
    reg: float = Field(default=0.2, ge=0, description="weight of the entropy; 0: the exact problem")
    alpha: float = Field(
        default=0.5, ge=0, le=1, description="weight of the structure in `fused`; the costs have 1 - it"
    )
    moved: float = Field(default=0.7, gt=0, le=1, description="share of the mass that `partial` moves")
    iterations: int = Field(default=1000, ge=1, description="most iterations of a solver")
    tolerance: float = Field(
        default=1e-9, gt=0, description="largest change of the objective, or error of the marginals, at which it stops"
    )

    @property
    def structure_weight(self) -> float:
        """Alpha of the objective: weight of the intra-modal structures; the cross-modal cost has 1 - it."""
        return {"wasserstein": 0.0, "gromov-wasserstein": 1.0, "fused": self.alpha}[self.cost]

    @property
    def needs_cross(self) -> bool:
        """Whether `cost` reads the cross-modal cost."""
        return self.cost != "gromov-wasserstein"

    @property
    def needs_structure(self) -> bool:
        """Whether `cost` reads the two intra-modal structures."""
        return self.cost != "wasserstein"


class TogetherConfig(Section):
    """How both sides are trained on with one loss, after each was trained alone (Gan et al. 2021, Eq. 11)."""

    epochs: int = Field(
        default=0,
        ge=0,
        description="passes over the training documents with both modalities; 0: the sides stay as they are",
    )
    ranking: float = Field(default=1.0, ge=0, description="weight of the text's loss, which train.loss names")
    triplet: float = Field(default=1.0, ge=0, description="weight of the triplet loss of faces")
    transport: float = Field(default=1.0, ge=0, description="weight of the transport objective")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="of AdamW, of both sides")
    documents: int = Field(default=8, ge=1, description="documents in a batch")


class CouplingConfig(Section):
    """How the textual and the visual mentions of a document help each other."""

    plan: Literal["none", "uniform", "transport"] = Field(
        default="none",
        description="who speaks for whom: nobody; all mentions of the other modality alike (a vote over links of the "
        "knowledge base); or those that a transport plan pairs (Gan et al. 2021, Algorithm 1)",
    )
    transport: TransportConfig = Field(default=TransportConfig(), description="the plan")
    text_run: UserPath | None = Field(
        default=None, description="finished run whose textual side is taken as it is; none: it is trained here"
    )
    visual_run: UserPath | None = Field(default=None, description="the same of the visual side")
    cross: Literal["links", "embedding", "both"] = Field(
        default="links", description="cross-modal cost: distance of candidates in the base, of vectors, or their mean"
    )
    structure: Literal["links", "embedding", "both"] = Field(
        default="links", description="intra-modal distances, in the same way"
    )
    uniform_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the uniform plan that is mixed into the transport plan"
    )
    coherence: bool = Field(
        default=True, description="candidates of one modality's mentions speak for each other again, once both decide"
    )
    fusion: Literal["learned", "average"] = Field(
        default="learned",
        description="how a modality's own score and what speaks for a candidate are weighed: as validation documents "
        "determine, or all alike",
    )
    rounds: int = Field(default=4, ge=1, description="most rounds of plan and decision; the first have own weights")
    ridge: float = Field(default=1e-4, gt=0, description="of the weights, which validation documents determine")
    together: TogetherConfig = Field(default=TogetherConfig(), description="joint training before the weights")

    @field_validator("plan", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        """Settings are read with `none` as null."""
        return "none" if value is None else value
