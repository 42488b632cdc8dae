"""A run folder: the resolved config, versions, metrics, and what a linker needs to be opened again.

Every file is whole or absent. `config.yaml`, `versions.json` and `kb.json` are written at the start, `metrics.jsonl`
grows, `checkpoint.safetensors` holds the last epoch, `model.safetensors` and `metrics.json` the result.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mmel import __version__
from mmel.config import Config
from mmel.errors import InputError
from mmel.files import atomic_write, read_json, sha256_file, write_json
from mmel.kb import KbMeta, KnowledgeBase
from mmel.retrieval_settings import by_pictures

_PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "gensim",
    "pot",
    "scikit-learn",
    "torch-geometric",
    "safetensors",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it computes with."""
    found = {"python": sys.version.split()[0], "mmel": __version__, "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.kb_file = self.path / "kb.json"
        self.annotations_file = self.path / "annotations.json"
        self.retrieval_file = self.path / "retrieval.json"
        self.retrieval_heads_file = self.path / "retrieval.safetensors"
        self.galleries = self.path / "galleries"  # of retrievers by pictures
        self.model_file = self.path / "model.safetensors"
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.steps_file = self.path / "metrics.jsonl"
        self.metrics_file = self.path / "metrics.json"
        self.visual = self.path / "visual"
        self.folds = self.path / "folds"  # of what is trained to score training documents; gone when the run is done
        self.coupling_file = self.path / "coupling.json"
        self.detection_file = self.path / "detection.json"
        self.confidence_file = self.path / "confidence.json"

    @property
    def trained(self) -> bool:
        """Whether a side was trained to its end."""
        return self.model_file.is_file() or (self.visual / "visual.json").is_file()

    @property
    def finished(self) -> bool:
        return self.metrics_file.is_file() and self.trained

    def check_trained(self) -> None:
        """InputError where the run is not finished: said before anything else is read."""
        if not self.trained:
            what = "holds no trained model" if self.path.is_dir() else "is no folder of a trained model"
            raise InputError(what, file=self.path, remedy="name the run folder of `python -m mmel.train`")
        if not self.finished:
            raise InputError(
                "holds a run that was not trained to its end",
                file=self.path,
                remedy="give its `python -m mmel.train` command again, which goes on where it stopped",
            )

    @property
    def reads_pictures(self) -> bool:
        """Whether its linker reads pictures of documents."""
        config = Config.load(self.config_file)
        fused = "fusion" in config.model.scorers and config.model.fusion_pictures > 0
        return self.visual.is_dir() or fused or bool(by_pictures(config.candidates.retrieval))

    def digest(self) -> str:
        """Hex SHA-256 of what the linker of the run decides by: settings, weights, galleries; not where its base is."""
        others = {self.checkpoint_file, self.steps_file, self.metrics_file, self.kb_file, self.path / "versions.json"}
        total = hashlib.sha256()
        for file in sorted(file for file in self.path.rglob("*") if file.is_file() and file not in others):
            total.update(f"{file.relative_to(self.path).as_posix()} {sha256_file(file)}\n".encode())
        return total.hexdigest()

    def check(self, config: Config) -> None:
        """Refuse a folder that was begun with other settings; by which path it is named does not matter."""
        if not self.config_file.is_file():
            return
        begun = Config.load(self.config_file)
        if begun.to_dict() | {"run": None} != config.to_dict() | {"run": None}:
            raise InputError(
                "the folder holds a run with other settings",
                file=self.config_file,
                remedy="give another run=FOLDER, the same settings to go on with it, or --restart to begin anew",
            )

    def start(self, config: Config, kb: KnowledgeBase) -> None:
        """Write what describes the run; one begun on another knowledge base is refused."""
        if self.checkpoint_file.is_file() and self.kb()[1].content_hash != kb.meta.content_hash:
            raise InputError(
                f"the run was begun on another knowledge base than '{kb.meta.name}' ({kb.folder})",
                file=self.kb_file,
                remedy="give another run=FOLDER, the same knowledge base to go on, or --restart to begin anew",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        config.save(self.config_file)
        write_json(self.path / "versions.json", versions())
        write_json(self.kb_file, {"path": str(kb.folder.resolve()), "meta": kb.meta.to_dict()})

    def clear(self) -> None:
        """Remove the files of an earlier run in this folder."""
        for file in vars(self).values():
            if file in (self.visual, self.folds, self.galleries):
                shutil.rmtree(file, ignore_errors=True)
            elif file != self.path:
                file.unlink(missing_ok=True)

    def kb(self) -> tuple[Path, KbMeta]:
        """Where the run's knowledge base was, and what it was."""
        value = read_json(self.kb_file, "name a folder written by `python -m mmel.train`")
        return Path(value["path"]), KbMeta.from_dict(value["meta"])

    def keep_steps(self, epochs: int) -> None:
        """Drop logged steps of epochs that did not reach a checkpoint."""
        if self.steps_file.is_file():
            lines = self.steps_file.read_text(encoding="utf-8").splitlines(keepends=True)
            # A line without its end is the torn tail of a killed writer.
            whole = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] < epochs]
            with atomic_write(self.steps_file) as stream:
                stream.writelines(whole)

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to `metrics.jsonl`."""
        with open(self.steps_file, "a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
