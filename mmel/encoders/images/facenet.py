"""Faces by the InceptionResnetV1 of facenet-pytorch (d = 512): Schroff et al. 2015; Szegedy et al. 2017.

With the weights of VGGFace2 it is the model that WIKIPerson (Sun et al. 2022, Table 3) calls ResNet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmel.encoders.images.torch_encoder import TorchImageEncoder
from mmel.encoders.images.weights import fit, hub_file, read_state
from mmel.encoders.weights import state_digest
from mmel.errors import MissingDependencyError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

# As facenet-pytorch names them. No checksum is published, and the training data have terms of their own (research).
_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
PRETRAINED = {
    "vggface2": f"{_RELEASE}/20180402-114759-vggface2.pt",
    "casia-webface": f"{_RELEASE}/20180408-102900-casia-webface.pt",
}
_SIDE = 160


class FacenetEncoder(TorchImageEncoder):
    """A face crop of any size, brought to 160x160 as the crops it was trained on, to a unit row.

    The package's own construction by name would download at once and unpickle without a check, so that the file is
    found and read here.

    Args:
        weights: `vggface2`, `casia-webface`, or a file. sha256: digest the file must have.
        download: fetch named weights that are not in the folder of torch.hub.
        device, precision, batch: see TorchImageEncoder.

    Raises:
        MissingDependencyError without facenet-pytorch; ConfigError and InputError as `hub_file`, `read_state`, `fit`.
    """

    def __init__(
        self,
        weights: str | Path = "vggface2",
        *,
        sha256: str | None = None,
        download: bool = False,
        device: str = "cpu",
        precision: str = "float32",
        batch: int = 32,
    ) -> None:
        try:
            from facenet_pytorch import InceptionResnetV1
        except ImportError as error:
            raise MissingDependencyError("facenet-pytorch", "face") from error
        named = PRETRAINED.get(str(weights))
        file = hub_file(named, download=download) if named else Path(weights)
        model = InceptionResnetV1(pretrained=None)
        fit(model, read_state(file, sha256), file, unused=("logits.",))
        super().__init__(
            f"facenet-{state_digest(model.state_dict())}-{_SIDE}",
            model.eval().to(device),
            _standardised(),
            device=device,
            precision=precision,
            batch=batch,
        )


def _standardised() -> Callable[[Image], torch.Tensor]:
    """`[3, 160, 160]` of (x - 127.5) / 128, facenet-pytorch's `fixed_image_standardization`."""
    import numpy as np
    import torch
    from PIL import Image

    def prepare(picture: Image.Image) -> torch.Tensor:
        resized = picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        return (torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() - 127.5) / 128

    return prepare
