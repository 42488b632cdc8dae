"""Naive against joint linking as generated film worlds get harder, one knob at a time.

python -m benchmarks.film_world_curves [--out DIR] [--knobs NAME ...] [--seeds 0 1 2] [--set KEY=VALUE ...] [--quick]

The knobs are those of `mmel.datasets.filmworld.Difficulty`: face noise, name ambiguity, the share of people without a
partner in the other modality, unrelated pictures, and unrelated pictures in place of all others. For every setting and
seed a world is generated, the experiment `sample` trained on it, and its test split linked: joint, and naive, which is
what each modality says by itself. Scores are micro-F1 in the knowledge base; intervals hold 95 % of 10,000 bootstrap
samples of the documents of all seeds, paired where naive and joint are compared. The numbers go to `curves.json`, the
charts to `curves.html`. Worlds that the folder holds already, of the same settings, are not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.curve_page import curve_page
from mmel.cli import Parser, run
from mmel.config import Config, load_config
from mmel.datasets import open_dataset
from mmel.datasets.filmworld import Difficulty, Pictures, generate
from mmel.document import LinkedDocument
from mmel.errors import InputError, did_you_mean
from mmel.evaluation.metrics import micro_f1, paired_bootstrap
from mmel.evaluation.protocol import Protocol, evaluate
from mmel.files import atomic_write
from mmel.kb.build import build
from mmel.linker import Linker
from mmel.training.session import train_linker

MODALITIES = ("text", "visual")
SYSTEMS = ("naive", "joint")


class World(NamedTuple):
    """A setting of a knob, and the world it makes."""

    setting: float
    difficulty: Difficulty
    pictures: Pictures = Pictures()


class Knob(NamedTuple):
    label: str
    worlds: Sequence[World]


class Size(NamedTuple):
    """Films of a world, documents by split, and settings of the training on top of the experiment's."""

    films: int
    documents: Mapping[str, int]
    overrides: Sequence[str] = ()


_USUAL, _NONE = Difficulty(), Pictures(most=0)
KNOBS = {
    "face_noise": Knob("face noise", [World(x, replace(_USUAL, face_noise=x)) for x in (0.0, 0.1, 0.25, 0.5)]),
    "ambiguity": Knob("name ambiguity", [World(x, replace(_USUAL, ambiguity=x)) for x in (0.0, 0.5, 1.0)]),
    "alone": Knob("share of people without a partner", [World(x, replace(_USUAL, alone=x)) for x in (0.0, 0.5, 1.0)]),
    "unrelated": Knob("more pictures, unrelated", [World(n, replace(_USUAL, unrelated=n)) for n in (0, 2, 8)]),
    "useless": Knob("pictures, all unrelated", [World(n, replace(_USUAL, unrelated=n), _NONE) for n in (2, 8)]),
}
# A minute or two a world on one core; what is measured needs pairs of documents more than good linkers.
FULL = Size(
    50,
    {"train": 150, "val": 40, "test": 100},
    ("train.epochs=6", "vision.patch.layers=2", "vision.patch_train.steps=160", "vision.patch_train.people=24"),
)
# To see that everything runs: its numbers mean nothing.
QUICK = Size(
    12,
    {"train": 24, "val": 8, "test": 8},
    ("train.epochs=1", "vision.patch_train.steps=2", "vision.patch_train.people=4", "vision.patch_train.every=2"),
)


def count(linked: Sequence[LinkedDocument]) -> dict[str, Any]:
    """`{system: {modality: [[gold, predicted, correct] a document]}, "coupled": documents}`, plain for JSON.

    Naive is what each modality says alone; a document in which nothing was coupled counts alike for both.
    """
    versions = {"naive": [one.alone or one for one in linked], "joint": linked}
    counts: dict[str, Any] = {"coupled": sum(one.alone is not None for one in linked)}
    for system, version in versions.items():
        result = evaluate(version, dataset="film world", split="test", protocol=Protocol("kb"), seconds=0.0)
        tallies = {"text": result.text, "visual": result.visual}
        counts[system] = {modality: tally.in_kb.tolist() for modality, tally in tallies.items() if tally is not None}
    return counts


def training(folder: Path, seed: int, size: Size, overrides: Sequence[str]) -> Config:
    """The experiment `sample` on the world in `folder / "films"`; encodings are shared with the worlds beside it."""
    return load_config(
        "sample",
        [
            f"run={json.dumps(str(folder / 'run'))}",
            f"kb={json.dumps(str(folder / 'kb'))}",
            "data.dataset=movies",
            "confidence.hide=none",  # nothing here reads it
            f"data.root={json.dumps(str(folder / 'films'))}",
            f"encoder.cache={json.dumps(str(folder.parent / 'encodings'))}",
            f"seed={seed}",
            *size.overrides,
            *overrides,
        ],
    )


def measure(folder: Path, world: World, seed: int, size: Size, overrides: Sequence[str]) -> dict[str, Any]:
    """The counts of a world that is generated in `folder`, trained on and linked; those that are there already."""
    path = folder / "counts.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    made = generate(size.films, size.documents, seed, world.difficulty, world.pictures)
    made.save(folder / "films")
    made.draw(folder / "films")
    build(made.entities, folder / "kb", name="films", date="2020-02-02")
    train_linker(training(folder, seed, size, overrides), restart=False, say=lambda _: None)
    linker, dataset = Linker.from_pretrained(folder / "run"), open_dataset("movies", folder / "films")
    counts = count(list(linker.link(dataset.documents("test"), dataset.pictures, nil=False)))
    linker.kb.close()
    write_json(path, counts)
    return counts


