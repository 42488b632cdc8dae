"""ResNet-50 of torchvision, pooled features before the classifier (d = 2048); He et al. 2016, arXiv:1512.03385."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mmel.encoders.images.torch_encoder import TorchGridEncoder
from mmel.encoders.images.weights import fit, hub_file, read_state
from mmel.encoders.weights import state_digest
from mmel.errors import MissingDependencyError

if TYPE_CHECKING:
    import torch


class ResNetEncoder(TorchGridEncoder):
    """Pooled features of a ResNet-50 over whole pictures or regions; its last stage's cells as grid (7 x 7, g = 2048).

    Args:
        weights: `IMAGENET1K_V1`, `IMAGENET1K_V2` (torchvision's names), or a file, which gets the preprocessing of V2.
        sha256: digest the file must have.
        download: fetch named weights that are not in the folder of torch.hub.
        device, precision, batch: see TorchImageEncoder.

    Raises:
        MissingDependencyError without torchvision; ConfigError and InputError as `hub_file`, `read_state` and `fit`.
    """

    def __init__(
        self,
        weights: str | Path = "IMAGENET1K_V2",
        *,
        sha256: str | None = None,
        download: bool = False,
        device: str = "cpu",
        precision: str = "float32",
        batch: int = 32,
    ) -> None:
        try:
            from torchvision.models import ResNet50_Weights, resnet50
        except ImportError as error:
            raise MissingDependencyError("torchvision", "clip") from error
        from torch import nn

        kind, file = ResNet50_Weights.IMAGENET1K_V2, Path(weights)
        if str(weights) in ResNet50_Weights.__members__:
            kind = ResNet50_Weights[str(weights)]
            digits = re.search(r"-([0-9a-f]{8,})\.", kind.url)
            file = hub_file(kind.url, download=download, hash_prefix=digits.group(1) if digits else None)
        model = resnet50(weights=None)
        model.fc = nn.Identity()
        state = read_state(file, sha256)
        fit(model, state, file, unused=("fc.",))
        transform = kind.transforms()
        # All but pooling and classifier, by the names that torchvision keeps stable.
        stages = [module for name, module in model.named_children() if name not in ("avgpool", "fc")]
        self._trunk = nn.Sequential(*stages).eval().to(device)
        super().__init__(
            f"resnet50-{state_digest(model.state_dict())}-{transform.resize_size[0]}",
            model.eval().to(device),
            transform,
            device=device,
            precision=precision,
            batch=batch,
        )

    def _cells(self, pictures: torch.Tensor) -> torch.Tensor:
        return self._trunk(pictures)
