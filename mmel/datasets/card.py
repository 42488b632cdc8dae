"""Dataset cards: `data/cards/NAME.yaml`, read strictly."""

from __future__ import annotations

from pydantic import Field

from mmel.errors import ConfigError
from mmel.resources import resource
from mmel.schema import Section, read_yaml, validate


class SplitCounts(Section):
    """What a split is known to hold; None where it is not known. Rates are in [0, 1], over linked text mentions."""

    documents: int | None = Field(default=None, ge=0)
    mentions: int | None = Field(default=None, ge=0, description="text mentions")
    linked: int | None = Field(default=None, ge=0, description="text mentions with an entity")
    nil: int | None = Field(default=None, ge=0, description="text mentions labelled NIL")
    visual: int | None = Field(default=None, ge=0, description="visual mentions")
    candidate_recall: float | None = Field(default=None, ge=0, le=1, description="gold among the candidates")
    prior_accuracy: float | None = Field(default=None, ge=0, le=1, description="gold first by prior")


class Card(Section):
    """What is known of a dataset."""

    name: str
    title: str
    task: str
    citation: str
    licence: str
    get: str = Field(description="where and how to get it")
    layout: dict[str, str] = Field(default={}, description="path below the root: what it is")
    notes: str = ""
    distant: bool = Field(default=False, description="a rule made the gold of texts, which leaves names out")
    checksums: dict[str, str] = Field(
        default={}, description="path: hex SHA-256 of the file the counts were taken from"
    )
    entities: int | None = Field(default=None, ge=0, description="records of the knowledge base")
    entities_of: dict[str, int] = Field(default={}, description="by form of the folder: instead of `entities`")
    gallery: int | None = Field(default=None, ge=0, description="of these, with a picture")
    splits: dict[str, SplitCounts] = Field(default={}, description="by name of the split")
    forms: dict[str, dict[str, SplitCounts]] = Field(
        default={}, description="by form of the folder and split: instead of `splits`, where forms differ in counts"
    )

    def size(self, form: str) -> int | None:
        """The records that the knowledge base is known to have where the folder is of a form."""
        return self.entities_of.get(form, self.entities)

    def counts(self, form: str, split: str) -> SplitCounts:
        """What a split is known to hold where the folder is of a form; "" for a dataset of one form."""
        return self.forms.get(form, self.splits).get(split, SplitCounts())

    def instructions(self) -> str:
        """What the folder must hold, by name, and the command that says more of it."""
        remedy = f"`python -m mmel.data list {self.name}` says what each is and where to get it"
        return f"Expected below the root: {'; '.join(self.layout)}. Remedy: {remedy}"


def read_card(name: str) -> Card:
    """The card of a dataset; ConfigError naming file and key where it is not in the form."""
    path = resource("data", "cards", f"{name}.yaml")
    card = validate(Card, read_yaml(path), where=str(path))
    if card.name != name:
        raise ConfigError(f"{path}: name='{card.name}': must be the name of the file, '{name}'")
    return card
