"""How many aligned crops a second the patch transformer of Gan et al. 2021 (Eq. 7) trains on and encodes.

python -m benchmarks.patch_speed [--batch 64] [--repeats 3] [--threads 1] [--json]

Crops are noise of 112 x 112 pixels: the time does not depend on what they show. `train` is a whole step of
distillation: views, forward, backward, AdamW and averaging, the mean over four; `train_half` reads half of the patches
of each view. `encode` is one way, `encode_mirrored` averages with the mirrored crop. Each rate is the median over the
repeats, per second of the clock and per second of the processor, which says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from mmel.vision.patch_transformer import PatchEncoder, PatchTransformer
from mmel.vision.train_patch import train_patch
from mmel.vision_settings import PatchConfig, PatchTrainConfig

_TEACHER, _STEPS = 128, 4


def rates(call: Callable[[], object], images: int, repeats: int) -> tuple[float, float]:
    """Images a second of the clock and of the processor, medians over `repeats` calls after one that is not counted."""
    call()
    clock, processor = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        call()
        clock.append(images / (time.perf_counter() - start[0]))
        processor.append(images / (time.process_time() - start[1]))
    return statistics.median(clock), statistics.median(processor)


def train_steps(crops: np.ndarray, teacher: np.ndarray, config: PatchConfig, rule: PatchTrainConfig) -> None:
    """A few steps of training from random weights, without validation."""
    train_patch(crops, np.full(len(crops), -1), config, rule, targets=teacher)


def measure(batch: int, repeats: int, config: PatchConfig = PatchConfig(), seed: int = 0) -> dict[str, float]:  # noqa: B008
    """Rates by name, `*_cpu` those of the processor."""
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (batch, config.side, config.side, 3), np.uint8)
    teacher = rng.normal(size=(batch, min(_TEACHER, config.dim))).astype(np.float32)
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    torch.manual_seed(seed)
    model = PatchTransformer(config)
    rule = PatchTrainConfig(loss="distil", steps=_STEPS, people=batch // 2, initial_crops=0)
    half = rule.model_copy(update={"kept_patches": max(config.grid**2 // 2, 1)})
    one_way, mirrored = PatchEncoder(model, mirror=False), PatchEncoder(model)
    result = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    for name, call in (
        ("train", lambda: train_steps(crops, teacher, config, rule)),
        ("train_half", lambda: train_steps(crops, teacher, config, half)),
        ("encode", lambda: one_way.encode_crops(crops)),
        ("encode_mirrored", lambda: mirrored.encode_crops(crops)),
    ):
        images = batch * _STEPS if name.startswith("train") else batch
        result[name], result[f"{name}_cpu"] = rates(call, images, repeats)
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=64, help="crops in a batch, an even number")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls; medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.batch, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name.replace('_', ' '):20} {value:,.1f}")


if __name__ == "__main__":
    main()
