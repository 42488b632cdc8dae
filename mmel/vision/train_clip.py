"""Fine-tuning of a CLIP model on pairs of picture and text: CLIP_ND (Wang et al. 2024, Eq. 2).

Every step draws its pairs and views from the seed and its own number, so that a run that was stopped goes on as if it
never had been. A picture that cannot be read is counted, and its pairs have no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmel.encoders.images.open_clip import ClipParts, preprocessing
from mmel.errors import InputError, MmelError, SkipReport
from mmel.evaluation.metrics import realistic_ranks, recall_at
from mmel.pictures import read_pictures
from mmel.progress import progress
from mmel.training.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors
from mmel.vision.losses import info_nce
from mmel.vision_settings import ClipTrainConfig

_HOTTEST = math.log(100)  # of the logits' scale, as CLIP was trained (Radford et al. 2021, section 2.5)
_JITTER = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue


@dataclass(frozen=True)
class ClipPairs:
    """Pairs of a picture and a text that says what it shows; `owners` `[n]` int64 whom, -1 for nobody known."""

    pictures: tuple[Path, ...]
    texts: tuple[str, ...]
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> ClipPairs:
        """The pairs of `rows`, in their order."""
        places = rows.tolist()
        pictures, texts = tuple(self.pictures[i] for i in places), tuple(self.texts[i] for i in places)
        return ClipPairs(pictures, texts, self.owners[rows])

    def alike(self) -> np.ndarray:
        """`[n, n]` bool: pairs of one owner, one picture or one text, which nothing could tell apart."""
        alike = (self.owners[:, None] == self.owners) & (self.owners >= 0)
        for values in (self.pictures, self.texts):
            numbers = {value: number for number, value in enumerate(values)}
            places = np.array([numbers[value] for value in values])
            alike |= places[:, None] == places
        return np.asarray(alike)


@dataclass
class ClipState:
    """Where training stands; all of it is in the checkpoint. `history`: a line for the start and each epoch."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


def augmentation(rule: ClipTrainConfig) -> dict[str, Any]:
    """open_clip's settings of the views that training sees."""
    jitter = {"color_jitter": _JITTER, "color_jitter_prob": rule.colour} if rule.colour else {}
    return {"scale": (rule.crop, 1.0), **jitter, **({"gray_scale_prob": rule.grey} if rule.grey else {})}


def train_clip(
    parts: ClipParts,
    pairs: ClipPairs,
    validation: ClipPairs | None,
    rule: ClipTrainConfig,
    result: Path,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    log: Callable[[dict[str, Any]], None] = lambda line: None,
) -> tuple[ClipState, SkipReport]:
    """Fine-tune the model of `parts`, both towers and the temperature, and write the best epoch's weights to `result`.

    The epoch of the highest retrieval accuracy on `validation` is kept, the start among them; without it the last one.
    A checkpoint lies beside `result` until all is done: the same call goes on from there, or gives what is done.

    Args:
        result: a `.safetensors` file, weights of the same open_clip model.
        log: gets each line of the history as it is made.

    Returns:
        the state, and the pictures that could not be read, each once.

    Raises InputError for fewer than two pairs, MmelError where the loss is not finite.
    """
    checkpoint = result.with_name(f"{result.stem}-checkpoint.safetensors")
    if result.is_file() and not checkpoint.is_file():
        done = ClipState(**load_tensors(result)[1]["training"])
        if done.epoch == rule.epochs:
            return done, SkipReport()
    if len(pairs) < 2:
        raise InputError(
            f"{len(pairs)} pairs of picture and text to fine-tune CLIP on",
            field="vision.clip_train",
            remedy="give documents with pictures (`images`), or entities with theirs (clip_train.entities=all)",
        )
    with torch.random.fork_rng():  # what is trained afterwards draws as it would without
        run = _Run(parts, pairs, rule, seed, device or torch.device("cpu"))
        state = ClipState()
        if checkpoint.is_file():
            state = ClipState(**load_checkpoint(checkpoint, {"model": run.model}, run.optimizer))
        while state.epoch < rule.epochs or not state.history:
            loss = None
            if state.history:
                loss, state.epoch = run.epoch(state.epoch), state.epoch + 1
            line = {"epoch": state.epoch, "loss": loss, "temperature": run.temperature}
            found = None if validation is None else run.validated(validation)
            if found is not None and found.pairs:
                line |= found._asdict()
            state.history.append(line)
            log(line)
            _keep(run, state, line.get("accuracy"), result)
            save_checkpoint(checkpoint, {"model": run.model}, run.optimizer, vars(state))
    checkpoint.unlink()
    return state, run.skips


def _keep(run: _Run, state: ClipState, accuracy: float | None, result: Path) -> None:
    """Write the weights where the epoch is the best one yet, and what training said of itself beside them."""
    score = float(state.epoch) if accuracy is None else accuracy
    tensors = dict(run.model.state_dict())
    if score > state.best:
        state.best, state.best_epoch = score, state.epoch
    elif state.epoch < run.rule.epochs:
        return
    else:
        tensors = load_tensors(result)[0]
    save_tensors(result, tensors, {"preprocessing": preprocessing(run.model), "training": vars(state)})


