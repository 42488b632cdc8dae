"""Pictures a second from files to face vectors: decode, detect, align, embed with the mirror image.

python -m benchmarks.face_speed --pictures DIR --detector yunet.onnx --embedder face.onnx [--count 256] [--json]

`plain` is the loop one would write first, one picture after the other, each network with as many threads as cores.
`mmel` gives the same vectors by `RegionEncoder` with a thread a core; `refined`, its default, reads the landmarks again
for better ones. `mtcnn` is facenet-pytorch's MTCNN and InceptionResnetV1 (random weights:
the time is the same) in the same `RegionEncoder`. The pictures are brought to --side pixels and written as JPEG first.
Each repeat runs all of them, so that `ratio`, of plain's seconds to mmel's, compares neighbours in time; where other
programs use the cores, milliseconds of CPU a picture say more than pictures a second.

Measured on two cores of a quiet machine, 256 pictures of 224 pixels: plain 37 pictures a second and 54 ms of CPU a
picture, mmel 95 and 19 ms (2.6 times as fast), refined 76 and 25 ms; on busy cores plain with --cores 1 44 and 22 ms,
MTCNN 1.2 and 216 ms. Of mmel's CPU time the embedder takes three quarters, the detector a sixth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmel.detection import align_face, choose_face
from mmel.detection.yunet import YuNet
from mmel.encoders.images.onnx_face import OnnxFaceEncoder
from mmel.pictures import read_pictures
from mmel.vision.regions import Region, RegionEncoder

MTCNN_SHARE = 8  # of the pictures, one in so many goes through MTCNN, which is slow


def write_pictures(source: Path, folder: Path, count: int, side: int) -> list[Path]:
    """The first `count` JPEG files below `source` with their larger side `side`; fewer are repeated."""
    found = sorted(source.rglob("*.jpg"))[:count]
    paths = []
    for position, picture in read_pictures(found):
        scale = side / max(picture.size)
        paths.append(folder / f"{position}.jpg")
        resized = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        resized.save(paths[-1], quality=90)
    return [paths[i % len(paths)] for i in range(count)]


def plain_loop(paths: Sequence[Path], detector: YuNet, embedder: OnnxFaceEncoder) -> np.ndarray:
    """`[n, d]`, NaN without a face: no batches, no threads but the networks' own."""
    rows = np.full((len(paths), embedder.dim), np.nan, np.float32)
    for i, path in enumerate(paths):
        picture = Image.open(path).convert("RGB")
        faces = detector.detect([picture])[0]
        chosen = choose_face(faces, None, picture.size)
        if chosen is not None:
            rows[i] = embedder.encode([align_face(picture, faces.landmarks[chosen])])[0]
    return rows


def timed(function: Callable[[], np.ndarray], count: int) -> tuple[dict[str, float], np.ndarray]:
    """Pictures a second and milliseconds of CPU a picture, and what the function gave."""
    cpu, start = time.process_time(), time.perf_counter()
    rows = function()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"pictures_per_second": count / seconds, "cpu_ms": cpu / count * 1e3, "seconds": seconds}, rows


def with_mmel(regions: Callable[[Path], RegionEncoder], paths: Sequence[Path]) -> np.ndarray:
    """Vectors of the pictures from an empty cache; equal files are made distinct by their boxes."""
    with tempfile.TemporaryDirectory() as folder:
        # A box beyond the picture, a pixel wider each time, is the whole picture under another key.
        wanted = [Region(path, (0, 0, 10_000 + i, 10_000)) for i, path in enumerate(paths)]
        return regions(Path(folder)).encode(wanted).vectors


def make_mtcnn(folder: Path, workers: int) -> Callable[[Path], RegionEncoder]:
    """MTCNN and InceptionResnetV1 with random weights, written to a file as its encoder wants them."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    from mmel.detection.mtcnn import Mtcnn
    from mmel.encoders.images.facenet import FacenetEncoder

    weights = folder / "random.pt"
    torch.manual_seed(0)
    torch.save(InceptionResnetV1(pretrained=None).state_dict(), weights)
    torch.set_num_threads(1)  # a batch a core, as with YuNet
    detector, encoder = Mtcnn(), FacenetEncoder(weights)
    return partial(RegionEncoder, encoder, detector, workers=workers, unaligned="crop")


def measure(paths: Sequence[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians over the repeats of every way, the ratio of plain to mmel, and how alike their vectors are."""
    cores = arguments.cores
    threaded = YuNet(arguments.detector, threads=cores), OnnxFaceEncoder(arguments.embedder, threads=cores)
    detector, embedder = YuNet(arguments.detector), OnnxFaceEncoder(arguments.embedder)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, tuple[Callable[[], np.ndarray], int]] = {
            "plain": (lambda: plain_loop(paths, *threaded), len(paths))
        }
        for name, refine in (("mmel", False), ("refined", True)):
            make = partial(RegionEncoder, embedder, detector, workers=cores, refine=refine)
            ways[name] = (partial(with_mmel, make, paths), len(paths))
        if arguments.mtcnn:
            fewer, regions = paths[::MTCNN_SHARE], make_mtcnn(Path(folder), cores)
            ways["mtcnn"] = (partial(with_mmel, regions, fewer), len(fewer))
        plain_loop(paths[:4], *threaded)
        repeats: list[dict[str, dict[str, float]]] = []
        for _ in range(arguments.repeats):
            run = {name: timed(*way) for name, way in ways.items()}
            repeats.append({name: result for name, (result, _) in run.items()})
            alike = np.sum(run["plain"][1] * run["mmel"][1], axis=1)
    rows = {
        name: {key: statistics.median(one[name][key] for one in repeats) for key in ("pictures_per_second", "cpu_ms")}
        for name in ways
    }
    ratios = [one["plain"]["seconds"] / one["mmel"]["seconds"] for one in repeats]
    return {
        "pictures": len(paths),
        "faces": int(np.isfinite(alike).sum()),
        "least_cosine": float(np.nanmin(alike)),
        "ratio": statistics.median(ratios),
        **rows,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR", help="folder of JPEG files with faces")
    parser.add_argument("--detector", type=Path, required=True, metavar="FILE", help="YuNet, ONNX")
    parser.add_argument("--embedder", type=Path, required=True, metavar="FILE", help="embedder of aligned faces, ONNX")
    parser.add_argument("--count", type=int, default=256, help="pictures (default: %(default)s)")
    parser.add_argument("--side", type=int, default=224, help="their larger side in pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="threads (default: %(default)s)")
    parser.add_argument("--mtcnn", action="store_true", help="MTCNN and InceptionResnetV1 too")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(arguments.pictures, Path(folder), arguments.count, arguments.side)
        result = measure(paths, arguments)
    if arguments.json:
        print(json.dumps(result))
        return 0
    print(f"{'':8}{'pictures/s':>12}{'CPU ms/picture':>16}")
    for name in ("plain", "mmel", "refined", "mtcnn"):
        if name in result:
            print(f"{name:8}{result[name]['pictures_per_second']:12.1f}{result[name]['cpu_ms']:16.2f}")
    print(
        f"mmel is {result['ratio']:.2f} times as fast as plain; faces in {result['faces']} of {result['pictures']} "
        f"pictures, the same vectors to a cosine of {result['least_cosine']:.4f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
