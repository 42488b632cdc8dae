"""What a run is: a typed, frozen schema, read from YAML and `key=value` overrides.

To add a setting, add a field with `Field(description=...)` to its section: loading, `key=value`, the error
messages, `describe()` and `save()` follow from it. Descriptions give units and, where there is one, the source.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from mmel.errors import ConfigError, did_you_mean
from mmel.files import atomic_write, read_lines

Scorer = Literal["prior", "surface", "context", "local_attention", "coreference", "link_coherence", "mulrel"]

UserPath = Annotated[Path, BeforeValidator(lambda value: _expand_home(value))]
"""A path; a leading `~` is the home folder."""

Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(lambda value: _as_tuple(value))]
"""One name or a list of names."""


def _expand_home(value: object) -> object:
    return str(Path(value).expanduser()) if isinstance(value, str) else value


def _as_tuple(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Section(BaseModel):
    """Base of every part of the schema: frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class DataConfig(Section):
    """Which documents."""

    dataset: str = Field(default="sample", description="dataset name, as in `python -m mmel.data list`")
    root: UserPath | None = Field(default=None, description="folder of the dataset; none for the bundled sample")
    train_split: Names = Field(default=("train",), description="splits to train on")
    dev_split: Names = Field(default=("val",), description="splits whose F1 chooses the epoch")
    limit: int | None = Field(default=None, ge=1, description="first documents of each split only; none: all")


class CandidatesConfig(Section):
    """Which entities a mention is compared with."""

    prior_k: int = Field(
        default=30, ge=1, description="candidates taken by prior p(e|m) (Ganea & Hofmann 2017, section 6)"
    )
    keep_prior: int = Field(default=4, ge=0, description="of these, kept by prior")
    keep_context: int = Field(default=3, ge=0, description="of these, kept by context similarity")
    graph_k: int = Field(default=0, ge=0, description="added by document-graph expansion, beyond the prior's; 0: off")
    total: int | None = Field(default=None, ge=1, description="most candidates a mention keeps in all; none: no limit")

    @field_validator("keep_context")
    @classmethod
    def _keeps_something(cls, value: int, info: ValidationInfo) -> int:
        if value + info.data.get("keep_prior", 1) < 1:
            raise ValueError("keep_prior + keep_context must be at least 1")
        return value


class EncoderConfig(Section):
    """The frozen text encoder; its outputs are cached by content hash."""

    name: str = Field(default="minilm-l6", description="encoder name, or the path of a sentence-transformers folder")
    batch_size: int = Field(default=64, ge=1, description="texts a forward pass")
    max_tokens: int = Field(default=128, ge=8, le=512, description="word pieces of a text that are read")
    cache: UserPath | None = Field(
        default=None, description="folder of cached encodings; none: $MMEL_CACHE or ~/.cache/mmel"
    )


class ModelConfig(Section):
    """Which scores are computed, and how they are joined over a document."""

    scorers: Annotated[tuple[Scorer, ...], BeforeValidator(lambda value: _as_tuple(value))] = Field(
        default=("prior", "surface", "context", "local_attention", "coreference", "link_coherence", "mulrel"),
        min_length=1,
        description="score columns, each usable alone",
    )
    relations: int = Field(
        default=3, ge=1, description="latent relations K (Le & Titov 2018: 3 for ment-norm, 6 for rel-norm)"
    )
    hidden: int = Field(default=100, ge=1, description="width of the score-combining network (Le & Titov 2018: 100)")
    dropout: float = Field(
        default=0.3, ge=0, lt=1, description="probability of dropping a unit (Gan et al. 2021, section 5.1)"
    )
    window: int = Field(
        default=6, ge=1, description="words each side that describe a mention to relations (Gan et al. 2021: 6)"
    )
    context_words: int = Field(
        default=100, ge=1, description="words of context for attention (Ganea & Hofmann 2017: 100)"
    )
    attention_words: int = Field(
        default=25, ge=1, description="of these, kept by hard attention, R (Ganea & Hofmann 2017: 25)"
    )
    normalisation: Literal["ment-norm", "rel-norm"] = Field(
        default="ment-norm",
        description="what relation weights sum to one over: mentions or relations (Gan et al. 2021, Eq. 3-4)",
    )
    inference: Literal["lbp", "mean-field"] = Field(default="lbp", description="how the joint decision is reached")
    lbp_rounds: int = Field(default=10, ge=1, description="rounds of message passing (Ganea & Hofmann 2017: 10)")
    lbp_damping: float = Field(default=0.5, gt=0, le=1, description="weight of a round's new messages; 1: no damping")

    @field_validator("scorers")
    @classmethod
    def _no_scorer_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each scorer may be listed once")
        return value

    @field_validator("attention_words")
    @classmethod
    def _within_context(cls, value: int, info: ValidationInfo) -> int:
        context = info.data.get("context_words", value)
        if value > context:
            raise ValueError(f"must not exceed model.context_words ({context})")
        return value