class Retrieved(NamedTuple):
    """In-batch retrieval: `accuracy` in [0, 1] of both directions, over `pairs`, each among at most `among` others."""

    accuracy: float
    pairs: int
    among: int


class _Run:
    """What a step needs."""

    def __init__(
        self, parts: ClipParts, pairs: ClipPairs, rule: ClipTrainConfig, seed: int, device: torch.device
    ) -> None:
        self.parts, self.pairs, self.rule, self.seed, self.device = parts, pairs, rule, seed, device
        self.model, self.skips = parts.model.to(device), SkipReport()
        self._broken: set[Path] = set()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=rule.learning_rate,
            betas=(0.9, rule.beta2),
            eps=rule.eps,
            weight_decay=rule.weight_decay,
        )

    @property
    def temperature(self) -> float:
        return float((-self.model.logit_scale.detach()).exp())

    def epoch(self, number: int) -> float:
        """One pass; the mean loss of its steps."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.pairs))
        steps = list(_batches(order, self.rule.batch))
        total = self.rule.epochs * len(steps)
        losses = []
        for place, rows in enumerate(progress(steps, f"CLIP, epoch {number + 1}", len(steps), "batch")):
            step = number * len(steps) + place
            for group in self.optimizer.param_groups:
                group["lr"] = self.rule.learning_rate * (1 + math.cos(math.pi * step / total)) / 2
            torch.manual_seed(hash((self.seed, step)) % 2**62)
            loss = self._step(self.pairs.take(rows), step)
            losses += [] if loss is None else [loss]
        if not losses:
            raise InputError(
                "no batch has two pictures that can be read", field="vision.clip_train", remedy=self.skips.summary()
            )
        return float(np.mean(losses))

    def _step(self, pairs: ClipPairs, step: int) -> float | None:
        pixels, pairs = self._read(pairs, self.parts.augment)
        if len(pairs) < 2:
            return None
        self.model.train()
        scale = self.model.logit_scale.exp()
        loss = info_nce(*self._encode(pixels, pairs), scale, torch.from_numpy(pairs.alike()).to(self.device))
        if not bool(torch.isfinite(loss)):
            raise MmelError(
                f"the loss is {loss.item()} at step {step}. Remedy: a lower vision.clip_train.learning_rate"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, _HOTTEST)
        return float(loss.detach())

    @torch.no_grad()
    def validated(self, pairs: ClipPairs) -> Retrieved:
        """How often the own text is first among those of a picture's batch, and the own picture among a text's.

        Pairs that nothing could tell apart are left out of each other's batch; equal scores share their ranks.
        """
        self.model.eval()
        ranks, among = [], 0
        # Drawn once for all epochs: neighbours in a file are often of one entity.
        for rows in _batches(np.random.default_rng(0).permutation(len(pairs)), self.rule.batch):
            pixels, batch = self._read(pairs.take(rows), self.parts.prepare)
            if len(batch) < 2:
                continue
            images, texts = self._encode(pixels, batch)
            scores = (images @ texts.T).double().cpu().numpy()
            own = np.arange(len(scores))
            scores[batch.alike() & ~np.eye(len(own), dtype=bool)] = -np.inf
            ranks += [realistic_ranks(scores, own), realistic_ranks(scores.T, own)]
            among = max(among, len(own))
        every = np.concatenate(ranks) if ranks else np.zeros(0)
        return Retrieved(recall_at(every, 1), len(every) // 2, among)

    def _encode(self, pixels: Tensor, pairs: ClipPairs) -> tuple[Tensor, Tensor]:
        """`[n, d]` unit vectors of pictures, and of texts."""
        tokens = self.parts.tokenizer(list(pairs.texts)).to(self.device)
        images = self.model.encode_image(pixels.to(self.device), normalize=True)
        return images, self.model.encode_text(tokens, normalize=True)

    def _read(self, pairs: ClipPairs, prepare: Callable[[Any], Any]) -> tuple[Tensor, ClipPairs]:
        """`[n, 3, h, w]` of the pairs whose picture can be read, and these pairs."""
        wanted: dict[Path, list[int]] = {}
        for row, path in enumerate(pairs.pictures):
            if path not in self._broken:
                wanted.setdefault(path, []).append(row)
        asked, pixels = list(wanted), {}
        # Prepared as they come: a batch of decoded photographs may be gigabytes.
        for place, picture in read_pictures(asked, self.skips):
            for row in wanted.pop(asked[place]):
                pixels[row] = prepare(picture)
        self._broken.update(wanted)
        rows = sorted(pixels)
        stacked = torch.stack([pixels[row] for row in rows]) if rows else torch.empty(0)
        return stacked, pairs.take(np.array(rows, np.int64))


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Parts of `order` of at most `size` that differ in length by one at most, so that none has a single pair."""
    return iter(np.array_split(order, max(1, math.ceil(len(order) / size))))
