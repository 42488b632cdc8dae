"""Weights of torch models: found without a download unless asked, read safely, fitted strictly."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmel.encoders.images.base import reason
from mmel.errors import ConfigError, InputError
from mmel.files import weights_digest

if TYPE_CHECKING:
    import torch
    from torch import nn

State = Mapping[str, "torch.Tensor"]


def hub_file(url: str, *, download: bool, hash_prefix: str | None = None) -> Path:
    """The file of `url` in the folder of torch.hub, fetched only with `download`.

    hash_prefix: first digits of its SHA-256; None where its publisher names none, and then nothing can be checked.
    Raises ConfigError where the file is not there and may not be, or cannot be, fetched.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if path.is_file():
        return path
    unchecked = "" if hash_prefix else " (its publisher names no checksum: give one as sha256)"
    if not download:
        raise ConfigError(
            f"'{path.name}' is not in {path.parent}, and nothing is downloaded unasked. Remedy: allow the download of "
            f"{url}{unchecked}, or give the path of the file as weights"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{url} cannot be fetched ({error}). Remedy: fetch it elsewhere and give its path as weights"
        ) from error
    return path


def read_state(file: str | Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` file or a torch checkpoint, which may be nested or of a parallel module.

    Only tensors are read of a pickle, no code. InputError where the file is missing, of another digest or neither.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(file)
    weights_digest(file, sha256)
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"is no file of tensors that can be read ({reason(error)})",
            file=file,
            field="weights",
            remedy="give a .safetensors file, or a state_dict saved with torch.save",
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f"holds a {type(state).__name__}, not named tensors",
            file=file,
            field="weights",
            remedy="save the state_dict of the model",
        )
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def fit(model: nn.Module, state: State, file: str | Path, *, unused: tuple[str, ...] = ()) -> None:
    """Put `state` into `model`; InputError naming the first tensors that are missing, too many or of another shape.

    unused: beginnings of names in the file that the model has no part for, such as a classifier.
    """
    state = {key: value for key, value in state.items() if not key.startswith(unused)}
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    # Files of before batch norms counted their batches lack only the counts, which inference does not read.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} is {list(state[key].shape)}, not {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{name}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for name, keys in (("missing", missing), ("not of the model", extra), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise InputError(
            f"holds the weights of another architecture than {type(model).__name__} ({'; '.join(problems)})",
            file=file,
            field="weights",
            remedy="give the weights of this architecture, or name the encoder that they belong to",
        )
    model.load_state_dict(state, strict=False)
