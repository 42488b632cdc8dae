"""Speed of batched MulRel beside the one-document-a-step implementation, paired in one run.

python -m benchmarks.mulrel_speed [--documents 953] [--repeats 3] [--threads 2] [--json]

Synthetic documents of AIDA's sizes (at most 100 mentions, 19.5 on average, skewed): texts of 6 words a mention and at
least 150, a window of 100 words around each mention, 8 candidates a mention, d = 300, K = 3, 10 rounds, float32. Both
sides do, from integer indices on: word and entity look-up, attention over the context words, ment-norm relations,
max-product, prior, and for training also the ranking loss, the diversity term, the backward pass and an Adam step. The
stand-in steps once a document, as the published implementation does; the engine steps once a batch, and its padding of
documents to batches is inside its time. To score, the stand-in records gradients, as the published implementation does
(the lines "score no grad" have it without), and the engine gives each core a batch.

The propagation lines time max-product alone (scores in, marginals out; for training their gradient too), a document at
a time against batches.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.reference_mulrel import ReferenceDocument, ReferenceMulRel, propagate
from mmel.parallel import score_batches
from mmel.text.belief_propagation import max_product
from mmel.text.local_attention import LocalAttention
from mmel.text.losses import ranking_loss
from mmel.text.mulrel import MulRel, bucket_documents

DIM, CANDIDATES, WORDS, RELATIONS, ROUNDS = 300, 8, 100, 3, 10
VOCABULARY = 30_000
TRAIN_PAIRS, SCORE_PAIRS = 8_000, 8_000


@dataclass
class Batch:
    """Padded documents: indices and masks [D, n, ...], gold [D, n] with -1 where a document has no such mention."""

    words: Tensor
    word_mask: Tensor
    contexts: list[tuple[Tensor, Tensor]]
    candidates: Tensor
    log_prior: Tensor
    gold: Tensor
    mention_mask: Tensor


class BatchedMulRel(nn.Module):
    """The engine's parts put together as the stand-in is: local attention, MulRel, prior."""

    def __init__(self, word_table: Tensor, entity_table: Tensor, dropout: float = 0.3) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(word_table, freeze=True)
        self.entities = nn.Embedding.from_pretrained(entity_table, freeze=True)
        dim = word_table.shape[1]
        self.local = LocalAttention(dim)
        self.joint = MulRel(dim, 3 * dim, relations=RELATIONS, rounds=ROUNDS, dropout=dropout)

    def forward(self, batch: Batch) -> Tensor:
        """Scores [D, n, k]."""
        entity = self.entities(batch.candidates)
        mask = batch.mention_mask.unsqueeze(-1).expand(batch.candidates.shape)
        psi = self.local(entity, batch.words, batch.word_mask, mask, table=self.words.weight)
        features = torch.cat([self._average(*context) for context in batch.contexts], dim=-1)
        scores: Tensor = self.joint(psi, entity, features, batch.log_prior, batch.mention_mask, mask)
        return scores

    def _average(self, words: Tensor, mask: Tensor) -> Tensor:
        flat, weights = words.flatten(0, -2), mask.flatten(0, -2)
        total = nn.functional.embedding_bag(flat, self.words.weight, per_sample_weights=weights, mode="sum")
        return total.unflatten(0, words.shape[:-1]) / (mask.sum(-1, keepdim=True) + 1e-5)

    def copy_weights(self, reference: ReferenceMulRel) -> None:
        """Take every trained weight of the stand-in."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in reference.named_parameters():
                own[COUNTERPART.get(name, name)].copy_(value)


COUNTERPART = {
    "attention": "local.attention",
    "compatibility": "local.compatibility",
    "context.0.weight": "joint.context.0.weight",
    "context.0.bias": "joint.context.0.bias",
    "pad_context": "joint.pad_context",
    "pad_entity": "joint.pad_entity",
    "relation": "joint.relation",
    "mention_relation": "joint.mention_relation",
    **{f"combine.{i}.{kind}": f"joint.combine.net.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")},
}


def mention_counts(documents: int, rng: np.random.Generator) -> list[int]:
    """Sizes as AIDA's after cutting at 100: a clipped log-normal, mean 19.5, about 5 % above 60."""
    counts = np.exp(rng.normal(np.log(14.45), 0.84, documents))
    return [int(count) for count in np.clip(counts.round(), 1, 100)]


