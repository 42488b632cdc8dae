"""Modalities of mentions and entities: which score columns a task may read, what is there, and how far it is trusted.

A mention and an entity each come as text (T), pictures (I), or both: nine tasks (Wang & Wang 2024, M3EL, section 3).
A score column compares one modality of the mention with one of the entity and belongs to that group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.errors import ConfigError, did_you_mean
from mmel.text.masking import with_rivals

if TYPE_CHECKING:
    from mmel.config import TrainConfig

GROUPS = ("T-T", "T-I", "I-T", "I-I")  # modality of the mention, modality of the entity
TEXTS = GROUPS.index("T-T")
SIDES = ("T", "I", "I+T")
TASKS = tuple(f"{mention}->{entity}" for mention in SIDES for entity in SIDES)
FULL = "I+T->I+T"
PREFIX = "pictures."
_PICTURE_GROUPS = {"text_image": "T-I", "image_text": "I-T", "image_image": "I-I"}
EVIDENCE = 4  # number of pictures, confidence and size of the surest face, fit with the mention's text
SWAPS = 8  # unrelated documents whose pictures a mention may see: one alone would be learned by heart
_GATE_OPEN = 2.0  # logit at the start: a gate learns what to distrust
_LEAST_SLOPE = 0.1  # what a picture's likelihood ratio grows with begins so where training pictures say nothing
_GATE_STEEP = 5.0  # of its logit: a gate is to be sure before the rest has learned the training lists by heart


def allowed(task: str) -> np.ndarray:
    """`[4]` bool: which of GROUPS a task may read; ConfigError for a task that does not exist."""
    if task not in TASKS:
        raise ConfigError(f"task is '{task}'.{did_you_mean(task, TASKS)}")
    mention, entity = (side.split("+") for side in task.split("->"))
    return np.array([group[0] in mention and group[2] in entity for group in GROUPS])


def sides(groups: np.ndarray) -> np.ndarray:
    """`[.., 4]` bool: whether the allowed groups `[.., 4]` read a mention's text, its pictures, its candidates' texts,
    their pictures."""
    readers = [[group[0] == side for group in GROUPS] for side in "TI"]
    readers += [[group[2] == side for group in GROUPS] for side in "TI"]
    return np.asarray((groups[..., None, :] & np.array(readers)).any(-1))


ALLOWED = np.stack([allowed(task) for task in TASKS])
"""`[9, 4]` bool, a row a task of TASKS."""


def column_groups(columns: Sequence[str]) -> list[int]:
    """Index in GROUPS of each column `scorer.column`; whatever no picture is needed for compares texts."""
    return [_group(name) for name in columns]


def _group(column: str) -> int:
    if not column.startswith(PREFIX):
        return TEXTS
    first, second, *_ = column.removeprefix(PREFIX).split("_")
    return GROUPS.index(_PICTURE_GROUPS[f"{first}_{second}"])


@dataclass(frozen=True)
class Drawn:
    """What m mentions are trained on in a step: `allowed` `[m, 4]` bool groups, `swapped` `[m]` which of the SWAPS
    unrelated documents' pictures each sees, -1 for its own."""

    allowed: np.ndarray
    swapped: np.ndarray


def draw(rule: TrainConfig, mentions: int, random: np.random.Generator) -> Drawn:
    """Draw a task and own or swapped pictures for each mention, as `train.modality_dropout` and
    `train.swapped_pictures` have it."""
    other = random.random(mentions) < rule.modality_dropout
    task = np.where(other, random.integers(len(TASKS), size=mentions), TASKS.index(FULL))
    swapped = np.where(random.random(mentions) < rule.swapped_pictures, random.integers(SWAPS, size=mentions), -1)
    return Drawn(ALLOWED[task], swapped)