class TrainConfig(Section):
    """How the parameters are found."""

    epochs: int = Field(
        default=30, ge=0, description="most passes over the training documents; 0: keep the initial model"
    )
    learning_rate: float = Field(
        default=1e-4, gt=0, le=1, description="of Adam, until validation F1 reaches lower_at_f1"
    )
    lower_at_f1: float = Field(
        default=0.915, ge=0, le=1, description="validation micro-F1 (0 to 1) that lowers the rate"
    )
    lowered_rate: float = Field(default=1e-5, gt=0, le=1, description="of Adam, afterwards")
    loss: Literal["ranking", "cross_entropy"] = Field(
        default="ranking", description="ranking is Gan et al. 2021, Eq. 5-6"
    )
    margin: float = Field(
        default=0.01, ge=0, description="margin of the ranking loss, gamma (Gan et al. 2021, section 5.1)"
    )
    patience: int = Field(default=5, ge=1, description="epochs without a better validation F1 before stopping")
    batch_pairs: int = Field(
        default=20_000,
        ge=1,
        description="mention pairs of a minibatch of whole documents (sum of squared mention counts)",
    )
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="of the moving average of the parameters; 0: off")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of a gradient; none: no clipping")


class Config(Section):
    """A run, whole. `load_config` makes one from a name or a file and overrides."""

    name: str = Field(default="", description="what the run is called; by default the experiment or the file")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of every random generator")
    run: UserPath | None = Field(default=None, description="run folder; none: runs/NAME-SEED")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to compute; auto: cuda if present"
    )
    kb: UserPath | None = Field(default=None, description="folder of the knowledge base; none: the dataset's own")
    data: DataConfig = Field(default=DataConfig(), description="which documents")
    candidates: CandidatesConfig = Field(default=CandidatesConfig(), description="which entities")
    encoder: EncoderConfig = Field(default=EncoderConfig(), description="the text encoder")
    model: ModelConfig = Field(default=ModelConfig(), description="scores and joint decision")
    train: TrainConfig = Field(default=TrainConfig(), description="optimisation")

    @property
    def run_folder(self) -> Path:
        """`run`, else `runs/NAME-SEED`."""
        return self.run or Path("runs") / f"{self.name or 'run'}-{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values (str, int, float, bool, None, list, dict), as they stand in the YAML file."""
        return self.model_dump(mode="json")

    def save(self, path: str | Path) -> None:
        """Write every setting as YAML that `load` reads back equal."""
        with atomic_write(path) as stream:
            yaml.safe_dump(self.to_dict(), stream, sort_keys=False, allow_unicode=True)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Config:
        """The config in a YAML file, or in the `config.yaml` of a run folder."""
        path = Path(path)
        path = path / "config.yaml" if path.is_dir() else path
        return _build(read_yaml(path), overrides, where=str(path))

    def with_overrides(self, overrides: Sequence[str]) -> Config:
        """A copy with `key=value` settings on top."""
        return _build(self.to_dict(), overrides, where="config")


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The config of an experiment by name, of a YAML file or of a run folder, with `key=value` overrides on top.

    Keys are dotted (`train.epochs=3`), values are YAML (`model.scorers=[prior, surface]`). None is the experiment
    `sample`. Raises ConfigError naming key, value and what is allowed.
    """
    source = "sample" if source is None else source
    if isinstance(source, Path) or Path(source).suffix in (".yaml", ".yml") or len(Path(source).parts) > 1:
        path = Path(source)
        data = read_yaml(path / "config.yaml" if path.is_dir() else path)
        return _build({"name": path.stem} | data, overrides, where=str(path))
    names = experiments()
    if source not in names:
        raise ConfigError(
            f"experiment '{source}' does not exist.{did_you_mean(source, names)} "
            "Remedy: name one of these, or a file such as ./config.yaml"
        )
    return _build({"name": source} | read_yaml(names[source]), overrides, where=f"experiment '{source}'")


def experiments() -> dict[str, Path]:
    """Name to YAML file of every experiment that comes with the package."""
    folder = Path(str(resources.files("mmel"))) / "experiments"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def settings(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """`(dotted key, type, default, description)` of every setting, in the order of the schema."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from settings(section, f"{prefix}{name}.")
        else:
            kind = ", ".join([_type_name(field.annotation), *_limits(field.metadata)])
            yield f"{prefix}{name}", kind, field.default, field.description or ""


