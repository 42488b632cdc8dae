from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmel.errors import InputError
from mmel.training.checkpoint import load_checkpoint, load_module, load_tensors, save_checkpoint, save_tensors

STATE = {"epoch": 2, "best": 0.1 + 0.2, "history": [{"accuracy": {"é": 1e-17}}]}


def test_tensors_come_back_bitwise_with_their_state(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2).T, "b/c": torch.tensor(7), "d": torch.tensor([True]), "e": torch.zeros(0, 4)}
    save_tensors(tmp_path / "x", tensors, STATE)
    back, state = load_tensors(tmp_path / "x")
    assert state == STATE
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype and torch.equal(back[name], value)


def test_a_file_cut_anywhere_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.arange(4.0), "b": torch.arange(3)}, STATE)
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"model.safetensors: is no whole checkpoint \(.*Remedy: train again"):
            load_tensors(path)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"{}", b"\0" * 64, b"\xff" * 64])
def test_other_files_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="is no whole checkpoint"):
        load_tensors(tmp_path / "x")


def test_safetensors_of_others_are_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "x")
    with pytest.raises(InputError, match="is no whole checkpoint"):
        load_tensors(tmp_path / "x")


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_what_cannot_be_read_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name}: is no whole checkpoint"):
        load_tensors(tmp_path / name)


class Learner:
    """A net with dropout, its average and an optimizer; each step draws its data."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.average = nn.Linear(2, 2)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.1)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.net, "average": self.average}

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.net(torch.randn(5, 4)).square().sum().backward()
        self.optimizer.step()
        with torch.no_grad():
            self.average.weight.add_(torch.randn(2, 2))

    def values(self) -> dict[str, Tensor]:
        return {f"{n}/{k}": v.clone() for n, m in self.modules.items() for k, v in m.state_dict().items()}


@pytest.mark.parametrize("steps", [0, 3])
def test_learning_goes_on_as_if_never_stopped(tmp_path: Path, steps: int) -> None:
    straight = Learner(1)
    for _ in range(steps):
        straight.step()
    save_checkpoint(tmp_path / "c", straight.modules, straight.optimizer, STATE)
    for _ in range(4):
        straight.step()
    resumed = Learner(2)
    assert load_checkpoint(tmp_path / "c", resumed.modules, resumed.optimizer) == STATE
    for _ in range(4):
        resumed.step()
    for name, value in straight.values().items():
        assert torch.equal(value, resumed.values()[name]), name


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    learner = Learner(0)
    save_checkpoint(tmp_path / "c", learner.modules, learner.optimizer, {})
    other: dict[str, Any] = {"model": nn.Linear(3, 3), "average": learner.average}
    with pytest.raises(InputError, match=r"c: holds the weights of another model \(.*\). Remedy: use the config.yaml"):
        load_checkpoint(tmp_path / "c", other, learner.optimizer)
    with pytest.raises(InputError, match="holds the weights of another model"):
        load_module(nn.Linear(2, 2), {"weight": torch.zeros(2, 2)}, tmp_path / "c")
