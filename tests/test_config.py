"""The config schema: names, files, overrides, errors, round trip."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmel.config import Config, describe, experiments, load_config
from mmel.errors import ConfigError, InputError
from mmel.schema import settings


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_no_argument_is_the_sample() -> None:
    config = load_config()
    assert config.name == "sample"
    assert config == load_config("sample")


@pytest.mark.parametrize("name", sorted(experiments()))
def test_every_experiment_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    config.save(tmp_path / "config.yaml")
    assert Config.load(tmp_path / "config.yaml") == config
    assert Config.load(tmp_path) == config
    assert load_config(tmp_path).to_dict() == config.to_dict()


def test_file_wins_over_defaults_and_override_over_file(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\ntrain: {epochs: 4, margin: 0.5}\n", "mine.yaml")
    config = load_config(path, ["train.epochs=9"])
    assert (config.name, config.seed, config.train.epochs, config.train.margin) == ("mine", 3, 9, 0.5)
    assert config.train.learning_rate == Config().train.learning_rate


def test_a_section_can_be_overridden_in_one_go_without_losing_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 4}\n")
    train = load_config(path, ["train={margin: 0.5, patience: 2}"]).train
    assert (train.epochs, train.margin, train.patience) == (4, 0.5, 2)


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n"), ["name=''"]) == Config()


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("train.learning_rate=1e-3", "train", "learning_rate", 1e-3),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("data.limit=none", "data", "limit", None),
        ("data.train_split=train", "data", "train_split", ("train",)),
        ("data.train_split=[train, testa]", "data", "train_split", ("train", "testa")),
        ("data.dataset=no", "data", "dataset", "no"),
        ("data.root=2024-01-02", "data", "root", Path("2024-01-02")),
        ("data.root=~/x", "data", "root", Path.home() / "x"),
        ("data.root=a=b", "data", "root", Path("a=b")),
        ("model.scorers=prior", "model", "scorers", ("prior",)),
        ("model.scorers=[prior, mulrel]", "model", "scorers", ("prior", "mulrel")),
    ],
)
def test_override_values_are_yaml(override: str, section: str, field: str, value: object) -> None:
    assert getattr(getattr(load_config("sample", [override]), section), field) == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ["train.epoch", "Did you mean 'train.epochs'?"]),
        ("epochs=3", ["epochs", "Did you mean", "'train.epochs'"]),
        ("tran.epochs=3", ["tran", "Did you mean 'train'?"]),
        ("model.zzz=1", ["model.zzz", "Allowed: model.", "model.window"]),
        ("seed.x=1", ["'seed' is a setting"]),
        ("train=3", ["'train' is a section", "train.epochs"]),
        ("train.epochs=x", ['train.epochs="x"', "Allowed: integer, at least 0"]),
        ("train.epochs=1.5", ["train.epochs=1.5", "integer"]),
        ("train.epochs=-1", ["train.epochs=-1", "greater than or equal to 0"]),
        ("seed=true", ["seed=true", "integer"]),
        ("model.dropout=1", ["model.dropout=1", "below 1"]),
        ("model.dropout=.nan", ["model.dropout=NaN", "finite"]),
        ("train.loss=rankng", ["train.loss=", "'ranking', 'cross_entropy' or 'contrastive'"]),
        ("model.scorers=[prior, foo]", ["model.scorers.1=", "foo", "link_coherence"]),
        ("model.scorers=[prior, prior]", ["each scorer may be listed once"]),
        ("model.scorers=[]", ["model.scorers=[]", "at least 1"]),
        ("data.train_split=3", ["data.train_split=3", "list of text"]),
        ("candidates={keep_prior: 0, keep_context: 0}", ["keep_context and keep_prior must not both be 0"]),
        ("model.attention_words=101", ["model.attention_words=101", "model.context_words (100)"]),
        ("train.epochs=[1", ["train.epochs=[1", "is not YAML"]),
        ("epochs", ["override 'epochs'", "key=value"]),
        ("=3", ["override '=3'", "key=value"]),
    ],
)
def test_bad_override_names_key_value_and_what_is_allowed(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("sample", [override])
    for word in words:
        assert word in str(caught.value)


def test_all_bad_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("sample", ["train.epochs=x", "seed=-1"])
    assert "train.epochs" in str(caught.value)
    assert "seed=-1" in str(caught.value)


def test_unknown_experiment_suggests() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sample'"):
        load_config("sampel")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train:\n  epochz: 3\n", "unknown key 'train.epochz'"),
        ("seed: 1\nseed: 2\n", "config.yaml:2: is not YAML: key 'seed' twice"),
        ("seed: 1\nname: [1\n", "config.yaml:2: is not YAML"),
        ("- 1\n", "a mapping of names to values is expected"),
        ("3: 4\n", "a mapping of names to values is expected"),
        ("name: !!binary aGk=\n", "bytes"),
        ("name: !!python/object:os.system x\n", "is not YAML"),
    ],
)
def test_bad_file_names_file_and_problem(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert words in str(caught.value)


def test_missing_or_latin1_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        Config().seed = 4  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Config(sed=4)  # type: ignore[call-arg]


def test_with_overrides_leaves_the_original() -> None:
    config = Config()
    changed = config.with_overrides(["train.epochs=1", "run=out"])
    assert (changed.train.epochs, changed.run_folder) == (1, Path("out"))
    assert config.train.epochs == 30
    assert load_config("aida", ["seed=7"]).run_folder == Path("runs/aida-7")


def test_every_setting_is_described_once() -> None:
    rows = list(settings(Config))
    assert len({key for key, *_ in rows}) == len(rows)
    for key, kind, _, description in rows:
        assert description, key
        assert "typing" not in kind
        assert f"  {key}=" in describe()


@hypothesis.settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "train.learning_rate": st.floats(1e-12, 1, exclude_min=True),
            "train.margin": st.floats(0, 1e30),
            "seed": st.integers(0, 2**32 - 1),
            "name": st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
        },
    )
)
def test_any_legal_value_survives_save_and_load(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    config = load_config("sample", [f"{key}={json.dumps(value)}" for key, value in values.items()])
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    config.save(path)
    assert Config.load(path) == config


def test_config_needs_no_torch() -> None:
    code = "import sys, mmel.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_none_is_a_choice_of_detector_and_adapter() -> None:
    config = load_config("movies-visual-face", ["vision.detector=none", "vision.adapter=none"])
    assert (config.vision.detector, config.vision.adapter) == ("none", "none")
