"""Any face embedder in ONNX that takes aligned 112x112 faces: MobileFaceNet, ArcFace and their kin.

The vector of a face is that of the picture and that of its mirror image side by side (Deng et al. 2019, ArcFace:
"flip test"), at unit norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmel.encoders.images.base import IMAGENET_MEAN, IMAGENET_STD, pixel_rows, reason, unit_rows
from mmel.errors import ConfigError, InputError, did_you_mean
from mmel.files import weights_digest
from mmel.onnx import open_model

if TYPE_CHECKING:
    from PIL.Image import Image

_REMEDY = "give the .onnx file of a face embedder; fetch it again if it is one"
NORMALISATIONS = {
    "imagenet": (np.multiply(IMAGENET_MEAN, 255.0), np.multiply(IMAGENET_STD, 255.0)),
    "arcface": (np.full(3, 127.5), np.full(3, 127.5)),
}
"""Mean and deviation of each channel in units of 0..255: torchvision's, and (x - 127.5) / 127.5."""


class OnnxFaceEncoder:
    """An ONNX model `[n, 3, 112, 112] -> [n, d]` over RGB faces that are aligned to the ArcFace template.

    Args:
        weights: the ONNX file. sha256: its digest, checked where given.
        normalisation: of the pixels, a key of NORMALISATIONS; what the model was trained with.
        mirrored: concatenate the vector of the mirror image, so that `dim` is twice the model's.
        threads: of one call. Calls from several threads are safe, and one thread each is the better use of cores.
        batch: pictures of one pass; few enough that their activations stay in the processor's cache.

    Raises:
        MissingDependencyError without onnxruntime; InputError for a file that is missing, has another digest, is no
        ONNX model or one of another form; ConfigError for an unknown normalisation.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        sha256: str | None = None,
        normalisation: str = "imagenet",
        mirrored: bool = True,
        threads: int = 1,
        batch: int = 16,
    ) -> None:
        if normalisation not in NORMALISATIONS:
            raise ConfigError(f"normalisation is '{normalisation}'.{did_you_mean(normalisation, NORMALISATIONS)}")
        if threads < 1 or batch < 1:
            raise ConfigError(f"threads = {threads}, batch = {batch}: must be at least 1")
        digest = weights_digest(weights, sha256)
        self._session = open_model(Path(weights), threads, _REMEDY)
        self._input, self.size, self._batch = _input_of(self._session, Path(weights), batch)
        mean, deviation = NORMALISATIONS[normalisation]
        self._scale = (1 / deviation).astype(np.float32)[:, None, None]
        self._shift = (-mean / deviation).astype(np.float32)[:, None, None]
        self._mirrored = mirrored
        self.id = f"onnx-face-{digest[:8]}-{normalisation}{'-mirrored' if mirrored else ''}"
        self.dim = self._width(Path(weights)) * (2 if mirrored else 1)

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        """See ImageEncoder; InputError where a picture is not `size` pixels square."""
        rows = np.empty((len(pictures), self.dim), np.float32)
        for start in range(0, len(pictures), self._batch):
            part = pictures[start : start + self._batch]
            rows[start : start + len(part)] = self._embed(pixel_rows(part, self.size))
        return unit_rows(rows, self.id)

    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        faces = np.empty((len(pixels), 3, self.size, self.size), np.float32)
        np.multiply(pixels.transpose(0, 3, 1, 2), self._scale, out=faces)
        faces += self._shift
        if not self._mirrored:
            return self._run(faces)
        # Two passes: one of twice the size leaves the cache sooner, and a model may take one picture at a time.
        return np.concatenate([self._run(faces), self._run(np.ascontiguousarray(faces[..., ::-1]))], axis=1)

    def _run(self, faces: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._input: faces})[0])

    def _width(self, file: Path) -> int:
        """Width of the model's output, seen and not read: exporters name it as they like."""
        try:
            found = self._run(np.zeros((1, 3, self.size, self.size), np.float32))
        except Exception as error:  # onnxruntime's own classes all derive from Exception alone
            raise _other_form(file, f"does not run on a face ({reason(error)})") from error
        if found.ndim != 2 or len(found) != 1:
            raise _other_form(file, f"gives an output of shape {list(found.shape)} for one face, not [1, d]")
        return int(found.shape[1])


def _input_of(session: Any, file: Path, batch: int) -> tuple[str, int, int]:
    """Name of the model's input, side of its pictures, and how many it takes at once."""
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type != "tensor(float)":
        named = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
        raise _other_form(file, f"takes {named}")
    count, channels, height, width = (value if isinstance(value, int) else None for value in shape)
    if channels not in (3, None) or height != width or count not in (1, None):
        raise _other_form(file, f"takes pictures as {shape}")
    return inputs[0].name, height or 112, 1 if count == 1 else batch


def _other_form(file: Path, what: str) -> InputError:
    return InputError(
        f"is the model of another architecture: it {what}",
        file=file,
        field="weights",
        remedy="export a face embedder with the input [batch, 3, 112, 112] float32 and the output [batch, d]",
    )
