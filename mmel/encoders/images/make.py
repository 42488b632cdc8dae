"""The encoder that a name means."""

from __future__ import annotations

from pathlib import Path

from mmel.encoders.images.base import ImageEncoder
from mmel.errors import ConfigError, did_you_mean

NAMES = ("resnet50", "facenet", "onnx-face", "open-clip")


def make_image_encoder(
    name: str,
    weights: str | Path | None = None,
    sha256: str | None = None,
    *,
    device: str = "cpu",
    threads: int = 1,
) -> ImageEncoder:
    """The image encoder called `name`.

    Args:
        name: `onnx-face` (`onnx-face:arcface` for the other normalisation).
        weights: file of its weights. sha256: digest the file must have.
        threads: of one call of an ONNX model.

    Raises:
        ConfigError for a name that is none, or where weights are needed and not given; what the encoder raises.
    """
    kind, _, variant = name.partition(":")
    if kind == "onnx-face":
        from mmel.encoders.images.onnx_face import OnnxFaceEncoder

        if weights is None:
            raise ConfigError(
                f"encoder '{name}' needs weights. Remedy: give the .onnx file of an embedder of aligned 112x112 faces"
            )
        return OnnxFaceEncoder(weights, sha256=sha256, normalisation=variant or "imagenet", threads=threads)
    raise ConfigError(f"image encoder '{name}' does not exist.{did_you_mean(kind, NAMES)}")
