"""How much of the gold candidate retrieval finds in a whole knowledge base, and how long it takes a mention.

python -m benchmarks.retrieval DATASET --root DIR [--split val] [--retrievers annotations names ...] [--json FILE]
python -m benchmarks.retrieval wikidiverse --root DIR --clip open-clip:ViT-B-32 --clip-weights FILE

Each retriever by itself, then ensembles: P+T is annotations with dense (else bm25), N+T names with it, P+N annotations
with names, and all that are on. With --clip, V is the pictures of the documents against texts or pictures of entities.
Dictionary and heads of `dense` learn from the split `train`. Weights are those of the best mean R@10, R@50 and R@100
over a grid in steps of a tenth: on documents of `train` that are left out of what is learned (each document's own links
for the dictionary, its fold's heads for `dense`), or on the split that --tune names.
The protocol line says which. Beside WIKIDiverse stand the numbers of Table 4 of Wang et al. 2022.

`ms` is the processor time of a mention, in batches, with one thread; `dense` includes the encoding of the mention.
What only the measured split names is in the base, too, without a training link.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mmel.files import write_json
from mmel.retrieval_settings import BY_PICTURES, DenseTrainConfig, RetrieverName

if TYPE_CHECKING:
    from mmel.candidates import MentionTable
    from mmel.candidates.retrieval import Ensemble, Retriever
    from mmel.candidates.retrieval.clip import PictureRetriever
    from mmel.encoders.text import CachedTextEncoder
    from mmel.kb import KnowledgeBase

DEPTHS = (10, 50, 100)
PUBLISHED = "wikidiverse-candidates"
_TUNED = 2000  # training mentions that weights are searched on
_ENCODED = 100  # mentions whose encoding is timed


def measure(retriever: Retriever, table: MentionTable, extra_ms: float = 0) -> dict[str, Any]:
    """R@1 and R@K of DEPTHS over the mentions whose entity is in the base, and milliseconds of processor time each.

    Equal scores share their ranks, as in evaluation: retrievers give equals in the order of the base, which says
    nothing. Equals that the last depth cuts off are not seen.
    """
    import numpy as np

    from mmel.evaluation.metrics import realistic_ranks, recall_at

    started = time.process_time()
    found = retriever.retrieve(table, max(DEPTHS))
    ms = 1000 * (time.process_time() - started) / max(len(table), 1) + extra_ms
    known = table.gold >= 0
    hit = found.ids[known] == table.gold[known, None]
    scores = np.where(found.ids[known] >= 0, found.scores[known], -np.inf)
    ranks = realistic_ranks(scores, np.where(hit.any(1), hit.argmax(1), -1))
    recall = {f"R@{k}": round(100 * recall_at(ranks, k), 2) for k in (1, *DEPTHS)}
    return {**recall, "ms": round(ms, 2), "mentions": int(known.sum())}


def combinations(names: Sequence[str]) -> dict[str, list[str]]:
    """The ensembles of retrievers that are on, by what they are called."""
    text = next((name for name in ("dense", "bm25") if name in names), None)
    parts: dict[str, tuple[str | None, ...]] = {
        "P+T": ("annotations", text),
        "N+T": ("names", text),
        "P+N": ("annotations", "names"),
    }
    for name in names:
        if name.startswith("clip-"):
            sees = name.removeprefix("clip-")
            parts |= {f"T+V ({sees})": (text, name), f"P+T+V ({sees})": ("annotations", text, name)}
    chosen = {label: [n for n in part if n] for label, part in parts.items() if all(n in names for n in part)}
    return chosen | ({"all": list(names)} if len(names) > 2 else {})


def rows(arguments: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One row a retriever and ensemble, and the protocol."""
    import torch

    from mmel.candidates import MentionTable
    from mmel.candidates.annotations import AnnotationCounts
    from mmel.candidates.retrieval import Ensemble, Retrieval
    from mmel.config import EncoderConfig
    from mmel.datasets import open_dataset
    from mmel.datasets.knowledge import dataset_kb
    from mmel.encoders.entities import SentenceVectors
    from mmel.encoders.text import CachedTextEncoder, TransformerEncoder
    from mmel.errors import SkipReport
    from mmel.text.entity_text import entity_texts

    torch.set_num_threads(1)
    dataset, skips = open_dataset(arguments.dataset, arguments.root), SkipReport()
    kb = dataset_kb(dataset)

    def read(split: str) -> MentionTable:
        documents = list(dataset.documents(split, skips))[: arguments.limit]
        return MentionTable.of(documents, kb, dataset.pictures)

    train, table = read("train"), read(arguments.split)
    encoder = CachedTextEncoder(TransformerEncoder(max_tokens=EncoderConfig().max_tokens), keep_documents=False)
    names = list(dict.fromkeys(arguments.retrievers))
    counts = AnnotationCounts.of(train, len(kb))
    retrieval = Retrieval(names, max(DEPTHS), kb, counts, encoder, SentenceVectors(encoder, entity_texts))
    extra = {}
    if "dense" in names:
        retrieval.train(train, DenseTrainConfig(epochs=arguments.epochs), arguments.seed)
        extra["dense"] = _encoding_ms(encoder, table)
    members = {one.name: one for one in retrieval.ensemble.members}
    pictured = [] if arguments.clip is None else _pictured(arguments, kb, dataset.pictures)
    members |= {one.name: one for one in pictured}
    names += [one.name for one in pictured]
    out = []
    for name in names:
        members[name].retrieve(table, 1)  # indexes and caches are made once for the base, not for a mention
        out.append({"system": name, **measure(members[name], table, extra.get(name, 0)), "weights": ""})
    held_out = arguments.tune is None
    tuned_on = _first(train, _TUNED, kb) if held_out else read(arguments.tune)
    for label, part in combinations(names).items():
        ensemble, weights = _tuned(Ensemble([members[n] for n in part], depth=max(DEPTHS)), tuned_on, held_out)
        shown = " ".join(f"{name} {weight:.1f}" for name, weight in zip(part, weights, strict=True))
        cost = sum(extra.get(name, 0) for name in part)
        out.append({"system": label, **measure(ensemble, table, cost), "weights": shown})
    protocol = {
        "dataset": arguments.dataset,
        "split": arguments.split,
        "entities": len(kb),
        "mentions": int((table.gold >= 0).sum()),
        "outside_the_base": int((table.labelled & (table.gold < 0)).sum()),
        "learned_on": f"train ({int((train.gold >= 0).sum()):,} links)",
        "weights_on": f"train, {len(tuned_on):,} mentions, left out" if held_out else arguments.tune,
        "skipped": sum(skips.counts.values()),
        "pictures_unread": sum(sum(one.skips.counts.values()) for one in pictured),
    }
    return out, protocol


