"""MulRel: against sums written out, against the per-document stand-in, padding, order, gradients, batches."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from benchmarks import mulrel_speed
from benchmarks.reference_mulrel import ReferenceDocument, ReferenceMulRel
from mmel.errors import ConfigError, InputError
from mmel.text.masking import MASKED_SCORE
from mmel.text.mulrel import MulRel, bucket_documents, chunk_mentions, pairwise_scores

DIM, FEATURES = 6, 7
Inputs = dict[str, Tensor]


def made(documents: int, mentions: int, size: int, seed: int = 0) -> Inputs:
    """The arguments of `MulRel.forward` in float64, some mentions and candidates absent."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "psi": normal(documents, mentions, size),
        "entity_vectors": normal(documents, mentions, size, DIM),
        "mention_features": normal(documents, mentions, FEATURES),
        "log_prior": normal(documents, mentions, size),
        "mention_mask": torch.rand(documents, mentions, generator=generator) < 0.8,
        "candidate_mask": torch.rand(documents, mentions, size, generator=generator) < 0.8,
    }


def model(**settings: object) -> MulRel:
    torch.manual_seed(7)
    module = MulRel(DIM, FEATURES, **{"rounds": 3, "dropout": 0.0, "prior_hidden": 5, **settings}).double()  # type: ignore[arg-type]
    with torch.no_grad():
        module.relation.normal_()
        module.mention_relation.normal_()
    return module


def symmetric_weights(documents: int, relations: int, mentions: int) -> Tensor:
    weights = torch.randn(documents, relations, mentions, mentions, dtype=torch.float64)
    return weights + weights.transpose(-1, -2)