def point(world: World, counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scores of a setting, in [0, 1]: both systems and joint - naive over all seeds, each with its interval."""
    result: dict[str, Any] = {"setting": world.setting, "coupled": sum(one["coupled"] for one in counts)}
    for modality in MODALITIES:
        seeds = [[np.array(one[system][modality]) for system in SYSTEMS] for one in counts if modality in one["joint"]]
        if not seeds:
            continue
        naive, joint = (np.concatenate(rows) for rows in zip(*seeds, strict=True))
        nothing = np.zeros_like(naive)
        result[modality] = {
            "mentions": int(naive[:, 0].sum()),
            "naive": _interval(naive, nothing),
            "joint": _interval(joint, nothing),
            "difference": _interval(joint, naive),
            "seeds": [[float(micro_f1(rows.sum(axis=0))) for rows in pair] for pair in seeds],
        }
    return result


def _interval(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, float]:
    found = paired_bootstrap(first, second)
    return {"value": found.difference, "low": found.low, "high": found.high}


def below(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The settings at which joint is worse than naive and the interval of the difference excludes zero."""
    return [
        f"{knob}={at['setting']:g} {modality}"
        for knob, points in curves.items()
        for at in points
        for modality in MODALITIES
        if modality in at and at[modality]["difference"]["high"] < 0
    ]


def table(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A line a setting and modality, in per cent."""
    lines = [f"{'knob':<11}{'setting':>8}  {'':<7}{'naive':>7}{'joint':>7}{'joint - naive':>25}{'mentions':>10}"]
    for knob, points in curves.items():
        for at in points:
            for modality in (name for name in MODALITIES if name in at):
                naive, joint, gain = (at[modality][name] for name in (*SYSTEMS, "difference"))
                interval = f"{100 * gain['value']:+.2f} [{100 * gain['low']:+.2f}, {100 * gain['high']:+.2f}]"
                lines.append(
                    f"{knob:<11}{at['setting']:>8g}  {modality:<7}{100 * naive['value']:7.2f}"
                    f"{100 * joint['value']:7.2f}{interval:>25}{at[modality]['mentions']:>10,}"
                )
    return "\n".join(lines)


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=1, allow_nan=False)
        stream.write("\n")


def main(argv: list[str]) -> int:
    """Measure the knobs, print the table and write the files; 1 where joint falls significantly below naive."""
    arguments = _parser().parse_args(argv)
    for name in arguments.knobs:
        if name not in KNOBS:
            raise InputError(f"no knob '{name}'.{did_you_mean(name, KNOBS)}")
    size, seeds = (QUICK, arguments.seeds or [0]) if arguments.quick else (FULL, arguments.seeds or [0, 1, 2])
    curves: dict[str, list[dict[str, Any]]] = {}
    for name in arguments.knobs:
        worlds = KNOBS[name].worlds
        curves[name] = [
            point(world, [_counts(arguments, world, seed, size) for seed in seeds])
            for world in (worlds[:: len(worlds) - 1] if arguments.quick else worlds)
        ]
    if not any(at["coupled"] for points in curves.values() for at in points):
        raise InputError("no document was coupled in any world, so joint is naive", remedy="train with a coupling")
    documents = ", ".join(f"{n} {split}" for split, n in size.documents.items())
    note = (
        f"{size.films} films, documents: {documents}; seeds {', '.join(map(str, seeds))}. Bands hold 95 % of "
        "the bootstrap samples of the documents."
    )
    worse = below(curves)
    write_json(arguments.out / "curves.json", {"note": note, "curves": curves, "significantly_below": worse})
    with atomic_write(arguments.out / "curves.html") as stream:
        stream.write(curve_page({KNOBS[name].label: points for name, points in curves.items()}, [note, table(curves)]))
    print(table(curves))
    print(f"joint significantly below naive: {', '.join(worse) or 'nowhere'}")
    return 1 if worse else 0


def _counts(arguments: argparse.Namespace, world: World, seed: int, size: Size) -> dict[str, Any]:
    config = load_config("sample", [*size.overrides, *arguments.set]).to_dict()
    made_of = repr((world.difficulty, world.pictures, seed, size, config))
    folder = arguments.out / f"world-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    return measure(folder, world, seed, size, arguments.set)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks.film_world_curves",
        description=(__doc__ or "").split("\n\n")[0],
        example="""
            python -m benchmarks.film_world_curves --quick
            python -m benchmarks.film_world_curves --knobs alone unrelated --seeds 0 1 2 --out runs/curves
        """,
    )
    parser.add_argument("--out", type=Path, default=Path("runs", "film-world-curves"), metavar="DIR")
    parser.add_argument("--knobs", nargs="+", default=list(KNOBS), metavar="NAME", help=", ".join(KNOBS))
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="a world each (0 1 2; quick: 0)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings on top of `sample`")
    parser.add_argument("--quick", action="store_true", help="one tiny world at the ends of each knob, to see it run")
    return parser


if __name__ == "__main__":
    run(main)