def describe() -> str:
    """Every setting with its type, default and meaning, one a line, for `--help`."""
    rows = []
    for key, kind, default, description in settings():
        shown = f"[{', '.join(default)}]" if isinstance(default, tuple) else "none" if default is None else default
        rows.append((f"{key}={shown}", f"{description} ({kind})"))
    width = min(40, max(len(left) for left, _ in rows))
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


# --- YAML -----------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars (1e-4 is a number, `no` and `12:30` are words, dates are text); a key twice is an error."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (a class variable of the base class, untyped there)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|none|None|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def parse_yaml(text: str, where: str = "text") -> Any:
    """The value of a YAML text (1.2 scalars); ConfigError names line and problem."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        raise ConfigError(f"{place}: is not YAML: {getattr(error, 'problem', None) or error}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError where it is no YAML or no mapping, InputError where unreadable."""
    value = parse_yaml("\n".join(text for _, text in read_lines(path)), where=str(path))
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path}: a mapping of names to values is expected, found {_shown(value)}")
    return value


# --- checking -------------------------------------------------------------------------------------------------------


def _build(data: Mapping[str, Any], overrides: Sequence[str], where: str) -> Config:
    _check_keys(data, Config, where)
    merged = dict(data)
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    try:
        # Through JSON: strict typing there still takes a list for a tuple and a string for a path.
        return Config.model_validate_json(json.dumps(merged, default=_refuse), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, where) for item in error.errors())) from error


def _refuse(value: object) -> str:
    raise ConfigError(f"a value of type {type(value).__name__} has no place in a config: {_shown(value)}")


def _parse_override(override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ConfigError(f"override '{override}': expected key=value, for example train.epochs=3")
    nested: Any = parse_yaml(text, where=f"override '{override}'")
    for part in reversed(key.split(".")):
        nested = {part: nested}
    _check_keys(nested, Config, f"override '{override}'")
    return typing.cast("dict[str, Any]", nested)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _check_keys(data: Mapping[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    """Raise ConfigError at the first key that the schema does not have at that level."""
    for key, value in data.items():
        if key not in model.model_fields:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'.{_suggest(str(key), model, prefix)}")
        section = _section(model.model_fields[key].annotation)
        if section is None:
            if isinstance(value, Mapping):
                raise ConfigError(f"{where}: '{prefix}{key}' is a setting, not a section; it has no keys below it")
        elif not isinstance(value, Mapping):
            names = ", ".join(f"{prefix}{key}.{name}" for name in section.model_fields)
            raise ConfigError(f"{where}: '{prefix}{key}' is a section, not a setting; set one of {names}")
        else:
            _check_keys(value, section, where, f"{prefix}{key}.")


def _suggest(key: str, model: type[BaseModel], prefix: str) -> str:
    elsewhere = [known for known, *_ in settings() if known.rpartition(".")[2] == key]
    if elsewhere:
        return f" Did you mean {' or '.join(repr(known) for known in elsewhere)}?"
    return did_you_mean(prefix + key, [prefix + name for name in model.model_fields])


def _explain(error: Mapping[str, Any], where: str) -> str:
    """One validation error as key, value, what is allowed, and what the setting means."""
    location = [part for part in error["loc"] if isinstance(part, str)]
    known = {key: (kind, description) for key, kind, _, description in settings()}
    key = ".".join(location)
    while key and key not in known:  # a union adds the name of its branch
        key = key.rpartition(".")[0]
    kind, description = known.get(key, ("", ""))
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where}: {key}={_shown(error['input'])}: {reason}. Allowed: {kind}; {description}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    """The constraints of a field in words."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}
    for constraint in metadata:
        for name, word in words.items():
            if getattr(constraint, name, None) is not None:
                yield f"{word} {getattr(constraint, name)}"


def _type_name(annotation: Any) -> str:
    """A type as people write it: `int or none`, `one of lbp, mean-field`, `list of text`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    names = {type(None): "none", str: "text", Path: "path", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
