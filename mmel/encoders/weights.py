"""The digest of a model's weights, which is part of an encoder's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def state_digest(state: Mapping[str, torch.Tensor], *, unused: tuple[str, ...] = ()) -> str:
    """Eight hex digits of a model's tensors as they are in memory, however the file that held them is written.

    unused: beginnings of the names that are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if name.startswith(unused):
            continue
        digest.update(name.encode())
        digest.update(tensor.cpu().float().numpy().tobytes())
    return digest.hexdigest()[:8]