def synthesise(documents: int, seed: int) -> tuple[list[ReferenceDocument], Tensor, Tensor]:
    """Documents with random words and candidates, and the unit word and entity tables they index."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    # Zipf's law without its head, as the reference drops stop words.
    frequency = 1 / (np.arange(VOCABULARY) + 50)
    frequency /= frequency.sum()
    word_table = nn.functional.normalize(torch.randn(VOCABULARY, DIM, generator=generator))
    entities = nn.functional.normalize(torch.randn(VOCABULARY, DIM, generator=generator))
    made = []
    for n in mention_counts(documents, rng):
        text = torch.from_numpy(rng.choice(VOCABULARY, max(150, 6 * n), p=frequency))
        at = torch.from_numpy(np.sort(rng.integers(0, len(text), n)))
        first = (at - WORDS // 2).clamp(0, len(text) - WORDS)
        words = text[first.unsqueeze(1) + torch.arange(WORDS)]
        around = [text[(at + shift).clamp(0, len(text) - 3).unsqueeze(1) + torch.arange(3)] for shift in (-3, 0, 3)]
        masks = [(torch.arange(3) < torch.from_numpy(rng.integers(1, 4, (n, 1)))).float() for _ in around]
        prior = torch.from_numpy(rng.dirichlet(np.full(CANDIDATES, 0.5), n)).float().clamp(1e-3, 1)
        candidates = torch.from_numpy(rng.integers(0, len(entities), (n, CANDIDATES)))
        gold = torch.from_numpy(rng.integers(0, CANDIDATES, n))
        ones = torch.ones(n, CANDIDATES)
        near = around[0], masks[0], around[1], masks[1], around[2], masks[2]
        made.append(ReferenceDocument(words, torch.ones(n, WORDS), *near, candidates, ones, prior, gold))
    return made, word_table, entities


def collate(documents: Sequence[ReferenceDocument]) -> Batch:
    """Pad documents to the largest of them."""
    counts = torch.tensor([len(document.gold) for document in documents])
    longest = int(counts.max())
    there = torch.arange(longest) < counts.unsqueeze(1)
    padded = {}
    for field in fields(ReferenceDocument):
        ragged = torch.cat([getattr(document, field.name) for document in documents])
        values = ragged.new_full((*there.shape, *ragged.shape[1:]), -1 if field.name == "gold" else 0)
        values[there] = ragged
        padded[field.name] = values
    contexts = [(padded[name], padded[f"{name}_mask"]) for name in ("left", "mention", "right")]
    return Batch(
        words=padded["words"],
        word_mask=padded["word_mask"] > 0,
        contexts=contexts,
        candidates=padded["candidates"],
        log_prior=torch.log(padded["prior"] + 1e-20),
        gold=padded["gold"],
        mention_mask=there,
    )


def batches(documents: Sequence[ReferenceDocument], max_pairs: int) -> list[list[ReferenceDocument]]:
    groups = bucket_documents([len(document.gold) for document in documents], max_pairs)
    # Largest documents first, so that no core waits long for the other's last batch.
    return [[documents[index] for index in group] for group in reversed(groups)]


def batch_loss(model: BatchedMulRel, batch: Batch) -> Tensor:
    """Margin loss divided by mentions and candidates, less the diversity term, as the stand-in's."""
    mask = batch.mention_mask.unsqueeze(-1).expand(batch.candidates.shape)
    loss = ranking_loss(model(batch), batch.gold, mask, reduction="mean") / CANDIDATES
    return loss - 1e-7 * model.joint.diversity()


def train_reference(model: ReferenceMulRel, documents: Sequence[ReferenceDocument]) -> None:
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for document in documents:
        optimizer.zero_grad()
        model.loss(model(document), document.gold).backward()
        optimizer.step()


