"""The encoder that a name means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmel.encoders.images.base import ImageEncoder
from mmel.errors import ConfigError, did_you_mean

NAMES = ("resnet50", "facenet", "onnx-face", "open-clip")


def make_image_encoder(
    name: str,
    weights: str | Path | None = None,
    sha256: str | None = None,
    *,
    download: bool = False,
    tuned: Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    threads: int = 1,
) -> ImageEncoder:
    """The image encoder called `name`.

    Args:
        name: `resnet50`, `facenet`, `onnx-face` (`onnx-face:arcface` for the other normalisation), or
            `open-clip:MODEL[/PRETRAINED]` with a model and a tag of open_clip.
        weights: a file, or where the encoder has some a name (see the classes). `onnx-face` and an open_clip model
            without a tag need them; the others have a default name.
        sha256: digest the file must have.
        download: fetch named weights that are not here; nothing is fetched otherwise.
        tuned: weights that an open_clip model was trained on to; see OpenClipEncoder.
        device, precision: of torch models. threads: of one call of an ONNX model, which runs on the processor.

    Raises:
        ConfigError for a name that is none, or where weights are needed and not given; what the encoder raises.
    """
    kind, _, variant = name.partition(":")
    if kind not in NAMES or (variant and kind in ("resnet50", "facenet")):
        raise ConfigError(f"image encoder '{name}' does not exist.{did_you_mean(kind, NAMES)}")
    if kind == "onnx-face":
        from mmel.encoders.images.onnx_face import OnnxFaceEncoder

        if weights is None:
            raise ConfigError(
                f"encoder '{name}' needs weights. Remedy: give the .onnx file of an embedder of aligned 112x112 faces"
            )
        return OnnxFaceEncoder(weights, sha256=sha256, normalisation=variant or "imagenet", threads=threads)
    given: dict[str, Any] = {"sha256": sha256, "download": download, "device": device, "precision": precision}
    if kind == "open-clip":
        from mmel.encoders.images.open_clip import OpenClipEncoder

        model, tag = clip_name(name, weights)
        return OpenClipEncoder(model, tag, **given, tuned=tuned)
    if weights is not None:
        given["weights"] = weights
    if kind == "facenet":
        from mmel.encoders.images.facenet import FacenetEncoder

        return FacenetEncoder(**given)
    from mmel.encoders.images.resnet import ResNetEncoder

    return ResNetEncoder(**given)


def clip_name(name: str, weights: str | Path | None) -> tuple[str, str | Path | None]:
    """Model and weights of `open-clip:MODEL[/PRETRAINED]`; the names of hubs and folders have slashes of their own.

    Raises ConfigError where the name has no model, or weights and `weights` says others.
    """
    variant = name.partition(":")[2]
    if not variant:
        raise ConfigError(
            "encoder 'open-clip' needs a model. Remedy: for example 'open-clip:ViT-B-32/laion2b_s34b_b79k'"
        )
    if variant.startswith(("hf-hub:", "local-dir:")) or "/" not in variant:
        return variant, weights
    model, _, tag = variant.rpartition("/")
    if weights is not None:
        raise ConfigError(f"encoder 'open-clip:{variant}' names weights, and '{weights}' too. Remedy: give one of them")
    return model, tag
