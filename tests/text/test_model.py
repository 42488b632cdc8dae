"""The text model on prepared film reviews: what must not change its scores, and that all of it learns."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmel.candidates.graph import dense
from mmel.config import ModelConfig, Scorer
from mmel.document import Document, TextMention
from mmel.text.anchored import SUMMARY, AnchoredModel, AnyModel, make_text_model
from mmel.text.batch import LinkEdges, TextBatch, make_batch, plan_batches
from mmel.text.features import SCORERS
from mmel.text.linker import MAX_MENTIONS, predict
from mmel.text.losses import cross_entropy_loss
from mmel.text.masking import MASKED_SCORE
from mmel.text.model import TextModel, _linked, _named, standardisation, with_rivals
from mmel.text.prepare import TextInputs, TextPreparer
from tests.tiny import ALL_SCORERS

CPU = torch.device("cpu")
SMALL = ModelConfig(
    dim=12,
    match_dim=8,
    hidden=16,
    context_words=10,
    attention_words=4,
    fusion_dim=8,
    fusion_heads=2,
    scorers=ALL_SCORERS,
)
KINDS = {
    "lbp": SMALL,
    "rel-norm": SMALL.model_copy(update={"normalisation": "rel-norm"}),
    "mean-field": SMALL.model_copy(update={"inference": "mean-field"}),
    "local": SMALL.model_copy(update={"inference": "mean-field", "passes": 0}),
    "anchored": SMALL.model_copy(
        update={"combine": "anchored", "scorers": ("prior", *(s for s in ALL_SCORERS if s in SUMMARY))}
    ),
}


def columns_of(inputs: TextInputs, config: ModelConfig) -> TextInputs:
    """The inputs with the columns of the scorers that are on."""
    kept = [i for i, name in enumerate(inputs.feature_names) if name.split(".")[0] in config.scorers]
    names = [inputs.feature_names[i] for i in kept]
    return replace(inputs, features=inputs.features[..., kept], feature_names=names)


def make(config: ModelConfig, inputs: TextInputs, seed: int = 0) -> AnyModel:
    """A model whose every parameter is random, biases included, so that nothing is zero by its start."""
    torch.manual_seed(seed)
    mean, scale = standardisation([torch.from_numpy(inputs.features[inputs.candidates.mask])])
    dims = inputs.titles.shape[1], inputs.entities.shape[1]
    model = make_text_model(config, inputs.feature_names, *dims, mean, scale)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def document_pieces(inputs: TextInputs, *documents: int) -> list[tuple[int, int]]:
    return [(int(inputs.table.first[d]), int(inputs.table.first[d + 1])) for d in documents]


@torch.no_grad()
def scores(model: AnyModel, batch: TextBatch) -> Tensor:
    return model(batch)[-1]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, film_inputs: TextInputs) -> tuple[TextInputs, AnyModel]:
    config = KINDS[request.param]
    inputs = columns_of(film_inputs, config)
    return inputs, make(config, inputs)


def test_every_stage_scores_every_candidate(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    batch = make_batch(inputs, document_pieces(inputs, 0, 1, 2))
    stages = model(batch)
    joint = isinstance(model, TextModel) and model.joint is not None
    passes = model.config.passes if isinstance(model, TextModel) and model.config.inference == "mean-field" else 1
    assert len(stages) == 1 + passes * joint
    for stage in stages:
        assert stage.shape == batch.mask.shape and stage.dtype == torch.float32
        assert torch.isfinite(stage).all()
        assert (stage[~batch.mask] == MASKED_SCORE).all()
        assert (stage[batch.mask].abs() < 1e4).all()


def test_one_document_is_scored_as_among_many(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    whole = predict(model, inputs, 20_000, CPU)
    for d in range(6):
        alone = make_batch(inputs, document_pieces(inputs, d))
        torch.testing.assert_close(scores(model, alone), torch.from_numpy(whole[alone.rows]), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(predict(model, inputs, 1, CPU), whole, atol=1e-4, rtol=1e-4)


def pad(batch: TextBatch, mentions: int, candidates: int) -> TextBatch:
    """The batch with empty places in its documents and empty candidates behind the real ones."""

    def wider(value: Tensor, fill: float) -> Tensor:
        extra = value.new_full((len(value), candidates, *value.shape[2:]), fill)
        return torch.cat([value, extra], 1)

    m, k = batch.mask.shape
    slots: dict[str, Any] = {}
    for name in ("same_name", "same_doc"):
        old = getattr(batch, name).view(m, k)
        new = torch.full((m, candidates), int(old.max()) + 1)
        pads = old[~batch.mask]
        slots[name] = torch.cat([old, new if not len(pads) else torch.full_like(new, int(pads[0]))], 1).reshape(-1)
    if batch.fusion is not None:
        slots["fusion"] = replace(batch.fusion, slot=wider(batch.fusion.slot, 0))
    cell = batch.edges.cell // k * (k + candidates) + batch.edges.cell % k
    return replace(
        batch,
        place=torch.cat([batch.place, batch.place.new_full((len(batch.place), mentions), -1)], 1),
        features=wider(batch.features, 0), mask=wider(batch.mask, False), prior=wider(batch.prior, 0),
        slot=wider(batch.slot, 0), edges=replace(batch.edges, cell=cell), **slots,
    )  # fmt: skip


def test_padding_changes_nothing(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    batch = make_batch(inputs, document_pieces(inputs, 3, 0, 7))
    padded = scores(model, pad(batch, 3, 2))
    torch.testing.assert_close(padded[:, :-2], scores(model, batch), atol=1e-4, rtol=1e-4)
    assert (padded[:, -2:] == MASKED_SCORE).all()


def shuffle(batch: TextBatch, order: Tensor) -> TextBatch:
    """The same mentions in another order: row i is the old row `order[i]`."""
    m, k = batch.mask.shape
    where = torch.empty(m, dtype=torch.long)
    where[order] = torch.arange(m)
    place = torch.where(batch.place >= 0, where[batch.place.clamp(min=0)], -1)
    place = place[:, torch.randperm(place.shape[1], generator=torch.Generator().manual_seed(1))]
    moved: dict[str, Any] = {
        f.name: getattr(batch, f.name)[order]
        for f in fields(batch)
        if f.name not in ("rows", "place", "vectors", "tokens", "same_name", "same_doc", "edges", "fusion", "pictures")
    }
    if batch.fusion is not None:
        part = batch.fusion
        moved["fusion"] = replace(part, window=part.window[order], span=part.span[order], slot=part.slot[order])
    slots: dict[str, Any] = {
        name: getattr(batch, name).view(m, k)[order].reshape(-1) for name in ("same_name", "same_doc")
    }
    cell = where[batch.edges.cell // k] * k + batch.edges.cell % k
    return replace(batch, rows=batch.rows[order], place=place, edges=replace(batch.edges, cell=cell), **moved, **slots)


def test_permuted_mentions_have_permuted_scores(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    batch = make_batch(inputs, document_pieces(inputs, 4, 1, 9))
    order = torch.randperm(len(batch.rows), generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(scores(model, shuffle(batch, order)), scores(model, batch)[order], atol=1e-4, rtol=1e-4)


def test_other_documents_of_the_batch_change_nothing(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    one, two = document_pieces(inputs, 5, 6)
    batch = make_batch(inputs, [one, two])
    size = one[1] - one[0]
    noise = batch.features.clone()
    noise[size:] += 3.0
    noise *= batch.mask.unsqueeze(-1)
    changed = scores(model, replace(batch, features=noise))
    torch.testing.assert_close(changed[:size], scores(model, batch)[:size], atol=1e-4, rtol=1e-4)
    if isinstance(model, TextModel):
        assert not torch.allclose(changed[size:], scores(model, batch)[size:])


def test_a_mention_without_candidates_takes_no_part(case: tuple[TextInputs, AnyModel]) -> None:
    inputs, model = case
    batch = make_batch(inputs, document_pieces(inputs, 8))
    k = batch.mask.shape[1]
    keep = torch.ones(len(batch.rows), dtype=torch.bool)
    keep[1] = False
    mask = batch.mask & keep.unsqueeze(1)
    inside = keep[batch.edges.cell // k]
    edges = type(batch.edges)(*(getattr(batch.edges, f.name)[inside] for f in fields(batch.edges)))
    pads: dict[str, Any] = {}
    for name in ("same_name", "same_doc"):
        slots = torch.where(mask.reshape(-1), getattr(batch, name), -1)
        pads[name] = torch.from_numpy(dense(slots.numpy()))
    empty = scores(model, replace(batch, mask=mask, edges=edges, **pads))
    assert (empty[1] == MASKED_SCORE).all()
    assert torch.isfinite(empty).all() and (empty[mask] > MASKED_SCORE).all()
    nobody = replace(batch, mask=torch.zeros_like(mask), edges=_no_edges(batch), gold=torch.full_like(batch.gold, -1))
    assert (scores(model, nobody) == MASKED_SCORE).all()
    stages = model.train()(nobody)
    loss = torch.stack([cross_entropy_loss(s, nobody.gold, nobody.mask) for s in stages]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()
    model.eval()


def _no_edges(batch: TextBatch) -> LinkEdges:
    return type(batch.edges)(*(getattr(batch.edges, f.name)[:0] for f in fields(batch.edges)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(film_inputs: TextInputs, kind: str) -> None:
    inputs = columns_of(film_inputs, KINDS[kind])
    model = make(KINDS[kind], inputs)
    batch = make_batch(inputs, document_pieces(inputs, *range(12)))
    sum(cross_entropy_loss(s, batch.gold, batch.mask) for s in model(batch)).backward()  # type: ignore[union-attr]
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A shift of all candidates of a mention alike changes no choice between them.
    shifts = {"local.out.bias", "joint.combine.net.2.bias", *(f"joint.stages.{i}.3.bias" for i in range(2))}
    assert set(silent) <= shifts
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("scorer", ALL_SCORERS)
@pytest.mark.parametrize("kind", ["lbp", "rel-norm", "mean-field", "local"])
def test_every_scorer_runs_alone(
    film_preparer: TextPreparer, film_documents: list[Document], kind: str, scorer: Scorer
) -> None:
    config = KINDS[kind].model_copy(update={"scorers": (scorer,)})
    preparer = TextPreparer(
        film_preparer.kb, film_preparer.encoder, config.scorers, film_preparer.selection, context_words=10
    )
    inputs = preparer(film_documents[:3])
    assert {name.split(".")[0] for name in inputs.feature_names} == {scorer} & set(SCORERS)
    model = make(config, inputs)
    out = predict(model, inputs, 20_000, CPU)
    mask = inputs.candidates.mask
    assert np.isfinite(out).all() and (out[mask] > MASKED_SCORE).all() and (out[~mask] == MASKED_SCORE).all()
    spread = np.where(mask, out, np.nan)[mask.sum(1) > 1]
    tells = (np.nanmax(spread, 1) - np.nanmin(spread, 1)) > 1e-6
    # MulRel has no column of its own, and no document here has a longer form of a name.
    assert tells.any() or (kind == "local" and scorer in ("mulrel", "coreference"))
    batch = make_batch(inputs, document_pieces(inputs, 0, 1, 2))
    loss = torch.stack([cross_entropy_loss(s, batch.gold, batch.mask) for s in model.train()(batch)]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)


@pytest.fixture(scope="module")
def crowded(film_preparer: TextPreparer, film_documents: list[Document]) -> list[Document]:
    """One document of more than two pieces' mentions, and a short one."""
    text = ""
    mentions: list[TextMention] = []
    while len(mentions) <= 2 * MAX_MENTIONS:
        for one in film_documents:
            mentions += [replace(m, start=m.start + len(text), end=m.end + len(text)) for m in one.text_mentions]
            text += one.text + "\n"
    return [Document("crowded", text, text_mentions=tuple(mentions)), film_documents[0]]


