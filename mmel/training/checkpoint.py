"""Checkpoints: parameters, averages, optimizer and random state in one safetensors file, written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mmel.errors import InputError
from mmel.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write named tensors with a JSON `state`, whole or not at all."""
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"state": json.dumps(state)})
    with atomic_write(path, "wb") as stream:
        stream.write(data)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; InputError where the file is missing, cut short or of another kind."""
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"is no whole checkpoint ({error or type(error).__name__})",
            file=path,
            remedy="train again with --restart, or restore the file",
        ) from error


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Everything that makes training go on as if never stopped."""
    tensors = {f"{name}/{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in slots.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    save_tensors(path, tensors, state)


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put modules, optimizer and random generators back; returns the state saved with them."""
    tensors, state = load_tensors(path)
    for name, module in modules.items():
        load_module(
            module, {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}, path
        )
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, slot = key.split("/")
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return state


def load_module(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load parameters; InputError where they are those of another architecture."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"holds the weights of another model ({str(error).splitlines()[-1].strip()})",
            file=path,
            remedy="use the config.yaml that lies beside it, or train again where another version of mmel trained it",
        ) from error
