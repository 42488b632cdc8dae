"""Image and text towers of any open_clip model: Radford et al. 2021, arXiv:2103.00020; Ilharco et al. 2021.

The vectors of both towers lie in one space and carry one id, so that pictures find texts (V2TEL).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmel.encoders.images.base import reason, unit_rows
from mmel.encoders.images.torch_encoder import TorchGridEncoder
from mmel.encoders.images.weights import fit, read_state
from mmel.encoders.weights import state_digest
from mmel.errors import ConfigError, InputError, MissingDependencyError, did_you_mean
from mmel.files import weights_digest

if TYPE_CHECKING:
    import torch

_SCHEMES = ("hf-hub:", "local-dir:")
_PREPARED = ("mean", "std", "interpolation", "resize_mode")


class OpenClipEncoder(TorchGridEncoder):
    """A picture or a text to a unit row of the space that a CLIP model has for both; its last patches as grid.

    Args:
        model: open_clip's name (`ViT-B-32`), `hf-hub:OWNER/NAME`, or `local-dir:FOLDER` with `open_clip_config.json`
            and weights. OpenAI's weights in a file belong to the models `...-quickgelu`.
        weights: one of open_clip's tags for the model (`laion2b_s34b_b79k`), or a local checkpoint. None where the
            model is a folder or of a hub and so comes with them.
        sha256: digest the checkpoint must have.
        download: let open_clip fetch what is not here; otherwise it reads its local caches and goes to no hub.
        tuned: weights that the model was trained on to (`mmel.vision.train_clip`), which take the place of `weights`.
        device, precision, batch: see TorchImageEncoder.

    Raises:
        MissingDependencyError without open_clip_torch; ConfigError where model or tag are unknown or not here;
        InputError for a checkpoint that is missing, of another digest or of another architecture.
    """

    def __init__(
        self,
        model: str,
        weights: str | Path | None = None,
        *,
        sha256: str | None = None,
        download: bool = False,
        tuned: Path | None = None,
        device: str = "cpu",
        precision: str = "float32",
        batch: int = 32,
    ) -> None:
        parts = open_parts(model, weights, sha256=sha256, download=download, tuned=tuned)
        self._model, self._tokenizer = parts.model.eval().to(device), parts.tokenizer
        settings = hashlib.sha256(str(parts.prepare).encode()).hexdigest()[:6]
        name = Path(model.removeprefix("local-dir:")).name
        super().__init__(
            f"open-clip-{name}-{state_digest(self._model.state_dict())}-{settings}",
            self._model.encode_image,
            parts.prepare,
            device=device,
            precision=precision,
            batch=batch,
        )

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """`[len(texts), dim]` float32 rows of unit norm; what is beyond the model's context (77 tokens) is cut."""
        import torch

        rows = np.empty((len(texts), self.dim), np.float32)
        kind = torch.device(self.device).type
        for start in range(0, len(texts), self._batch):
            part = list(texts[start : start + self._batch])
            tokens = self._tokenizer(part).to(self.device)
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
                rows[start : start + len(part)] = self._model.encode_text(tokens).float().cpu().numpy()
        return unit_rows(rows, self.id)

    def _cells(self, pictures: torch.Tensor) -> torch.Tensor:
        # Every visual tower of open_clip has this: its vision transformers, ModifiedResNet, and those of timm.
        seen = self._model.visual.forward_intermediates(
            pictures, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NCHW"
        )
        cells: torch.Tensor = seen["image_intermediates"][-1]
        return cells


class ClipParts(NamedTuple):
    """What open_clip makes of a name: the model with its weights, what makes `[3, h, w]` of a picture to encode it and,
    with random changes, to train on it, and the tokenizer, texts to `[n, length]`.
    """

    model: Any
    prepare: Callable[[Any], Any]
    augment: Callable[[Any], Any]
    tokenizer: Callable[[list[str]], Any]


