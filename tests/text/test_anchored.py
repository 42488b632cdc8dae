"""The anchored model is a sum that can be written down; the column it adds is checked against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmel.config import ModelConfig
from mmel.errors import ConfigError
from mmel.text.anchored import PRIOR_FLOOR, SUMMARY, AnchoredModel, make_text_model
from mmel.text.batch import iterate_batches
from mmel.text.features import NEAREST_NAMES
from mmel.text.masking import MASKED_SCORE
from mmel.text.model import TextModel
from mmel.text.prepare import TextInputs


def config(*scorers: str) -> ModelConfig:
    return ModelConfig.model_validate({"scorers": scorers, "combine": "anchored"})


def test_scores_are_the_log_prior_plus_one_weight_a_scorer(film_inputs: TextInputs) -> None:
    model = AnchoredModel(config("prior", "context", "text_coherence"), film_inputs.feature_names)
    model.weight.data = torch.tensor([2.0, -3.0])
    names = film_inputs.feature_names
    for batch in iterate_batches(film_inputs, 2000, 50):
        (scores,) = model(batch)
        x = batch.features.numpy()
        expected = np.log(batch.prior.numpy() + PRIOR_FLOOR)
        for weight, scorer in ((2.0, "context"), (-3.0, "text_coherence")):
            columns = [x[..., names.index(f"{scorer}.{c}")] for c in SUMMARY[scorer]]
            expected = expected + weight * np.mean(columns, axis=0)
        mask = batch.mask.numpy()
        np.testing.assert_allclose(scores.detach().numpy()[mask], expected[mask], atol=1e-5)
        assert (scores.detach().numpy()[~mask] == np.float32(MASKED_SCORE)).all()


def test_without_training_the_prior_decides(film_inputs: TextInputs) -> None:
    model = AnchoredModel(config("prior"), film_inputs.feature_names)
    for batch in iterate_batches(film_inputs, 2000, 50):
        assert (model(batch)[0].argmax(1) == batch.prior.argmax(1)).all()


@pytest.mark.parametrize("scorers", [("context",), ("prior", "mulrel"), ("prior", "local_attention")])
def test_scorers_without_a_summary_are_refused(film_inputs: TextInputs, scorers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="anchored needs 'prior' and takes besides surface"):
        AnchoredModel(config(*scorers), film_inputs.feature_names)


def test_the_config_chooses(film_inputs: TextInputs) -> None:
    size = len(film_inputs.feature_names)
    arguments = film_inputs.feature_names, 8, 8, torch.zeros(size), torch.ones(size)
    assert isinstance(make_text_model(config("prior"), *arguments), AnchoredModel)
    assert isinstance(make_text_model(ModelConfig(), *arguments), TextModel)


def test_text_coherence_is_the_cosine_with_what_other_names_mean(film_inputs: TextInputs) -> None:
    x = film_inputs
    vectors = x.entities[x.slot].astype(np.float64) * x.candidates.mask[..., None]
    weight = x.candidates.prior / np.maximum(x.candidates.prior.sum(1, keepdims=True), 1e-9)
    nearest = x.features[..., x.feature_names.index("text_coherence.nearest_names")]
    everyone = x.features[..., x.feature_names.index("text_coherence.all_names")]
    for i in range(0, len(x.table), 7):
        document = np.flatnonzero(x.table.doc == x.table.doc[i])
        names = {x.table.surface_group[j]: j for j in reversed(document)}
        count = len(names)
        for a in np.flatnonzero(x.candidates.mask[i]):
            cosines = [
                0.0 if g == x.table.surface_group[i] else max(float(vectors[i, a] @ (weight[j] @ vectors[j])), 0.0)
                for g, j in names.items()
            ]
            best = sorted(cosines)[-min(NEAREST_NAMES, count) :]
            assert nearest[i, a] == pytest.approx(np.mean(best), abs=2e-3)
            assert everyone[i, a] == pytest.approx(sum(cosines) / max(count - 1, 1), abs=2e-3)