def train_batched(model: BatchedMulRel, documents: Sequence[ReferenceDocument]) -> None:
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for group in batches(documents, TRAIN_PAIRS):
        optimizer.zero_grad()
        batch_loss(model, collate(group)).backward()
        optimizer.step()


def score_reference(model: ReferenceMulRel, documents: Sequence[ReferenceDocument], record: bool) -> list[Tensor]:
    """Scores of each document. The published implementation records gradients when it predicts, too: `record`."""
    model.eval()
    with torch.set_grad_enabled(record):
        return [model(document).detach() for document in documents]


def score_batched(model: BatchedMulRel, documents: Sequence[ReferenceDocument]) -> list[Tensor]:
    """Scores of each document, in the batches' order, a batch a core."""
    model.eval()
    return list(score_batches(lambda group: model(collate(group)), batches(documents, SCORE_PAIRS)))


def differences(
    reference: ReferenceMulRel, model: BatchedMulRel, documents: Sequence[ReferenceDocument]
) -> dict[str, float]:
    """Largest absolute difference of the float32 scores, and of the float64 gradients relative to each one's largest.

    Gradients are compared in float64 because that of a maximum jumps where two candidates are equal but for rounding.
    """
    model.copy_weights(reference)
    reference, model = copy.deepcopy(reference).eval(), copy.deepcopy(model).eval()
    pairs = [pair for group in batches(documents, SCORE_PAIRS) for pair in _score_both(reference, model, group)]
    score_gap = max(float((ours - theirs).detach().abs().max()) for ours, theirs in pairs)
    reference, model = reference.double(), model.double()
    for group in batches([_as_float64(document) for document in documents], SCORE_PAIRS):
        for ours, theirs in _score_both(reference, model, group):
            (ours.square().mean() + theirs.square().mean()).backward(retain_graph=True)
    own = dict(model.named_parameters())
    gaps = []
    for name, value in reference.named_parameters():
        gradient = own[COUNTERPART.get(name, name)].grad
        if gradient is not None and value.grad is not None:
            gaps.append(float((gradient - value.grad).abs().max() / value.grad.abs().max()))
    return {"score_difference": score_gap, "relative_gradient_difference": max(gaps)}


def _score_both(
    reference: ReferenceMulRel, model: BatchedMulRel, group: Sequence[ReferenceDocument]
) -> list[tuple[Tensor, Tensor]]:
    scores = model(collate(group))
    return [(row[: len(document.gold)], reference(document)) for row, document in zip(scores, group, strict=True)]


def _as_float64(document: ReferenceDocument) -> ReferenceDocument:
    values = (getattr(document, field.name) for field in fields(document))
    return ReferenceDocument(*(value.double() if value.is_floating_point() else value for value in values))


# psi [D, n, k], phi [D, n, k, n, k], mask [D, n, k] and the padding mention's scores [D, n, k].
Propagation = tuple[Tensor, Tensor, Tensor, Tensor]


def propagation_inputs(sizes: Sequence[int]) -> tuple[list[tuple[Tensor, Tensor]], list[Propagation], float]:
    """Random local and pairwise scores of documents, alone and in padded batches, and the batches' largest error.

    The error is that of float32 batches against the loop in float64: in float32 the loop's own error is larger.
    """
    generator = torch.Generator().manual_seed(1)
    alone, padded, gap = [], [], 0.0
    for group in reversed(bucket_documents(sizes, TRAIN_PAIRS)):
        n = max(sizes[index] for index in group)
        mask = torch.tensor([[mention < sizes[index] for mention in range(n)] for index in group])
        psi, pad = torch.randn(2, len(group), n, CANDIDATES, generator=generator)
        table = torch.randn(len(group), CANDIDATES, CANDIDATES, n, n, generator=generator) / n
        # The layout that pairwise_scores gives, blocks of zeros on the diagonal and the size of ment-norm weights.
        table = (table + table.permute(0, 2, 1, 4, 3)) * (1 - torch.eye(n))
        batch = psi, table.permute(0, 3, 2, 4, 1), mask.unsqueeze(-1).expand(psi.shape), pad / n
        own = [_alone(batch, row, sizes[index]) for row, index in enumerate(group)]
        for marginals, document in zip(_marginals(batch), own, strict=True):
            exact = propagate(document[0].double(), document[1].double(), ROUNDS, 0.5)[:-1]
            gap = max(gap, float((marginals[: len(exact)] - exact).abs().max()))
        alone += own
        padded.append(batch)
    return alone, padded, gap


