"""What a run is: a typed, frozen schema, read from YAML and `key=value` overrides.

To add a setting, add a field with `Field(default=..., description=...)` to its section: loading, `key=value`, the
error messages, `describe()` and `save()` follow from it. Descriptions give units and, where there is one, the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from mmel import schema
from mmel.coupling_settings import CouplingConfig
from mmel.errors import ConfigError, did_you_mean
from mmel.files import atomic_write
from mmel.retrieval_settings import DenseTrainConfig, RetrieverName
from mmel.schema import Names, Section, UserPath, as_tuple, read_yaml
from mmel.vision_settings import AdapterConfig, ClipTrainConfig, MentionText, PatchConfig, PatchTrainConfig

Scorer = Literal[
    "prior", "surface", "context", "local_attention", "coreference", "link_coherence", "text_coherence",
    "word_overlap", "facts", "mulrel", "retrieval", "fusion", "pictures",
]  # fmt: skip


class DataConfig(Section):
    """Which documents."""

    dataset: str = Field(default="sample", description="dataset name, as in `python -m mmel.data list`")
    root: UserPath | None = Field(default=None, description="folder of the dataset; none for the bundled sample")
    train_split: Names = Field(default=("train",), description="splits to train on")
    dev_split: Names = Field(default=("val",), description="splits whose F1 chooses the epoch")
    photographs: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="further datasets, NAME=ROOT, whose labelled pictures train the visual side"
    )
    limit: int | None = Field(default=None, ge=1, description="first documents of each split only; none: all")


class CandidatesConfig(Section):
    """Which entities a mention is compared with."""

    prior_k: int | None = Field(
        default=30, ge=1, description="candidates taken by prior p(e|m) (Ganea & Hofmann 2017: 30); none: all"
    )
    fuzzy: bool = Field(default=True, description="look for similar names where a name is not in the knowledge base")
    keep_prior: int | None = Field(default=4, ge=0, description="of these, kept by prior; none: all")
    keep_context: int = Field(default=3, ge=0, description="of these, kept by context similarity")
    annotations: bool = Field(
        default=True,
        description="count the training documents' links as a second prior dictionary (Gan et al. 2021, section 4.1)",
    )
    context_names: bool = Field(
        default=False,
        description="let names of the text that are no mentions, but in the base, join the document graph",
    )
    full_names: bool = Field(
        default=False, description="average p(e|m) of a surname with that of the document's full names ending with it"
    )
    graph_k: int = Field(default=0, ge=0, description="added by document-graph expansion, beyond the prior's; 0: off")
    total: int | None = Field(default=None, ge=1, description="most candidates a mention keeps in all; none: no limit")
    retrieval: Annotated[tuple[RetrieverName, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="search the whole knowledge base too, by: annotations (p(e|m) of training links and aliases), "
        "names (overlap with titles and aliases), bm25 (words of the sentence), dense (bi-encoder); by the documents' "
        "pictures with the encoder of `vision`: clip-text-image (entities' texts), clip-image-image (their pictures)",
    )
    retrieved_k: int = Field(
        default=100, ge=1, description="entities of each retriever, and candidates of a mention with those retrieved"
    )
    keep_retrieved: int | None = Field(
        default=None, ge=0, description="further candidates kept by the retrievers' ensemble; none: all"
    )
    dense_train: DenseTrainConfig = Field(default=DenseTrainConfig(), description="heads of the retriever dense")

    @field_validator("keep_context")
    @classmethod
    def _keeps_something(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and info.data.get("keep_prior") == 0:
            raise ValueError("keep_context and keep_prior must not both be 0")
        return value


class EncoderConfig(Section):
    """The frozen text encoder; its outputs are cached by content hash."""

    name: str = Field(default="minilm-l6", description="encoder name, or the path of a sentence-transformers folder")
    entities: str = Field(
        default="sentence",
        description="entity vectors: sentence (this encoder over title, description and linked titles), trained "
        "(gensim Doc2Vec over the same), a word2vec or GloVe file (.txt, .vec, .bin, .kv), or a folder with "
        "dict.entity and entity_embeddings.npy",
    )
    max_tokens: int = Field(default=128, ge=8, le=512, description="word pieces of a text that are read")
    cache: UserPath | None = Field(
        default=None, description="folder of cached encodings; none: $MMEL_CACHE or ~/.cache/mmel"
    )


class ModelConfig(Section):
    """Which scores are computed, and how they are joined over a document."""

    scorers: Annotated[tuple[Scorer, ...], BeforeValidator(as_tuple)] = Field(
        default=("prior", "surface", "context", "local_attention", "coreference", "link_coherence", "mulrel"),
        min_length=1,
        description="score columns, each usable alone",
    )
    combine: Literal["network", "anchored"] = Field(
        default="network",
        description="how score columns become a local score: a network; or log p(e|m) plus one weight a scorer, which "
        "carries over to lists of another origin",
    )
    gate: bool = Field(
        default=False,
        description="weigh each mention's groups of columns (text or picture against text or picture) by a learned "
        "gate, which also says how likely the mention's pictures are related at all; with scorer `pictures`",
    )
    relations: int = Field(
        default=3, ge=1, description="latent relations K (Le & Titov 2018: 3 for ment-norm, 6 for rel-norm)"
    )
    dim: int = Field(default=300, ge=1, description="d of entity and word vectors (Gan et al. 2021, section 5.1)")
    match_dim: int = Field(default=64, ge=1, description="width of learned context matches and of mean-field relations")
    hidden: int = Field(default=128, ge=1, description="width of the network that joins the score columns")
    passes: int = Field(default=2, ge=0, description="mean-field passes over the document; 0: local scores decide")
    input_dropout: float = Field(default=0.2, ge=0, lt=1, description="of encoder vectors")
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
    fusion: Literal["uniter", "uniter-star", "lxmert"] = Field(
        default="lxmert",
        description="how the scorer fusion joins text and picture (Wang et al. 2022, section 5.2): in one stream; each "
        "by itself, then in one; each by itself, then by cross attention",
    )
    fusion_dim: int = Field(default=128, ge=1, description="width of the fusions' hidden states")
    fusion_heads: int = Field(default=4, ge=1, description="attention heads of the fusions; must divide fusion_dim")
    fusion_layers: int = Field(
        default=2, ge=1, description="layers of the fusions, a third of them joint (Wang et al. 2022: 12, 4 joint)"
    )
    fusion_dropout: float = Field(default=0.1, ge=0, lt=1, description="of the fusions")
    fusion_pooling: Literal["first-last", "first", "mean"] = Field(
        default="first-last", description="which of a mention's tokens are its vector (Wang et al. 2022: first-last)"
    )
    fusion_tokens: int = Field(default=64, ge=1, description="word pieces around a mention, and of an entity's text")
    fusion_pictures: int = Field(
        default=0,
        ge=0,
        description="first pictures of a document, and of an entity, whose grids (of vision.encoder) the fusions read "
        "(Wang et al. 2022: 1); 0: text alone",
    )
    fusion_features: Literal["contextual", "embedding"] = Field(
        default="contextual",
        description="frozen vectors of word pieces: the text encoder's output, or its embeddings (Wang et al. 2022)",
    )

    @field_validator("scorers")
    @classmethod
    def _no_scorer_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each scorer may be listed once")
        return value

    @field_validator("fusion_heads")
    @classmethod
    def _divides(cls, value: int, info: ValidationInfo) -> int:
        size = info.data.get("fusion_dim", value)
        if size % value:
            raise ValueError(f"must divide model.fusion_dim ({size})")
        return value

    @field_validator("fusion_layers")
    @classmethod
    def _both_kinds(cls, value: int, info: ValidationInfo) -> int:
        kind = info.data.get("fusion", "uniter")
        if kind != "uniter" and value < 2:
            raise ValueError(f"must be at least 2 with model.fusion={kind}: one a modality, one that joins them")
        return value

    @field_validator("gate")
    @classmethod
    def _something_to_weigh(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "pictures" not in info.data.get("scorers", ("pictures",)):
            raise ValueError("needs 'pictures' among model.scorers")
        return value

    @field_validator("attention_words")
    @classmethod
    def _within_context(cls, value: int, info: ValidationInfo) -> int:
        context = info.data.get("context_words", value)
        if value > context:
            raise ValueError(f"must not exceed model.context_words ({context})")
        return value


class VisionConfig(Section):
    """How regions of pictures are linked."""

    encoder: str = Field(
        default="patch-transformer",
        description="patch-transformer (Gan et al. 2021, Eq. 7, trained here), onnx-face, facenet, resnet50, or "
        "open-clip:MODEL[/PRETRAINED]",
    )
    weights: UserPath | None = Field(default=None, description="file of the encoder's weights, where it needs one")
    sha256: str | None = Field(default=None, description="digest that the file of weights must have; none: any")
    download: bool = Field(default=False, description="fetch weights that are named and not here")
    detector: Literal["none", "yunet", "mtcnn"] = Field(
        default="none", description="finds the faces that are aligned and encoded; none: regions as they are"
    )
    detector_weights: UserPath | None = Field(default=None, description="ONNX file of yunet; mtcnn has its own")
    unaligned: Literal["skip", "crop"] = Field(
        default="crop", description="a region without a face: no answer, or its middle is encoded"
    )
    task: Literal["V2VEL", "V2TEL", "V2VTEL"] = Field(
        default="V2VEL", description="compare with entities' pictures, texts, or both (Sun et al. 2022)"
    )
    text_encoder: str | None = Field(
        default=None, description="open-clip:MODEL[/PRETRAINED] for V2TEL and V2VTEL; none: `encoder`"
    )
    text_weights: UserPath | None = Field(default=None, description="file of the text encoder's weights")
    text: Literal["name", "name+description"] = Field(default="name", description="an entity's text")
    mention_text: MentionText = Field(
        default="M-S1",
        description="what CLIP reads of a mention: M its surface, S its text, S1 its sentence, D its description "
        "(Wang et al. 2024, Table 4)",
    )
    clip_train: ClipTrainConfig = Field(
        default=ClipTrainConfig(),
        description="fine-tuning of the open-clip model that `encoder` or `text_encoder` names; the scorer `pictures` "
        "then reads training documents with what learned from them, whatever `folds` says",
    )
    combination: Literal["pictures+texts", "texts+pictures", "fused"] = Field(
        default="pictures+texts",
        description="V2VTEL: recall with the first and rank again with the other, or add the scores with a weight "
        "learned on validation",
    )
    rerank: int = Field(default=100, ge=1, description="entities that are ranked again")
    candidates: int = Field(default=100, ge=1, description="entities a mention is given")
    pooling: Literal["max", "mean", "learned"] = Field(
        default="max", description="several pictures of an entity: the best one, their mean, or attention over them"
    )
    index: Literal["exact", "hnsw", "ivf-pq"] = Field(default="exact", description="search among entities")
    adapter: Literal["none", "trained"] = Field(
        default="none", description="the adapter of Sun et al. 2022 over the frozen encoder"
    )
    adapter_train: AdapterConfig = Field(default=AdapterConfig(), description="the adapters' training")
    folds: int = Field(
        default=2,
        ge=2,
        description="where the scorer `pictures` reads what the patch transformer or adapters learned: parts of the "
        "training documents, each scored in training by what learned without it",
    )
    train_pictures: bool = Field(
        default=False, description="labelled pictures of the training documents join the gallery of their entities"
    )
    patch: PatchConfig = Field(default=PatchConfig(), description="the patch transformer")
    patch_train: PatchTrainConfig = Field(default=PatchTrainConfig(), description="its training")
    noise: float = Field(
        default=0.0,
        ge=0,
        description="length of Gaussian noise added to a mention's unit vector, the same for a picture and seed: to "
        "study how weak encoders are helped",
    )
    teacher: str | None = Field(
        default=None, description="encoder whose vectors patch_train.loss=distil imitates, named as `encoder` is"
    )
    teacher_weights: UserPath | None = Field(default=None, description="file of the teacher's weights")

    @field_validator("detector", "adapter", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        """Settings are read with `none` as null."""
        return "none" if value is None else value


class TrainConfig(Section):
    """How the parameters are found."""

    epochs: int = Field(
        default=30, ge=0, description="most passes over the training documents; 0: keep the initial model"
    )
    optimizer: Literal["adam", "lbfgs"] = Field(
        default="adam",
        description="lbfgs descends to the optimum of each minibatch: for model.combine=anchored, whose loss is "
        "convex, with train.batch_pairs large enough for all documents",
    )
    learning_rate: float = Field(
        default=1e-4, gt=0, le=1, description="of Adam, until validation F1 reaches lower_at_f1"
    )
    lower_at_f1: float = Field(
        default=0.915, ge=0, le=1, description="validation micro-F1 (0 to 1) that lowers the rate"
    )
    lowered_rate: float = Field(default=1e-5, gt=0, le=1, description="of Adam, afterwards")
    modality_dropout: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that a mention is trained, in a step, on one of the nine tasks T, I, I+T -> T, I, I+T "
        "instead of all it has; with scorer `pictures`",
    )
    swapped_pictures: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that a mention is trained, in a step, with pictures of an unrelated document",
    )
    loss: Literal["ranking", "cross_entropy", "contrastive"] = Field(
        default="ranking",
        description="ranking is Gan et al. 2021, Eq. 5-6; contrastive is cross entropy, and for the scorer fusion "
        "also against the gold entities of the minibatch's other mentions (Wang et al. 2022, Eq. 4)",
    )
    margin: float = Field(
        default=0.01, ge=0, description="margin of the ranking loss, gamma (Gan et al. 2021, section 5.1)"
    )
    schedule: Literal["threshold", "cosine"] = Field(
        default="threshold",
        description="threshold lowers the rate once at lower_at_f1 (Gan et al. 2021, section 5.1); cosine warms up "
        "over 100 steps and falls to a twentieth over all epochs",
    )
    keep: Literal["best", "last"] = Field(default="best", description="which epoch is kept, by validation accuracy")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation F1 before stopping")
    batch_pairs: int = Field(
        default=20_000,
        ge=1,
        description="mention pairs of a minibatch of whole documents (sum of squared mention counts)",
    )
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="of the moving average of the parameters; 0: off")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of a gradient; none: no clipping")


class DetectionConfig(Section):
    """How mentions are found where a document brings none."""

    text: Literal["none", "names"] = Field(
        default="none",
        description="what finds mentions in texts: names (of the knowledge base, learned from the training documents)",
    )
    recall: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="share of the validation documents' labelled mentions that the threshold of `names` must keep",
    )
    face_confidence: float = Field(
        default=0.7, ge=0, le=1, description="least confidence of a face, as vision.detector gives it"
    )
    face_size: float = Field(default=16.0, ge=0, description="least size of a face, root of its area in pixels")

    @field_validator("text", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        """Settings are read with `none` as null."""
        return "none" if value is None else value


class ConfidenceConfig(Section):
    """How it is learned when a link is right, and when an entity is not in the knowledge base."""

    hide: float | None = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of the entities that is hidden, so that validation documents speak of what the base lacks; "
        "none: no confidence, and never NIL but for mentions without candidates",
    )
    views: int = Field(default=2, ge=1, description="how often entities are hidden anew")


class Config(Section):
    """A run, whole. `load_config` makes one from a name or a file and overrides."""

    name: str = Field(default="", description="what the run is called; by default the experiment or the file")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of every random generator")
    run: UserPath | None = Field(default=None, description="run folder; none: runs/NAME-SEED")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to compute; auto: cuda if present"
    )
    kb: UserPath | None = Field(default=None, description="folder of the knowledge base; none: the dataset's own")
    modalities: Annotated[tuple[Literal["text", "visual"], ...], BeforeValidator(as_tuple)] = Field(
        default=("text",), min_length=1, description="which mentions are linked: text, visual or both"
    )
    data: DataConfig = Field(default=DataConfig(), description="which documents")
    candidates: CandidatesConfig = Field(default=CandidatesConfig(), description="which entities")
    encoder: EncoderConfig = Field(default=EncoderConfig(), description="the text encoder")
    model: ModelConfig = Field(default=ModelConfig(), description="scores and joint decision")
    vision: VisionConfig = Field(default=VisionConfig(), description="regions of pictures")
    coupling: CouplingConfig = Field(default=CouplingConfig(), description="how the two modalities help each other")
    detection: DetectionConfig = Field(default=DetectionConfig(), description="mentions of documents without any")
    confidence: ConfidenceConfig = Field(default=ConfidenceConfig(), description="calibrated confidence, and NIL")
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
            stream.write(schema.to_yaml(self.to_dict()))

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


def describe() -> str:
    """Every setting with its default, meaning and type, one a line, for `--help`."""
    return schema.describe(Config)


def _build(data: Mapping[str, Any], overrides: Sequence[str], where: str) -> Config:
    schema.check_keys(Config, data, where)
    for override in overrides:
        data = schema.merge(data, schema.parse_override(Config, override))
    return schema.validate(Config, data, where)
