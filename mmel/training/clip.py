"""Fine-tuning of the run's CLIP model: from documents and entities with pictures to the weights that encode them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmel.config import Config
from mmel.document import NIL, Document, Entity
from mmel.encoders.images.make import clip_name
from mmel.encoders.images.open_clip import open_parts
from mmel.errors import ConfigError
from mmel.kb import KnowledgeBase
from mmel.parallel import pick_device
from mmel.retrieval_settings import by_pictures
from mmel.training.run import RunFolder
from mmel.vision.gallery import entity_words
from mmel.vision.linker import CLIP_FILE, text_encoder
from mmel.vision.mention_text import described, mention_words
from mmel.vision.train_clip import ClipPairs, augmentation, train_clip
from mmel.vision_settings import MentionText

Say = Callable[[str], None]
_HELD_OUT = 10  # one of so many entities is, where validation documents have no pictures


class Pair(NamedTuple):
    """A picture, the text that goes with it, and the entity that both are of, None where it is not known."""

    picture: Path
    text: str
    entity: str | None


def check_clip(config: Config) -> None:
    """Raise ConfigError where a CLIP model is to be fine-tuned, and there is none or nothing uses it."""
    name = text_encoder(config.vision)[0]
    if not config.vision.clip_train.epochs:
        return
    if not name.startswith("open-clip"):
        raise ConfigError(
            f"vision.clip_train.epochs={config.vision.clip_train.epochs} fine-tunes an open-clip model, the encoder is "
            f"'{name}'. Remedy: vision.encoder=open-clip:MODEL, or vision.text_encoder"
        )
    used = "pictures" in config.model.scorers or by_pictures(config.candidates.retrieval)
    if "visual" not in config.modalities and not used:
        raise ConfigError(
            f"vision.clip_train.epochs={config.vision.clip_train.epochs} has no use: no picture is linked or scored. "
            "Remedy: modalities=visual, 'pictures' among model.scorers, or retrieval by pictures"
        )


def tune_clip(
    config: Config,
    kb: KnowledgeBase,
    pictures: Path,
    train: Mapping[str, Sequence[Document]],
    dev: Mapping[str, Sequence[Document]],
    run: RunFolder,
    say: Say,
) -> dict[str, Any]:
    """Fine-tune the model as `vision.clip_train` says, into the run's folder; what it was made of, for the metrics.

    Pairs are the pictures of training documents with each of their textual mentions, and of entities with their name
    and description. Validation are the pairs of the documents of `dev`, or, where they have no pictures, every tenth
    entity's, which training then does not see.

    Args:
        pictures: folder that the images of documents and entities are relative to.
    """
    rule, form = config.vision.clip_train, config.vision.mention_text
    known, asked = ([one for part in parts.values() for one in part] for parts in (train, dev))
    learned, validation = list(mention_pairs(known, pictures, form)), list(mention_pairs(asked, pictures, form))
    of_mentions = len(learned)
    if rule.entities != "none":
        linked = {mention.entity for one in known for mention in one.text_mentions}
        linked |= {mention.entity for one in known for mention in one.visual_mentions}
        entities = kb if rule.entities == "all" else (entity for entity in kb if entity.id in linked)
        learned += entity_pairs(entities, pictures)
    say(f"CLIP: {of_mentions:,} pairs of mentions and {len(learned) - of_mentions:,} of entities")
    _tell_descriptions(known, form, say)
    if not validation:
        learned, validation = _split(learned)
        kept = f"{len(validation):,} pairs of other entities are held out" if validation else "the last epoch is kept"
        say(f"CLIP: no validation document has a picture; {kept}")
    name, weights, sha256 = text_encoder(config.vision)
    model, given = clip_name(name, weights)
    parts = open_parts(model, given, sha256=sha256, download=config.vision.download, augmentation=augmentation(rule))
    state, skips = train_clip(
        parts,
        as_pairs(learned),
        as_pairs(validation) if validation else None,
        rule,
        run.visual / CLIP_FILE,
        seed=config.seed,
        device=pick_device(config.device),
        log=lambda line: say(f"  {_told(line)}"),
    )
    skips.print()
    return {
        "pairs": len(learned),
        "validation_pairs": len(validation),
        "missing_images": sum(skips.counts.values()),
        "best_epoch": state.best_epoch,
        "history": state.history,
    }


def mention_pairs(documents: Iterable[Document], pictures: Path, form: MentionText) -> Iterator[Pair]:
    """Each textual mention with each of its document's pictures; see `mention_words` for `form`."""
    for document in documents:
        if document.images:
            words = mention_words(document.text, document.text_mentions, form)
            for mention, text in zip(document.text_mentions, words, strict=True):
                entity = None if mention.entity in (None, NIL) else mention.entity
                yield from (Pair(pictures / image, text, entity) for image in dict.fromkeys(document.images))


def entity_pairs(entities: Iterable[Entity], pictures: Path) -> Iterator[Pair]:
    """Each entity's name and description with each of its pictures."""
    for entity in entities:
        text = entity_words(entity, "name+description")
        yield from (Pair(pictures / image, text, entity.id) for image in dict.fromkeys(entity.images))


def as_pairs(pairs: Sequence[Pair]) -> ClipPairs:
    """Pairs with entities as numbers, by first sight."""
    numbers: dict[str, int] = {}
    owners = [-1 if pair.entity is None else numbers.setdefault(pair.entity, len(numbers)) for pair in pairs]
    pictures, texts = tuple(pair.picture for pair in pairs), tuple(pair.text for pair in pairs)
    return ClipPairs(pictures, texts, np.array(owners, np.int64))


def _split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from, and those of every tenth entity; none of these where they are of one entity or none."""

    def held(pair: Pair) -> bool:
        return pair.entity is not None and zlib.crc32(pair.entity.encode("utf-8", "surrogatepass")) % _HELD_OUT == 0

    kept = [pair for pair in pairs if held(pair)]
    if len({pair.entity for pair in kept}) < 2:
        return list(pairs), []
    return [pair for pair in pairs if not held(pair)], kept


def _tell_descriptions(documents: Iterable[Document], form: MentionText, say: Say) -> None:
    """How many mentions lack the description that a form asks for."""
    if form.endswith("-D"):
        has = [described(mention) for document in documents if document.images for mention in document.text_mentions]
        say(f"CLIP: {len(has) - sum(has):,} of {len(has):,} mentions have no description and are read without")


def _told(line: Mapping[str, Any]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in line.items() if value is not None)
