"""A model that trusts the prior: log p(e|m) with weight one, plus one learned weight a scorer.

Where training lists and the lists to be scored come from different sources, a network learns what a source's columns
look like. Bayes' rule says what carries over: evidence that does not depend on the prior adds its log-likelihood ratio
to a calibrated log p(e|m), whatever dictionary that came from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmel.config import ModelConfig
from mmel.errors import ConfigError
from mmel.text.batch import TextBatch
from mmel.text.masking import mask_scores
from mmel.text.modalities import EVIDENCE, column_groups
from mmel.text.model import TextModel

PRIOR_FLOOR = 1e-3
# The columns whose mean stands for a scorer.
SUMMARY: dict[str, tuple[str, ...]] = {
    "surface": ("exact_bare",),
    "context": ("mention_title", "sentence_text", "document_text"),
    "coreference": ("same_candidate",),
    "link_coherence": ("document_max",),
    "text_coherence": ("nearest_names",),
    "word_overlap": ("document_linked",),
    "retrieval": ("ensemble",),
}


class AnchoredModel(nn.Module):
    """Scores `log(p(e|m) + PRIOR_FLOOR) + sum_s w_s x_s`, x_s the mean of a scorer's SUMMARY columns.

    Args:
        columns: names `scorer.column` of the F feature columns.
    """

    attention = None
    picks: Tensor

    def __init__(self, config: ModelConfig, columns: Sequence[str]) -> None:
        super().__init__()
        used = [scorer for scorer in config.scorers if scorer != "prior"]
        unknown = [scorer for scorer in used if scorer not in SUMMARY]
        if unknown or "prior" not in config.scorers:
            raise ConfigError(
                f"model.scorers={list(config.scorers)}: model.combine=anchored needs 'prior' and takes besides "
                f"{', '.join(SUMMARY)}"
            )
        picks = torch.zeros(len(columns), len(used))
        for s, scorer in enumerate(used):
            names = [f"{scorer}.{column}" for column in SUMMARY[scorer]]
            picks[[columns.index(name) for name in names], s] = 1 / len(names)
        self.register_buffer("picks", picks)
        self.weight = nn.Parameter(torch.zeros(len(used)))

    def forward(self, batch: TextBatch) -> list[Tensor]:
        """One stage of scores `[m, k]`; see TextModel."""
        evidence = (batch.features @ self.picks) @ self.weight
        return [mask_scores(torch.log(batch.prior + PRIOR_FLOOR) + evidence, batch.mask)]


AnyModel = TextModel | AnchoredModel


def make_text_model(
    config: ModelConfig,
    columns: Sequence[str],
    dim: int,
    entity_dim: int,
    mean: Tensor,
    scale: Tensor,
    grid_dim: int | None = None,
) -> AnyModel:
    """The model that `config.combine` names; arguments as `TextModel`, with the columns by name."""
    if config.combine == "anchored":
        return AnchoredModel(config, columns)
    return TextModel(config, len(columns), dim, entity_dim, mean, scale, column_groups(columns), EVIDENCE, grid_dim)