def test_a_long_document_is_joined_in_pieces(
    case: tuple[TextInputs, AnyModel], film_preparer: TextPreparer, crowded: list[Document]
) -> None:
    _, model = case
    config = model.config if isinstance(model, TextModel) else KINDS["anchored"]
    inputs = columns_of(film_preparer(crowded), config)
    count = len(inputs.table)
    assert count > 2 * MAX_MENTIONS
    pieces = [p for batch in plan_batches(inputs, 10**9, MAX_MENTIONS) for p in batch]
    assert len(pieces) == 4 and max(b - a for a, b in pieces) == MAX_MENTIONS
    together = predict(model, inputs, 10**9, CPU)
    apart = predict(model, inputs, 1, CPU)
    np.testing.assert_allclose(apart, together, atol=1e-4, rtol=1e-4)
    assert np.isfinite(together).all()


def test_a_document_of_ten_thousand_mentions(film_preparer: TextPreparer, film_documents: list[Document]) -> None:
    names = sorted({mention.text for one in film_documents for mention in one.text_mentions})
    parts, mentions, at = [], [], 0
    for i in range(10_000):
        name = names[i * i % len(names)]
        mentions.append(TextMention(at, at + len(name), name))
        parts.append(f"{name}{'. ' if i % 7 == 0 else ' x '}")
        at += len(parts[-1])
    huge = Document("huge", "".join(parts), text_mentions=tuple(mentions))
    huge.check_spans()
    inputs = film_preparer([huge])
    for kind in ("mean-field", "lbp"):
        config = KINDS[kind].model_copy(update={"lbp_rounds": 2})
        out = predict(make(config, inputs), inputs, 20_000, CPU)
        assert out.shape == inputs.candidates.ids.shape == (10_000, inputs.candidates.ids.shape[1])
        assert np.isfinite(out).all()
        assert (out[inputs.candidates.mask] > MASKED_SCORE).all()