def written_out(vectors: Tensor, relation: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("dkij,diar,kr,djbr->diajb", weights, vectors, relation, vectors)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("relations", [1, 3])
def test_pairwise_scores_and_gradients_equal_the_sum_written_out(size: int, relations: int) -> None:
    vectors = torch.randn(2, 3, size, DIM, dtype=torch.float64, requires_grad=True)
    relation = torch.randn(relations, DIM, dtype=torch.float64, requires_grad=True)
    weights = symmetric_weights(2, relations, 3).requires_grad_()
    phi, expected = pairwise_scores(vectors, relation, weights), written_out(vectors, relation, weights)
    torch.testing.assert_close(phi, expected)
    towards = torch.randn_like(phi)
    ours = torch.autograd.grad((phi * towards).sum(), (vectors, relation, weights))
    theirs = torch.autograd.grad((expected * towards).sum(), (vectors, relation, weights))
    torch.testing.assert_close(ours[:2], theirs[:2])
    # The weights of a pair are one quantity in two places; only their sum is defined.
    torch.testing.assert_close(ours[2] + ours[2].transpose(-1, -2), theirs[2] + theirs[2].transpose(-1, -2))


def test_pairwise_scores_with_frozen_vectors_have_the_same_gradients() -> None:
    vectors, weights = torch.randn(1, 3, 3, DIM, dtype=torch.float64), symmetric_weights(1, 2, 3)
    gradients = []
    for trained in (False, True):
        relation = torch.ones(2, DIM, dtype=torch.float64, requires_grad=True)
        pairwise_scores(vectors.clone().requires_grad_(trained), relation, weights).sin().sum().backward()
        gradients.append(relation.grad)
    torch.testing.assert_close(*gradients)


def test_ment_norm_weights_sum_to_one_over_the_other_mentions_and_the_padding_mention() -> None:
    inputs, module = made(2, 4, 3), model(relations=3)
    candidate_mask = inputs["candidate_mask"] & inputs["mention_mask"].unsqueeze(-1)
    present = candidate_mask.any(-1)
    weights, pad = module.relation_weights(inputs["mention_features"], candidate_mask)
    assert pad is not None
    # alpha sums to one for each present mention and for the padding mention; both directions are added, over K.
    total = weights.sum((-1, -2)) / 2 + pad.sum(-1)
    torch.testing.assert_close(total * 3, (present.sum(-1) + present.any(-1)).double().unsqueeze(1).expand(2, 3))
    assert torch.equal(weights, weights.transpose(-1, -2))
    assert not weights.diagonal(dim1=-2, dim2=-1).any()
    assert not weights.transpose(1, 3)[~present].any() and not pad.transpose(1, 2)[~present].any()


def test_ment_norm_weights_follow_equations_3_and_4() -> None:
    module = model(relations=1, context_dim=2)
    features = torch.randn(1, 2, FEATURES, dtype=torch.float64)
    f, d = module.context(features)[0].detach(), module.mention_relation[0].detach()
    one_two, one_pad, two_pad = (
        float((a * d) @ b / 2**0.5)
        for a, b in ((f[0], f[1]), (f[0], module.pad_context.detach()), (f[1], module.pad_context.detach()))
    )
    weights, pad = module.relation_weights(features, torch.ones(1, 2, 1).bool())
    assert pad is not None
    first = torch.tensor([one_two, one_pad]).softmax(0)
    second = torch.tensor([one_two, two_pad]).softmax(0)
    from_pad = torch.tensor([one_pad, two_pad]).softmax(0)
    assert weights[0, 0, 0, 1].item() == pytest.approx(float(first[0] + second[0]), rel=1e-5)
    assert pad[0, 0].tolist() == pytest.approx(
        [float(first[1] + from_pad[0]), float(second[1] + from_pad[1])], rel=1e-5
    )


def test_rel_norm_weights_sum_to_one_over_relations() -> None:
    inputs, module = made(2, 4, 3), model(normalisation="rel-norm")
    weights, pad = module.relation_weights(inputs["mention_features"], torch.ones(2, 4, 3).bool())
    assert pad is None
    torch.testing.assert_close(weights.sum(1), (1 - torch.eye(4, dtype=torch.float64)).expand(2, 4, 4))


def test_starting_values_follow_the_authors() -> None:
    torch.manual_seed(0)
    ment_norm = MulRel(3000, 3, relations=3)
    assert ment_norm.relation.mean(1).tolist() == pytest.approx([1, 0, 0], abs=1e-3)
    assert ment_norm.relation.std(1).tolist() == pytest.approx([0.01] * 3, rel=0.1)
    rel_norm = MulRel(3000, 3, normalisation="rel-norm")
    assert rel_norm.relation.std().item() == pytest.approx(0.1, rel=0.1)
    assert rel_norm.mention_relation.std().item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("normalisation", ["ment-norm", "rel-norm"])
@pytest.mark.parametrize("inference", ["max-product", "mean-field"])
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_padding_batching_and_order_change_nothing(
    normalisation: str, inference: str, mentions: int, size: int, seed: int
) -> None:
    inputs, module = made(3, mentions, size, seed), model(normalisation=normalisation, inference=inference)
    scores = module(**inputs)
    assert scores.isfinite().all()
    there = inputs["candidate_mask"] & inputs["mention_mask"].unsqueeze(-1)
    assert torch.equal(scores == MASKED_SCORE, ~there)

    candidate, mention = (0, 2, 0, 3), (0, 3)
    padding = {
        "entity_vectors": (0, 0, *candidate),
        "mention_features": (0, 0, 0, 3),
        "mention_mask": mention,
        "psi": candidate,
        "log_prior": candidate,
        "candidate_mask": candidate,
    }
    padded = module(
        **{k: functional.pad(v, padding[k], value=0 if v.dtype == torch.bool else 4.0) for k, v in inputs.items()}
    )
    torch.testing.assert_close(padded[:, :mentions, :size], scores)

    alone = [module(**{k: v[i : i + 1] for k, v in inputs.items()}) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), scores)
    order = torch.randperm(mentions, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(module(**{k: v[:, order] for k, v in inputs.items()}), scores[:, order])


def test_a_mention_without_candidates_changes_no_other() -> None:
    inputs, module = made(1, 4, 3), model()
    inputs["mention_mask"][:] = True
    inputs["candidate_mask"][:] = True
    inputs["candidate_mask"][:, 1] = False
    scores = module(**inputs)
    assert (scores[:, 1] == MASKED_SCORE).all()
    torch.testing.assert_close(module(**{k: v[:, [0, 2, 3]] for k, v in inputs.items()}), scores[:, [0, 2, 3]])


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2), (2, 3, 0)])
@pytest.mark.parametrize("normalisation", ["ment-norm", "rel-norm"])
def test_batches_of_nothing_are_fine(shape: tuple[int, int, int], normalisation: str) -> None:
    assert model(normalisation=normalisation)(**made(*shape)).shape == shape


def test_extra_potentials_join_as_tensor_or_callable() -> None:
    inputs, module = made(2, 3, 2), model()
    extra = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64)
    extra = extra + extra.permute(0, 3, 4, 1, 2)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    given_tensor, called = (
        module(**inputs, extra_potential=extra),
        module(**inputs, extra_potential=lambda: scale * extra),
    )
    torch.testing.assert_close(given_tensor, called)
    assert not torch.allclose(given_tensor, module(**inputs))
    called.where(inputs["candidate_mask"] & inputs["mention_mask"].unsqueeze(-1), 0).sum().backward()
    assert scale.grad is not None and scale.grad.item() != 0
    torch.testing.assert_close(module(**inputs, extra_potential=torch.zeros_like(extra)), module(**inputs))


