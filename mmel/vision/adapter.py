"""The adapter of WIKIPerson (Sun et al. 2022, section 3), and attention over the pictures of an entity.

F = normalise(f + ReLU(f W1) W2), with weights of their own for mentions and for entities, on top of any frozen encoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.encoders.weights import state_digest
from mmel.errors import InputError
from mmel.training.checkpoint import load_module, load_tensors, save_tensors

KIND = "adapters"
_ROWS = 65_536  # vectors adapted at a time
_USUAL_SIZE = 112.0  # pixels of a face to which its size is compared: the encoders' input


class ResidualAdapter(nn.Module):
    """Unit rows to unit rows; gives them back unchanged before training, because W2 starts as zero.

    Args:
        dim: d. hidden: width between the two layers, 2 d unless given (Sun et al. 2022: 512 to 1024 to 512).
    """

    def __init__(self, dim: int, hidden: int | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(dim, hidden or 2 * dim, bias=False)
        self.second = nn.Linear(hidden or 2 * dim, dim, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """`[n, d]` of unit norm from `[n, d]`; a row of NaN stays one."""
        return functional.normalize(vectors + self.second(self.first(vectors).relu()), dim=-1)


class AttentionPooling(nn.Module):
    """One unit row an entity: a softmax over its pictures by what speaks for each; their mean before training.

    What speaks for a picture is its cosine with the sum of the entity's others (0 where it is the only one), the
    detector's confidence, and the size of the face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, vectors: Tensor, owner: Tensor, confidence: Tensor, size: Tensor) -> Tensor:
        """`[e, d]` of unit norm from unit `vectors` `[n, d]`.

        owner: `[n]` the entity of each, every one of 0..e-1 among them. confidence `[n]` in [0, 1], size `[n]` pixels.
        """
        entities = int(owner.max()) + 1
        others = vectors.new_zeros(entities, vectors.shape[1]).index_add(0, owner, vectors)[owner] - vectors
        agreement = (vectors * functional.normalize(others, dim=-1, eps=1e-4)).sum(-1)
        features = torch.stack([agreement, confidence, (size / _USUAL_SIZE).clamp_min(1e-3).log2()], dim=-1)
        # Pooled at unit norm, so that what the softmax divides by has no part.
        logits = features @ self.weights
        peak = logits.new_full((entities,), -torch.inf).scatter_reduce(0, owner, logits.detach(), "amax")
        weighted = vectors * (logits - peak[owner]).exp()[:, None]
        return functional.normalize(vectors.new_zeros(entities, vectors.shape[1]).index_add(0, owner, weighted), dim=-1)


class Adapters(nn.Module):
    """What is trained over a frozen encoder: the adapter of mentions, that of entities, the pooling of pictures.

    Args:
        dim, hidden: see ResidualAdapter.
        shared: one adapter for both sides.
    """

    def __init__(self, dim: int, hidden: int | None = None, shared: bool = False) -> None:
        super().__init__()
        self.config = {"dim": dim, "hidden": hidden or 2 * dim, "shared": shared}
        self.mention = ResidualAdapter(dim, hidden)
        self.entity = self.mention if shared else ResidualAdapter(dim, hidden)
        self.pooling = AttentionPooling()

    @property
    def id(self) -> str:
        """Changes whenever the weights do."""
        return f"{KIND}-{state_digest(self.state_dict())}"

    def adapt_mentions(self, vectors: np.ndarray) -> np.ndarray:
        """`[n, d]` float32 of mentions' vectors `[n, d]`; a row of NaN stays one."""
        return _adapted(self.mention, vectors)

    def adapt_entities(self, vectors: np.ndarray) -> np.ndarray:
        """`[n, d]` float32 of the vectors `[n, d]` of entities' pictures or texts."""
        return _adapted(self.entity, vectors)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        # A shared adapter is stored once: safetensors refuses two names of one tensor.
        tensors = {
            name: value
            for name, value in self.state_dict().items()
            if not (self.config["shared"] and name.startswith("entity."))
        }
        save_tensors(Path(path), tensors, {"kind": KIND, "config": self.config})

    @classmethod
    def load(cls, path: str | Path, dim: int | None = None) -> Adapters:
        """What `save` wrote; InputError where the file is missing, of another kind, or not for vectors of `dim`."""
        path = Path(path)
        tensors, state = load_tensors(path)
        if state.get("kind") != KIND:
            raise InputError(f"holds no {KIND}", file=path, remedy="name the file that Adapters.save wrote")
        config = state["config"]
        if dim is not None and config["dim"] != dim:
            raise InputError(
                f"adapts vectors of {config['dim']} numbers, the encoder gives {dim}",
                file=path,
                field="dim",
                remedy="use the encoder that the adapters were trained over",
            )
        adapters = cls(config["dim"], config["hidden"], config["shared"])
        if config["shared"]:
            tensors |= {
                name.replace("mention.", "entity.", 1): value
                for name, value in tensors.items()
                if name.startswith("mention.")
            }
        load_module(adapters, tensors, path)
        return adapters.eval()


@torch.inference_mode()
def _adapted(adapter: ResidualAdapter, vectors: np.ndarray) -> np.ndarray:
    out = np.empty(vectors.shape, np.float32)
    device = adapter.first.weight.device
    for start in range(0, len(vectors), _ROWS):
        part = torch.from_numpy(np.array(vectors[start : start + _ROWS], np.float32)).to(device)
        out[start : start + _ROWS] = adapter(part).cpu().numpy()
    return out
