"""Pictures and tiny ONNX models whose vectors are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 112

# The configuration of a CLIP model that open_clip makes in no time.
TINY: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def noise(count: int, size: int = SIZE, seed: int = 0) -> list[Image.Image]:
    """RGB pictures of independent pixels."""
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)) for _ in range(count)]


def write_clip(folder: Path) -> Path:
    """The folder of a random CLIP of 12 units, for `open-clip:local-dir:FOLDER`; open_clip knows its name, too."""
    import open_clip
    import torch

    folder.mkdir()
    named = folder.parent / f"{folder.name}.json"
    named.write_text(json.dumps(TINY), encoding="utf-8")
    open_clip.add_model_config(named)
    about = {"model_cfg": TINY, "preprocess_cfg": {"size": 32}}
    (folder / "open_clip_config.json").write_text(json.dumps(about), encoding="utf-8")
    torch.manual_seed(2)
    torch.save(open_clip.create_model(folder.name).state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def write_corner_model(
    path: Path,
    shape: Sequence[int | str] = ("n", 3, SIZE, SIZE),
    side: int = 2,
    scale: float = 1.0,
    flat: bool = True,
) -> Path:
    """An ONNX model that gives the pixels of the left upper corner, `[n, 3 * side * side]`, times `scale`.

    shape: of its input. flat: otherwise the output keeps the form of a picture.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    constants: dict[str, np.ndarray] = {
        "starts": np.array([0, 0], np.int64),
        "ends": np.array([side, side], np.int64),
        "axes": np.array([2, 3], np.int64),
        "scale": np.array(scale, np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("Mul", ["corner", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["y"], axis=1)
        if flat
        else helper.make_node("Identity", ["scaled"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
