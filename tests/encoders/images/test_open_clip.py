"""CLIP towers on a tiny random model: rows against open_clip's own path, and names and weights that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmel.encoders.images import make_image_encoder
from mmel.encoders.images.open_clip import OpenClipEncoder
from mmel.errors import ConfigError, InputError, MissingDependencyError
from tests.encoders.images.models import TINY, noise

open_clip = pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model's configuration and weights; open_clip knows the model as `tiny-clip` as well."""
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    (folder.parent / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder.parent / "tiny-clip.json")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"size": 32}}))
    torch.manual_seed(1)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def test_rows_are_those_of_the_towers(tiny: Path) -> None:
    encoder = OpenClipEncoder("tiny-clip", tiny / "open_clip_pytorch_model.bin", batch=2)
    model, _, prepare = open_clip.create_model_and_transforms("tiny-clip", str(tiny / "open_clip_pytorch_model.bin"))
    pictures, texts = noise(3, 50), ["Mira Dole", "a guide", "Otto " * 40]
    tokens = open_clip.get_tokenizer("tiny-clip")(texts)
    with torch.inference_mode():
        seen = model.eval().encode_image(torch.stack([prepare(p) for p in pictures]), normalize=True)
        read = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(encoder.encode(pictures), seen.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_text(texts), read.numpy(), atol=1e-5)
    assert encoder.dim == 12
    assert encoder.encode_text([]).shape == (0, 12)


@pytest.mark.parametrize("layers", [1, [1, 1, 1, 1]])  # a vision transformer, and a ResNet
def test_cells_are_what_the_tower_sees_last(layers: int | list[int], tmp_path: Path) -> None:
    name = f"tiny-grid-{type(layers).__name__}"
    vision = TINY["vision_cfg"] | {"layers": layers, "image_size": 64}
    (tmp_path / f"{name}.json").write_text(json.dumps(TINY | {"vision_cfg": vision}))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    torch.manual_seed(1)
    torch.save(open_clip.create_model(name).state_dict(), tmp_path / "w.pt")
    encoder, pictures = OpenClipEncoder(name, tmp_path / "w.pt", batch=2), noise(3, 50)
    cells = encoder.grid(pictures)
    assert cells.shape == (3, *((4, 4, 32) if layers == 1 else (2, 2, 1024))) and encoder.grid_dim == cells.shape[-1]
    model, _, prepare = open_clip.create_model_and_transforms(name, str(tmp_path / "w.pt"))
    seen: list[torch.Tensor] = []
    last = model.visual.ln_post if layers == 1 else model.visual.layer4
    last.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.inference_mode():
        model.eval().encode_image(torch.stack([prepare(p) for p in pictures]))
    if layers != 1:
        np.testing.assert_allclose(cells, seen[0].permute(0, 2, 3, 1).numpy(), atol=1e-4)
    else:
        np.testing.assert_allclose(cells.reshape(3, 16, 32), seen[0][:, 1:].numpy(), atol=1e-4)


def test_the_same_weights_from_a_folder(tiny: Path) -> None:
    file = make_image_encoder("open-clip:tiny-clip", tiny / "open_clip_pytorch_model.bin")
    folder = make_image_encoder(f"open-clip:local-dir:{tiny}")
    assert file.id == folder.id
    np.testing.assert_array_equal(file.encode(noise(1)), folder.encode(noise(1)))
    half = make_image_encoder(f"open-clip:local-dir:{tiny}", precision="bfloat16")
    assert half.id != folder.id


def test_names_that_do_not_exist(tiny: Path) -> None:
    weights = tiny / "open_clip_pytorch_model.bin"
    with pytest.raises(ConfigError, match="no model 'tiny-klip'. Did you mean 'tiny-clip'"):
        make_image_encoder("open-clip:tiny-klip", weights)
    with pytest.raises(ConfigError, match="needs a model"):
        make_image_encoder("open-clip", weights)
    with pytest.raises(
        ConfigError, match=r"needs weights. Remedy: give a local checkpoint, or one of its tags: .*openai"
    ):
        make_image_encoder("open-clip:ViT-B-32")
    with pytest.raises(ConfigError, match="no weights 'opanai' for 'ViT-B-32'. Did you mean 'openai'"):
        make_image_encoder("open-clip:ViT-B-32/opanai")
    with pytest.raises(ConfigError, match="names weights, and"):
        make_image_encoder("open-clip:ViT-B-32/openai", weights)
    with pytest.raises(ConfigError, match="comes with its weights"):
        make_image_encoder(f"open-clip:local-dir:{tiny}", weights)
    with pytest.raises(ConfigError, match="sha256 is of a file of weights"):
        make_image_encoder("open-clip:ViT-B-32/openai", sha256="0" * 64)


def test_weights_that_do_not_fit(tiny: Path, tmp_path: Path) -> None:
    state = torch.load(tiny / "open_clip_pytorch_model.bin", weights_only=True)
    del state["ln_final.weight"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(InputError, match=r"short.pt.*is no checkpoint of open_clip's 'tiny-clip'"):
        OpenClipEncoder("tiny-clip", tmp_path / "short.pt")
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(InputError, match=r"text.pt.*is no checkpoint"):
        OpenClipEncoder("tiny-clip", tmp_path / "text.pt")
    with pytest.raises(InputError, match=r"gone.pt.*is not there"):
        OpenClipEncoder("tiny-clip", tmp_path / "gone.pt")
    with pytest.raises(InputError, match="has the SHA-256"):
        OpenClipEncoder("tiny-clip", tmp_path / "text.pt", sha256="0" * 64)
    with pytest.raises(ConfigError, match="local-dir:.*cannot be opened"):
        OpenClipEncoder(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["open-clip:ViT-B-32/laion2b_s34b_b79k", "open-clip:hf-hub:nobody/nothing"])
def test_nothing_is_fetched_unasked(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("a download"))
    with pytest.raises(ConfigError, match="Nothing is downloaded unasked. Remedy: allow the download"):
        make_image_encoder(name)
    assert not constants.HF_HUB_OFFLINE


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"mmel\[clip\]"):
        OpenClipEncoder("ViT-B-32", "openai")
