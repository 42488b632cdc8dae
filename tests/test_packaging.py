from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from mmel import __version__
from mmel.datasets import dataset_names

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("mmel", "data", "kb", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that no build folder of the checkout can slip into it."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.wheel
def test_a_wheel_carries_what_is_read_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"mmel-{__version__}.dist-info/entry_points.txt").decode()
    assert {f"mmel/_resources/data/cards/{name}.yaml" for name in dataset_names()} <= names
    assert "mmel/py.typed" in names
    assert "[spacy_factories]\nmmel = mmel.spacy_component:make_linker\n" in entry_points
    modules = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "mmel").rglob("*.py")}
    assert modules <= names
    settings = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "mmel").rglob("*.yaml")}
    assert settings <= names
    assert not {name for name in names if not name.startswith(("mmel/", f"mmel-{__version__}.dist-info/"))}


@pytest.mark.wheel
def test_a_wheel_in_an_empty_environment_lists_the_datasets(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    # No torch here: what a listing needs is light.
    pip("--python", python, "install", "pyyaml", "pydantic")
    pip("--python", python, "install", "--no-deps", wheel)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def answer(*command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(answer(python, "-m", "mmel.data", "list", "--json"))
    assert [card["name"] for card in listed["datasets"]] == dataset_names()
    assert answer(binaries / "mmel", "--version") == f"mmel {__version__}\n"


def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