def _pictured(arguments: argparse.Namespace, kb: KnowledgeBase, pictures: Path) -> list[PictureRetriever]:
    """The retrievers by pictures: against texts, and where entities have pictures against these."""
    from mmel.candidates.retrieval.clip import PictureRetriever
    from mmel.encoders.images import make_image_encoder
    from mmel.errors import ConfigError
    from mmel.vision.gallery import TextTower, picture_gallery, text_gallery
    from mmel.vision.regions import RegionEncoder

    encoder = make_image_encoder(arguments.clip, arguments.clip_weights)
    if not isinstance(encoder, TextTower):
        raise ConfigError(f"encoder '{arguments.clip}' reads no texts. Remedy: --clip open-clip:MODEL")
    regions = RegionEncoder(encoder)
    out = [PictureRetriever("clip-text-image", text_gallery(kb, encoder), regions)]
    if any(entity.images for entity in kb):
        gallery, _ = picture_gallery(kb, pictures, regions)
        out.append(PictureRetriever("clip-image-image", gallery, regions))
    return out


def _tuned(ensemble: Ensemble, table: MentionTable, leave_out: bool) -> tuple[Ensemble, list[float]]:
    """The ensemble with the weights that are best on a table, and these."""
    from mmel.candidates.retrieval import Ensemble
    from mmel.candidates.retrieval.ensemble import best_weights

    weights, _ = best_weights([ensemble.gather(table, None, leave_out)], [table.gold], DEPTHS)
    return Ensemble(ensemble.members, weights, ensemble.depth), weights.tolist()