def open_parts(
    model: str,
    weights: str | Path | None = None,
    *,
    sha256: str | None = None,
    download: bool = False,
    tuned: Path | None = None,
    augmentation: Mapping[str, Any] | None = None,
) -> ClipParts:
    """Open a model; arguments and errors as of OpenClipEncoder. `augmentation` is open_clip's `aug_cfg`."""
    try:
        import open_clip  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("open_clip_torch", "clip") from error
    own = tuned is None or model.startswith(_SCHEMES)  # else the tuned weights are all that is needed
    weights, sha256 = (weights, sha256) if own else (tuned, None)
    _check_name(model, weights, sha256)
    with _hubs(download):
        parts = _open(model, weights, augmentation)
    if tuned is not None and own:
        fit(parts.model, read_state(tuned), tuned)
    return parts


def preprocessing(model: Any) -> dict[str, Any]:
    """How a model's pictures are prepared, as `open_clip.create_model_and_transforms` takes it.

    A file of weights keeps it in its state, for the weights alone do not tell what they were trained with.
    """
    import open_clip

    settings = open_clip.get_model_preprocess_cfg(model)
    return {f"image_{name}": settings[name] for name in _PREPARED if settings.get(name) is not None}


def _preprocessing_of(weights: str | None) -> dict[str, Any]:
    """The preprocessing that a file of weights keeps; nothing where it keeps none."""
    from safetensors import SafetensorError, safe_open

    if weights is None or not weights.endswith(".safetensors") or not os.path.isfile(weights):
        return {}
    try:
        with safe_open(weights, "pt") as file:
            kept = json.loads((file.metadata() or {}).get("state", "{}")).get("preprocessing", {})
    except SafetensorError:  # open_clip says so, too, and then it is told
        return {}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}


def _check_name(model: str, weights: str | Path | None, sha256: str | None) -> None:
    """What open_clip would say late, with a list of hundreds of names, or not at all."""
    import open_clip

    if sha256 is not None and (weights is None or not Path(weights).suffix):
        raise ConfigError("sha256 is of a file of weights. Remedy: give the file, or no sha256")
    if model.startswith(_SCHEMES):
        if weights is not None:
            raise ConfigError(
                f"open_clip model '{model}' comes with its weights. Remedy: leave weights '{weights}' out"
            )
        return
    known = open_clip.list_models()
    # It looks a name up with '-' for '/', as in OpenAI's ViT-B/32.
    if model.replace("/", "-") not in known:
        raise ConfigError(f"open_clip has no model '{model}'.{did_you_mean(model, known)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights is None:
        raise ConfigError(
            f"open_clip model '{model}' needs weights. Remedy: give a local checkpoint, or one of its tags: "
            f"{', '.join(tags) or 'it has none'}"
        )
    if str(weights) not in tags:
        if not Path(weights).suffix:
            raise ConfigError(f"open_clip has no weights '{weights}' for '{model}'.{did_you_mean(str(weights), tags)}")
        weights_digest(weights, sha256)


def _open(model: str, weights: str | Path | None, augmentation: Mapping[str, Any] | None) -> ClipParts:
    import open_clip

    pretrained = None if weights is None else str(weights)
    try:
        found, augment, prepare = open_clip.create_model_and_transforms(
            model,
            pretrained,
            pretrained_text=False,
            require_pretrained=True,
            aug_cfg=None if augmentation is None else dict(augmentation),
            **_preprocessing_of(pretrained),
        )
        return ClipParts(found, prepare, augment, open_clip.get_tokenizer(model))
    except Exception as error:  # RuntimeError, KeyError, OSError and hubs' own, by the source of the weights
        if pretrained is not None and os.path.isfile(pretrained):
            raise InputError(
                f"is no checkpoint of open_clip's '{model}' ({reason(error)})",
                file=pretrained,
                field="weights",
                remedy="give the weights of this model, or name the model that they belong to",
            ) from error
        raise ConfigError(
            f"open_clip model '{model}' with weights '{pretrained}' cannot be opened ({reason(error)}). Nothing is "
            "downloaded unasked. Remedy: allow the download, or give a local checkpoint"
        ) from error


@contextmanager
def _hubs(allowed: bool) -> Iterator[None]:
    """Let the hub's client read its cache only, unless `allowed`; and keep open_clip's report of steps to itself."""
    from huggingface_hub import constants

    before, level = constants.HF_HUB_OFFLINE, logging.root.manager.disable
    logging.disable(logging.WARNING)
    constants.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.disable(level)