@pytest.mark.parametrize("normalisation", ["ment-norm", "rel-norm"])
def test_gradients_match_finite_differences(normalisation: str) -> None:
    inputs, module = made(2, 3, 3, seed=4), model(normalisation=normalisation, relations=2, log_beliefs=True)
    mask = inputs["candidate_mask"] & inputs["mention_mask"].unsqueeze(-1)
    names = [name for name, _ in module.named_parameters()]
    masks = {name: inputs.pop(name) for name in ("mention_mask", "candidate_mask")}

    def score(*values: Tensor) -> Tensor:
        weights, tensors = values[: len(names)], values[len(names) :]
        arguments = dict(zip(inputs, tensors, strict=True)) | masks
        scores: Tensor = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (), arguments)
        return scores[mask]

    values = [*module.parameters(), *inputs.values()]
    assert torch.autograd.gradcheck(score, [v.detach().clone().requires_grad_() for v in values])


def test_training_moves_every_weight_and_keeps_them_finite() -> None:
    inputs, module = made(4, 4, 3), model(dropout=0.3)
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    mask = inputs["candidate_mask"] & inputs["mention_mask"].unsqueeze(-1)
    for _ in range(3):
        optimizer.zero_grad()
        (module(**inputs)[mask].square().sum() - 1e-3 * module.diversity()).backward()
        optimizer.step()
    assert all(not torch.equal(before[k], v) and v.isfinite().all() for k, v in module.state_dict().items())


def test_diversity_counts_distances_below_one() -> None:
    module = model(relations=2)
    with torch.no_grad():
        module.relation.copy_(torch.eye(2, DIM))
        module.mention_relation.copy_(torch.tensor([1.0, 0.2]).unsqueeze(1) * torch.ones(2, DIM))
    # Orthogonal relations are farther than 1 apart; equal directions are at distance sqrt(1e-5). Self-pairs count too.
    assert module.diversity().item() == pytest.approx(6 * 1e-5**0.5, rel=1e-3)


def test_scores_and_gradients_equal_the_per_document_stand_in() -> None:
    torch.manual_seed(0)
    documents, words, entities = mulrel_speed.synthesise(6, 3)
    documents = [mulrel_speed.ReferenceDocument(*(getattr(d, f.name)[:9] for f in fields(d))) for d in documents]
    reference = ReferenceMulRel(words[:, :20], entities[:, :20])
    ours = mulrel_speed.BatchedMulRel(words[:, :20], entities[:, :20])
    gaps = mulrel_speed.differences(reference, ours, documents)
    assert gaps["score_difference"] < 1e-4
    assert gaps["relative_gradient_difference"] < 1e-9
    assert isinstance(documents[0], ReferenceDocument)


@pytest.mark.parametrize(
    "settings_, message",
    [
        ({"relations": 0}, "relations = 0"),
        ({"rounds": 0}, "rounds = 0"),
        ({"damping": 0.0}, "damping = 0.0"),
        ({"damping": 1.5}, "damping = 1.5"),
        ({"normalisation": "entity-norm"}, "normalisation = 'entity-norm'.*ment-norm, rel-norm"),
        ({"inference": "sum-product"}, "inference = 'sum-product'.*max-product, mean-field"),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(**settings_)


def test_shapes_that_disagree_are_errors() -> None:
    inputs = made(2, 3, 2)
    with pytest.raises(InputError, match="shapes disagree"):
        model()(**{**inputs, "psi": inputs["psi"][:, :, :1]})


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 20_000), st.none() | st.integers(1, 500))
def test_buckets_hold_each_document_once_within_the_bounds(
    counts: list[int], max_pairs: int, max_mentions: int | None
) -> None:
    batches = bucket_documents(counts, max_pairs, max_mentions)
    assert sorted(index for batch in batches for index in batch) == list(range(len(counts)))
    for batch in batches:
        largest = max(counts[index] for index in batch)
        assert len(batch) == 1 or len(batch) * largest**2 <= max_pairs
        assert len(batch) == 1 or max_mentions is None or len(batch) * largest <= max_mentions


@given(st.lists(st.integers(0, 350), max_size=10), st.integers(1, 120))
def test_chunks_cover_every_mention_in_order(counts: list[int], limit: int) -> None:
    chunks = chunk_mentions(counts, limit)
    covered = [(document, mention) for document, start, end in chunks for mention in range(start, end)]
    assert covered == [(document, mention) for document, count in enumerate(counts) for mention in range(count)]
    assert all(0 < end - start <= limit for _, start, end in chunks)


def test_limits_below_one_are_errors() -> None:
    with pytest.raises(ConfigError, match="max_pairs = 0"):
        bucket_documents([1], 0)
    with pytest.raises(ConfigError, match="max_mentions = 0"):
        bucket_documents([1], 1, max_mentions=0)
    with pytest.raises(ConfigError, match="max_mentions = 0"):
        chunk_mentions([1], 0)
