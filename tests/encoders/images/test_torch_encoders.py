"""ResNet-50 and InceptionResnetV1: rows against the bare models, and what is said of weights that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmel.encoders.images import make_image_encoder
from mmel.encoders.images.facenet import PRETRAINED, FacenetEncoder
from mmel.encoders.images.resnet import ResNetEncoder
from mmel.encoders.images.torch_encoder import TorchImageEncoder
from mmel.encoders.images.weights import hub_file, read_state
from mmel.errors import ConfigError, InputError, MissingDependencyError
from tests.encoders.images.models import noise


def _resnet() -> torch.nn.Module:
    return pytest.importorskip("torchvision").models.resnet50(weights=None)


def _facenet() -> torch.nn.Module:
    return pytest.importorskip("facenet_pytorch").InceptionResnetV1(pretrained=None, classify=True, num_classes=7)


def _resnet_row(model: torch.nn.Module, picture: Image.Image) -> torch.Tensor:
    from torchvision.models import ResNet50_Weights

    model.fc = torch.nn.Identity()
    return model(ResNet50_Weights.IMAGENET1K_V2.transforms()(picture)[None])


def _facenet_row(model: Any, picture: Image.Image) -> torch.Tensor:
    from facenet_pytorch import fixed_image_standardization

    model.classify = False
    pixels = np.asarray(picture.resize((160, 160), Image.Resampling.BILINEAR), np.float32)
    return model(fixed_image_standardization(torch.from_numpy(pixels).permute(2, 0, 1))[None])


CASES = [
    pytest.param(_resnet, _resnet_row, ResNetEncoder, 2048, id="resnet50"),
    pytest.param(_facenet, _facenet_row, FacenetEncoder, 512, id="facenet"),
]


@pytest.mark.parametrize(("build", "row", "encoder", "dim"), CASES)
def test_rows_are_those_of_the_bare_model(
    build: Callable[[], torch.nn.Module],
    row: Callable[[torch.nn.Module, Image.Image], torch.Tensor],
    encoder: Callable[..., TorchImageEncoder],
    dim: int,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = build().eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "w.pt")
    found = encoder(tmp_path / "w.pt", batch=1)
    pictures = [noise(1, 90)[0], noise(1, 200)[0].resize((70, 150))]
    rows = found.encode(pictures)
    assert rows.shape == (2, dim) == (2, found.dim)
    assert rows.dtype == np.float32
    with torch.inference_mode():
        bare = torch.cat([row(model, picture) for picture in pictures]).numpy()
    np.testing.assert_allclose(rows, bare / np.linalg.norm(bare, axis=1, keepdims=True), atol=2e-5)
    assert found.encode([]).shape == (0, dim)


def test_cells_of_a_resnet_average_to_its_vector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(_resnet().eval().state_dict(), tmp_path / "w.pt")
    found = ResNetEncoder(tmp_path / "w.pt", batch=2)
    pictures = noise(3, 90)
    cells = found.grid(pictures)
    assert cells.shape == (3, 7, 7, 2048) and cells.dtype == np.float32 and found.grid_dim == 2048
    mean = cells.mean((1, 2))
    np.testing.assert_allclose(mean / np.linalg.norm(mean, axis=1, keepdims=True), found.encode(pictures), atol=1e-5)
    assert found.grid([]).shape == (0, 7, 7, 2048)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    torch.save(_resnet().state_dict(), tmp_path / "resnet.pt")
    with pytest.raises(InputError, match=r"resnet.pt.*another architecture than InceptionResnetV1 \(missing: block8"):
        FacenetEncoder(tmp_path / "resnet.pt")
    state = _resnet().state_dict()
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    torch.save(state, tmp_path / "grey.pt")
    with pytest.raises(InputError, match=r"of another shape: conv1.weight is \[64, 1, 7, 7\], not \[64, 3, 7, 7\]"):
        ResNetEncoder(tmp_path / "grey.pt")


def test_id_is_of_the_weights_not_of_their_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = _resnet().state_dict()
    torch.save(state, tmp_path / "a.pt")
    save_file(state, tmp_path / "b.safetensors")
    first = make_image_encoder("resnet50", tmp_path / "a.pt").id
    assert make_image_encoder("resnet50", str(tmp_path / "b.safetensors")).id == first
    state["bn1.bias"] += 1
    save_file(state, tmp_path / "c.safetensors")
    assert make_image_encoder("resnet50", tmp_path / "c.safetensors").id != first


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\x80\x02K\x01."])
def test_files_without_tensors(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*field 'weights'"):
        read_state(tmp_path / name)


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list, not named tensors"):
        read_state(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    with pytest.raises(InputError, match="not named tensors"):
        read_state(tmp_path / "epoch.pt")
    with pytest.raises(InputError, match="has the SHA-256"):
        read_state(tmp_path / "epoch.pt", "1" * 64)


@pytest.mark.parametrize("name", ["vggface2", "casia-webface"])
def test_named_weights_are_not_fetched_unasked(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("facenet_pytorch")  # and torchvision with it
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("a download"))
    with pytest.raises(ConfigError, match=r"nothing is downloaded unasked. Remedy: .*no checksum: give one as sha256"):
        make_image_encoder("facenet", name)
    with pytest.raises(ConfigError, match=r"'resnet50-11ad3fa6.pth' is not in"):
        make_image_encoder("resnet50")


def test_named_weights_are_fetched_where_asked_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    fetched = []

    def fetch(url: str, path: str, hash_prefix: str | None, progress: bool) -> None:
        fetched.append((url, hash_prefix))
        torch.save(_resnet().state_dict(), path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    encoder = make_image_encoder("resnet50", "IMAGENET1K_V1", download=True)
    assert make_image_encoder("resnet50", "IMAGENET1K_V1").id == encoder.id
    assert fetched == [("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61")]

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ConfigError, match=r"cannot be fetched \(no route\). Remedy"):
        hub_file(PRETRAINED["vggface2"], download=True)


@pytest.mark.parametrize(
    ("package", "name", "extra"), [("torchvision.models", "resnet50", "clip"), ("facenet_pytorch", "facenet", "face")]
)
def test_without_the_package(package: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"mmel\[{extra}\]"):
        make_image_encoder(name)


def test_precision_is_part_of_the_id() -> None:
    weights = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))

    def prepare(picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(picture)[:2, :2]).permute(2, 0, 1) / 255

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ weights

    whole, half = (TorchImageEncoder("x", embed, prepare, precision=one, batch=2) for one in ("float32", "bfloat16"))
    assert (whole.id, half.id, half.dim) == ("x", "x-bfloat16", 5)
    exact = np.stack([prepare(picture).flatten().numpy() @ weights.numpy() for picture in noise(3)])
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(whole.encode(noise(3)), exact, atol=1e-5)
    np.testing.assert_allclose(half.encode(noise(3)), exact, atol=0.03)
    assert np.abs(half.encode(noise(3)) - exact).max() > 1e-5


def test_settings_that_do_not_exist() -> None:
    def embed(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)

    def prepare(_: Image.Image) -> torch.Tensor:
        return torch.zeros(3, 2, 2)

    with pytest.raises(ConfigError, match="precision is 'float16'; allowed: float32, bfloat16"):
        TorchImageEncoder("x", embed, prepare, precision="float16")
    with pytest.raises(ConfigError, match="batch = 0"):
        TorchImageEncoder("x", embed, prepare, batch=0)
    with pytest.raises(InputError, match="'x' gives picture 0 a vector of norm 0"):
        TorchImageEncoder("x", embed, prepare).encode(noise(1))
    with pytest.raises(ConfigError, match="'resnet50:V1' does not exist"):
        make_image_encoder("resnet50:V1")