def _first(table: MentionTable, mentions: int, kb: KnowledgeBase) -> MentionTable:
    """The first documents of a table with about so many mentions."""
    from mmel.candidates import MentionTable

    documents = int(table.doc[min(mentions, len(table)) - 1]) + 1 if len(table) else 0
    return MentionTable.of(list(table.documents)[:documents], kb, table.pictures)


def _encoding_ms(encoder: CachedTextEncoder, table: MentionTable) -> float:
    """Milliseconds of processor time that reading one mention takes, without the cache."""
    from mmel.candidates.retrieval.dense import mention_texts

    texts = [text for side in mention_texts(table) for text in side[:_ENCODED]]
    started = time.process_time()
    encoder.encoder.encode(texts)
    return 2000 * (time.process_time() - started) / max(len(texts), 1)


def published() -> list[dict[str, Any]]:
    """The rows of Table 4 of Wang et al. 2022, as `benchmarks/tables` has them."""
    from benchmarks.spec import load

    return [
        {"system": f"{row.title} ({row.source})", **row.published}
        for row in load().tables[PUBLISHED].rows
        if row.published
    ]


def report(measured: Sequence[dict[str, Any]], protocol: dict[str, Any]) -> str:
    """The protocol line and the table for people."""
    about = (
        f"{protocol['dataset']} {protocol['split']}: {protocol['mentions']:,} mentions among all "
        f"{protocol['entities']:,} entities ({protocol['outside_the_base']} with an entity outside them left out); "
        f"learned on {protocol['learned_on']}; weights tuned on {protocol['weights_on']}; gold not injected; "
        "ties realistic"
    )
    if protocol["pictures_unread"]:
        about += f"; pictures that cannot be read: {protocol['pictures_unread']:,}"
    columns = ("R@1", *(f"R@{k}" for k in DEPTHS), "ms")
    lines = [about, f"{'':58}" + "".join(f"{name:>8}" for name in columns)]
    for row in [*measured, *(published() if protocol["dataset"] == "wikidiverse" else [])]:
        values = "".join(f"{row[name]:8.2f}" if name in row else f"{'':8}" for name in columns)
        lines.append(f"{row['system']:58}{values}  {row.get('weights', '')}".rstrip())
    return "\n".join(lines)


def evaluation(measured: Sequence[dict[str, Any]], protocol: dict[str, Any]) -> dict[str, Any]:
    """All that was measured; `text` is the last row, of all retrievers together, as fractions like an evaluation's."""
    last = measured[-1]
    recall = {str(k): last[f"R@{k}"] / 100 for k in (1, *DEPTHS)}
    return {
        "text": {"mentions": protocol["mentions"], "recall_at": recall, "milliseconds": last["ms"]},
        "protocol": {**protocol, "candidates": last["system"]},
        "rows": list(measured),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    lines = (__doc__ or "").splitlines()
    by_text = [name for name in get_args(RetrieverName) if name not in BY_PICTURES]
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=lines[0], epilog=lines[2])
    parser.add_argument("dataset", help="as `python -m mmel.data list` names it")
    parser.add_argument("--root", required=True, type=Path, help="folder of the dataset")
    parser.add_argument("--split", default="val", help="split that is measured")
    parser.add_argument("--retrievers", nargs="+", choices=by_text, default=by_text)
    parser.add_argument("--tune", metavar="SPLIT", help="weights on this split instead of train documents left out")
    parser.add_argument("--epochs", type=int, default=DenseTrainConfig().epochs, help="of dense; 0: plain cosine")
    parser.add_argument("--clip", metavar="ENCODER", help="encoder of pictures and texts, such as open-clip:ViT-B-32")
    parser.add_argument("--clip-weights", type=Path, help="file of its weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="documents of each split")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    arguments = parser.parse_args(argv)
    measured, protocol = rows(arguments)
    print(report(measured, protocol))
    if arguments.json is not None:
        write_json(arguments.json, evaluation(measured, protocol))
    return 0


if __name__ == "__main__":
    sys.exit(main())