class ModalColumns(nn.Module):
    """Columns with what is absent or not allowed taken out, a flag for each group, and a gate over the groups.

    The gate weighs columns, and is how likely the mention's pictures are taken to be related (`PictureLikelihood`).

    Args:
        groups: group of each of the c columns. evidence: E, what is known of a mention's pictures besides.
        gated: whether a mention weighs its groups. seen: of the columns, the first ones that the gate looks at.
    """

    group: Tensor

    def __init__(self, groups: Sequence[int], gated: bool, evidence: int, seen: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("group", torch.tensor(list(groups)), persistent=False)
        self.columns = 2 * len(groups) + len(GROUPS)
        self.gate, self.likelihood = None, None
        if gated:
            self.gate = Gate(list(groups)[:seen], evidence, dropout)
            self.likelihood = PictureLikelihood(list(groups)[:seen])
            self.columns += 2 * len(self.likelihood.leading)

    def forward(
        self, columns: Tensor, available: Tensor, permitted: Tensor, evidence: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Columns `[m, k, C]`, C is `columns`: those of `[m, k, c]`, their distances to the best rival's, flags.

        With a gate also the likelihoods of pictures, and their sum `[m, k]`, which a mention's scores begin from.

        Args:
            available: `[m, k, 4]` bool, False at pads. permitted: `[m, 4]` bool. evidence: `[m, E]`.
        """
        is_open = available & permitted.unsqueeze(1)
        present = is_open[..., self.group]
        columns = torch.where(present, columns, 0)
        rivals, flags = with_rivals(columns, present), is_open.to(columns.dtype)
        if self.gate is None or self.likelihood is None:
            return torch.cat([rivals, flags], -1), None
        weights = self.gate(columns[..., : self.gate.seen], is_open, available[..., TEXTS], permitted, evidence)
        likelihoods = self.likelihood(columns, is_open, weights)
        rivals = rivals * weights[:, self.group].repeat(1, 2).unsqueeze(1)
        told = with_rivals(likelihoods, is_open[..., [group for group, _ in self.likelihood.leading]])
        return torch.cat([rivals, flags, told], -1), likelihoods.sum(-1)


class PictureLikelihood(nn.Module):
    """How much likelier a group's pictures are with each candidate than with nobody in particular: log(w r + 1 - w).

    log r = a x + b is the log likelihood ratio of the gold against another candidate, x the group's first column, a
    cosine, and a > 0; w is how likely the pictures are related at all. Where r is small for all candidates, all come
    out alike: unrelated pictures say nothing.

    Attributes:
        leading: group and column x of the l groups of pictures that there are.
        log_slope: `[l]` log a. offset: `[l]` b.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        own = list(groups)
        self.leading = [(group, own.index(group)) for group in sorted(set(own) - {TEXTS})]
        self.log_slope = nn.Parameter(torch.zeros(len(self.leading)))
        self.offset = nn.Parameter(torch.zeros(len(self.leading)))

    @torch.no_grad()
    def start(self, slope: Tensor, offset: Tensor) -> None:
        """Begin with these a and b `[l]`; a slope that is not above 0 becomes a small one."""
        self.log_slope.copy_(slope.clamp(min=_LEAST_SLOPE).log())
        self.offset.copy_(offset)

    def forward(self, columns: Tensor, is_open: Tensor, weights: Tensor) -> Tensor:
        """`[m, k, l]`, 0 where a group is not open.

        Args:
            columns: `[m, k, c]`. is_open: `[m, k, 4]` bool. weights: `[m, 4]` w in [0, 1].
        """
        groups, leading = zip(*self.leading, strict=True)
        ratio = columns[..., list(leading)] * self.log_slope.exp() + self.offset
        related = torch.logit(weights[:, list(groups)], eps=1e-4).unsqueeze(1)
        told = torch.logaddexp(functional.logsigmoid(related) + ratio, functional.logsigmoid(-related))
        return torch.where(is_open[..., list(groups)], told, 0)


class Gate(nn.Module):
    """How far a mention trusts each group, from what the group says of all its candidates.

    A group's evidence is, of each of its columns, the best value, its margin to the second and the deviation over the
    candidates; the share of candidates that have it; and for groups of the mention's pictures what is known of these.
    """

    def __init__(self, groups: Sequence[int], evidence: int, dropout: float, hidden: int = 32) -> None:
        super().__init__()
        self.seen = len(groups)
        self.own = [[c for c, group in enumerate(groups) if group == g] for g in range(len(GROUPS))]
        self.layers = nn.ModuleList()
        for name, own in zip(GROUPS, self.own, strict=True):
            out = nn.Linear(hidden, 1)
            nn.init.constant_(out.bias, _GATE_OPEN / _GATE_STEEP)
            width = 3 * len(own) + 1 + evidence * _of_picture(name)
            self.layers.append(nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout), out))

    def forward(self, columns: Tensor, is_open: Tensor, mask: Tensor, permitted: Tensor, evidence: Tensor) -> Tensor:
        """`[m, 4]` weights in [0, 1].

        Args:
            columns: `[m, k, seen]`, 0 where their group is not open `[m, k, 4]`. mask: `[m, k]` candidates.
            evidence: `[m, E]`, its last column how well pictures and text of the mention fit together.
        """
        with_text = permitted[:, [GROUPS.index("T-T"), GROUPS.index("T-I")]].any(1, keepdim=True)
        known = torch.cat([evidence[:, :-1], evidence[:, -1:] * with_text], 1)
        candidates = mask.sum(1, keepdim=True).clamp(min=1)
        weights = []
        for g, (name, own, layer) in enumerate(zip(GROUPS, self.own, self.layers, strict=True)):
            there = is_open[..., g]
            parts = [spread(columns[..., own], there), there.sum(1, keepdim=True) / candidates]
            if _of_picture(name):  # a task without pictures does not tell what they are like
                parts.append(known * there.any(1, keepdim=True))
            weights.append(torch.sigmoid(_GATE_STEEP * layer(torch.cat(parts, -1))))
        return torch.cat(weights, -1)


def _of_picture(group: str) -> bool:
    return group.startswith("I")


def spread(columns: Tensor, there: Tensor) -> Tensor:
    """`[m, 3 c]` of columns `[m, k, c]` over the candidates that are `there` `[m, k]`: best value, margin to the second
    best, deviation; 0 where there are none, and the last two where there is one."""
    inside = there.unsqueeze(-1)
    count = there.sum(1, keepdim=True).clamp(min=1)
    low = columns.masked_fill(~inside, -torch.inf)
    best = low.topk(min(2, columns.shape[1]), dim=1).values
    top, second = best[:, 0], best[:, -1]
    margin = torch.where(torch.isfinite(second), top - second, 0)
    top = torch.where(torch.isfinite(top), top, 0)
    mean = (columns * inside).sum(1) / count
    variance = (((columns - mean.unsqueeze(1)) ** 2) * inside).sum(1) / count
    # The root's gradient is infinite at 0.
    return torch.cat([top, margin, (variance + 1e-8).sqrt() - 1e-4], -1)