def _alone(batch: Propagation, row: int, n: int) -> tuple[Tensor, Tensor]:
    """One document's local and pairwise scores with the padding mention as its last, which has one candidate."""
    psi, phi, _, pad = (part[row] for part in batch)
    local, pairs = psi.new_zeros(n + 1, CANDIDATES), psi.new_zeros(n + 1, CANDIDATES, n + 1, CANDIDATES)
    local[:n], pairs[:n, :, :n] = psi[:n], phi[:n, :, :n]
    pairs[:n, :, n, 0], pairs[n, 0, :n] = pad[:n], pad[:n]
    pairs[:n, :, n, 1:] = -1e10
    return local, pairs


def _marginals(batch: Propagation) -> Tensor:
    psi, phi, mask, pad = batch
    return max_product(psi, phi, mask, rounds=ROUNDS, pad_potential=pad).exp()


def propagate_alone(documents: Sequence[tuple[Tensor, Tensor]], train: bool) -> None:
    for local, phi in documents:
        marginals = propagate(local, phi.requires_grad_(train), ROUNDS, 0.5)
        if train:
            torch.autograd.grad(marginals.square().sum(), phi)


def propagate_batched(padded: Sequence[Propagation], train: bool) -> None:
    if not train:
        list(score_batches(_marginals, padded))
        return
    for psi, phi, mask, pad in padded:
        torch.autograd.grad(_marginals((psi, phi.requires_grad_(), mask, pad)).square().sum(), phi)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(documents: int, repeats: int, seed: int = 0) -> dict[str, float]:
    """Documents a second of both sides, median over `repeats` pairs, and the median of the paired ratios."""
    torch.manual_seed(seed)
    made, words, entities = synthesise(documents, seed)
    reference = ReferenceMulRel(words, entities, relations=RELATIONS, rounds=ROUNDS)
    model = BatchedMulRel(words, entities)
    sizes = [len(document.gold) for document in made]
    result = {
        "documents": float(documents),
        "mentions": float(sum(sizes)),
        "mention_pairs": float(np.square(sizes).sum()),
    }
    result |= differences(reference, model, made[: min(documents, 60)])
    # First calls load what torch loads late.
    train_reference(reference, made[:2])
    train_batched(model, made[:2])
    score_batched(model, made[:2])
    alone, padded, result["propagation_error"] = propagation_inputs(sizes)
    for name, theirs, ours in (
        ("propagation_train", lambda: propagate_alone(alone, True), lambda: propagate_batched(padded, True)),
        ("propagation_score", lambda: propagate_alone(alone, False), lambda: propagate_batched(padded, False)),
        ("train", lambda: train_reference(reference, made), lambda: train_batched(model, made)),
        ("score", lambda: score_reference(reference, made, True), lambda: score_batched(model, made)),
        ("score_no_grad", lambda: score_reference(reference, made, False), lambda: score_batched(model, made)),
    ):
        pairs = [(seconds(theirs), seconds(ours)) for _ in range(repeats)]
        result[f"{name}_reference_documents_per_second"] = documents / statistics.median(pair[0] for pair in pairs)
        result[f"{name}_documents_per_second"] = documents / statistics.median(pair[1] for pair in pairs)
        result[f"{name}_ratio"] = statistics.median(pair[0] / pair[1] for pair in pairs)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--documents", type=int, default=953, help="how many documents (default 953, as AIDA-train)")
    parser.add_argument("--repeats", type=int, default=3, help="timed pairs; medians are printed")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of both sides")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.documents, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(
            f"{name.replace('_', ' '):40} {value:,.2g}" if value < 1e-2 else f"{name.replace('_', ' '):40} {value:,.1f}"
        )


if __name__ == "__main__":
    main()
