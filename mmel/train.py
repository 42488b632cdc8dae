"""`python -m mmel.train [EXPERIMENT | config.yaml] [key=value ...]`: train a linker and report."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from mmel.cli import Parser, run

if TYPE_CHECKING:
    from mmel.config import Config

EXAMPLE = """
python -m mmel.train
python -m mmel.train aida data.root=DATA/aida seed=1
python -m mmel.train movies-text data.root=DATA/movies train.epochs=5 run=runs/try
"""


def main(argv: list[str]) -> int:
    """Train what the arguments describe; returns the exit code."""
    parser = Parser(prog="python -m mmel.train", description="Train a linker and report on its validation splits.",
                    example=EXAMPLE)  # fmt: skip
    parser.add_argument("experiment", nargs="?", help="an experiment's name or a config.yaml; none: the bundled sample")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings on top, see --settings")
    parser.add_argument("--settings", action="store_true", dest="show", help="list every setting and stop")
    parser.add_argument("--restart", action="store_true", help="begin anew where the run folder holds an earlier run")
    parser.add_argument("--json", action="store_true", help="print the final metrics as JSON")
    # Settings may stand on both sides of the flags, which take no values.
    values = parser.parse_args(sorted(argv, key=lambda word: not word.startswith("-")))
    from mmel.config import describe, load_config

    if values.show:
        print(describe())
        return 0
    settings = list(values.settings)
    experiment = values.experiment
    if experiment and "=" in experiment:
        settings.insert(0, experiment)
        experiment = None
    return train(load_config(experiment, settings), restart=values.restart, as_json=values.json)


def train(config: Config, restart: bool = False, as_json: bool = False) -> int:
    """Run a config from documents to a saved linker and its metrics."""
    from mmel.training.session import train_linker

    started = time.perf_counter()
    metrics, skips = train_linker(config, restart, say=lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        from mmel.training.session import metrics_table

        print(metrics_table(metrics))
        print(f"run folder: {config.run_folder} ({time.perf_counter() - started:.0f} s)")
    skips.print()
    return skips.exit_code


if __name__ == "__main__":
    run(main)