def test_standardisation() -> None:
    rows = [torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, 2.001]]), torch.tensor([[5.0, 5.0, 2.0]])]
    mean, scale = standardisation(rows)
    torch.testing.assert_close(mean, torch.tensor([3.0, 5.0, 2.000333]))
    assert scale.tolist() == [2.0, 1.0, 1.0]
    mean, scale = standardisation([torch.tensor([[4.0]])])
    assert (mean.item(), scale.item()) == (4.0, 1.0)
    assert standardisation([torch.tensor([[0.0], [0.02]])])[1].item() == pytest.approx(0.05)
    assert standardisation([torch.zeros(3, 0)])[0].shape == (0,)


def test_columns_and_their_distance_to_the_best_rival() -> None:
    columns = torch.tensor([[[1.0, 20.0], [3.0, 2.0], [9.0, 9.0]], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    expected = [[[1, 20, -2, 0], [3, 2, 0, -8], [0, 0, 0, 0]], [[0] * 4] * 3]
    assert with_rivals(columns, mask).tolist() == expected


def test_beliefs_over_links_are_the_graphs_support(film_inputs: TextInputs) -> None:
    batch = make_batch(film_inputs, document_pieces(film_inputs, *range(len(film_inputs.table.documents))))
    q = np.random.default_rng(0).random(batch.mask.shape).astype(np.float32) * batch.mask.numpy()
    found = _linked(torch.from_numpy(q), batch.edges)
    graph = film_inputs.graph
    for column, (level, how) in enumerate(
        [(level, how) for level in ("document", "sentence") for how in ("sum", "max")]
    ):
        expected = np.log1p(np.maximum(graph.support(q, level, how), 0))
        np.testing.assert_allclose(found[..., column], expected, atol=1e-4)


def test_beliefs_in_the_same_entity(film_inputs: TextInputs) -> None:
    pieces = document_pieces(film_inputs, 0, 1, 2)
    batch = make_batch(film_inputs, pieces)
    q = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(0)) * batch.mask
    found = _named(q, batch)
    ids, group = film_inputs.candidates.ids[batch.rows], film_inputs.table.surface_group[batch.rows]
    doc = film_inputs.table.doc[batch.rows]
    for i, j in zip(*np.nonzero(batch.mask.numpy()), strict=True):
        name, other, elsewhere = [], [], []
        for o, c in zip(*np.nonzero((ids == ids[i, j]) & (doc == doc[i])[:, None]), strict=True):
            if group[o] == group[i]:
                name.append(float(q[o, c]))
                elsewhere += [float(q[o, c])] if o != i else []
            else:
                other.append(float(q[o, c]))
        expected = np.array([np.mean(name), sum(other), np.mean(elsewhere or [0])])
        np.testing.assert_allclose(found[i, j], np.log1p(expected), atol=1e-5)


def test_an_anchored_model_adds_evidence_to_the_prior(film_inputs: TextInputs) -> None:
    inputs = columns_of(film_inputs, KINDS["anchored"])
    model = make_text_model(KINDS["anchored"], inputs.feature_names, 0, 0, torch.zeros(0), torch.zeros(0))
    assert isinstance(model, AnchoredModel)
    batch = make_batch(inputs, document_pieces(inputs, 0))
    order = scores(model, batch).argmax(1)
    assert (order == batch.prior.argmax(1)).all()
    with torch.no_grad():
        model.weight.copy_(torch.arange(len(model.weight)) + 1.0)
    expected = np.log(inputs.candidates.prior[batch.rows] + 1e-3)
    used = [s for s in KINDS["anchored"].scorers if s != "prior"]
    for weight, scorer in enumerate(used, start=1):
        columns = [inputs.feature_names.index(f"{scorer}.{c}") for c in SUMMARY[scorer]]
        expected = expected + weight * inputs.features[batch.rows][..., columns].mean(-1)
    np.testing.assert_allclose(scores(model, batch)[batch.mask], expected[batch.mask.numpy()], atol=1e-4)


def test_modules_are_named_for_their_files(film_inputs: TextInputs) -> None:
    """Names of parameters are the format of saved models."""
    model = make(KINDS["lbp"], film_inputs)
    assert isinstance(model, nn.Module)
    assert {name.split(".")[0] for name in model.state_dict()} == {
        "mean", "scale", "entity", "attention", "word", "match", "fusion", "local", "joint",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_loaded_into_a_blank_one_scores_the_same(film_inputs: TextInputs, kind: str) -> None:
    inputs = columns_of(film_inputs, KINDS[kind])
    model = make(KINDS[kind], inputs)
    blank = torch.zeros(inputs.features.shape[-1])
    dims = inputs.titles.shape[1], inputs.entities.shape[1]
    other = make_text_model(KINDS[kind], inputs.feature_names, *dims, blank, blank).eval()
    other.load_state_dict(model.state_dict())
    batch = make_batch(inputs, document_pieces(inputs, 0, 1))
    assert torch.equal(scores(other, batch), scores(model, batch))
    assert not blank.any()
