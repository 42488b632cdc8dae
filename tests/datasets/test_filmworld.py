from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.datasets import open_dataset
from mmel.datasets.filmworld import Difficulty, FilmWorld, Pictures, generate
from mmel.document import NIL, Document
from mmel.errors import ConfigError

worlds = st.builds(
    generate,
    films=st.integers(6, 40),
    documents=st.fixed_dictionaries({"train": st.integers(0, 20), "val": st.integers(0, 5), "test": st.integers(0, 5)}),
    seed=st.integers(0, 10_000),
    difficulty=st.builds(Difficulty, ambiguity=st.floats(0, 1), alone=st.floats(0, 1), unrelated=st.integers(0, 3)),
)


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_any_world_is_sound(world: FilmWorld) -> None:
    entities = {entity.id: entity for entity in world.entities}
    assert len(entities) == len(world.entities)
    for entity in world.entities:
        acts = entity.type == "person" and any(link[0] == "C" for link in entity.links)
        assert len(entity.images) in ((1, 2, 3) if acts else (0,))
        assert entity.description
        assert set(entity.links) <= entities.keys() - {entity.id}
        assert all(entity.id in entities[other].links for other in entity.links if entity.type != "person")
        assert all(alias.name and alias.count >= 1 for alias in entity.aliases)
        assert len({alias.name for alias in entity.aliases}) == len(entity.aliases)
    for split, reviews in world.documents.items():
        documents = list(reviews)
        assert len(documents) == len(reviews) == len({document.id for document in documents})
        assert all(document.id.startswith(split) for document in documents)
        for document in documents:
            document.check_spans()
            for picture in document.visual_mentions:
                assert picture.entity == NIL or entities[picture.entity or ""].images
                assert picture.image.startswith(f"images/documents/{document.id}-")
            assert "{" not in document.text
            for mention in document.text_mentions:
                gold = entities[mention.entity or ""]
                assert mention.text in {alias.name for alias in gold.aliases}
            ends = [0, *(mention.end for mention in document.text_mentions)]
            assert all(end <= mention.start for end, mention in zip(ends, document.text_mentions, strict=False))


@given(worlds)
@settings(max_examples=30, deadline=None)
def test_splits_share_no_film_and_no_character(world: FilmWorld) -> None:
    kinds = {entity.id: entity.type for entity in world.entities}
    owner: dict[str, str] = {}
    for split, reviews in world.documents.items():
        for document in reviews:
            for mention in document.text_mentions:
                gold = mention.entity or ""
                if kinds[gold] != "person":
                    assert owner.setdefault(gold, split) == split


def test_a_seed_is_a_world() -> None:
    first, again, other = generate(30, seed=1), generate(30, seed=1), generate(30, seed=2)
    assert first.entities == again.entities
    assert first.entities != other.entities
    for split in first.documents:
        assert list(first.documents[split]) == list(again.documents[split])
        # Iterating a second time, or only in part, changes nothing.
        assert next(iter(first.documents[split])) == next(iter(again.documents[split]))


def test_more_documents_begin_like_fewer() -> None:
    fewer = generate(30, {"train": 40, "test": 10}, seed=3).documents["train"]
    more = generate(30, {"train": 80, "test": 20}, seed=3).documents["train"]
    assert list(more)[:40] == list(fewer)


def test_the_same_on_every_machine() -> None:
    world = generate(30, {"train": 20, "val": 5, "test": 5}, seed=7)
    digest = hashlib.sha256()
    for entity in world.entities:
        digest.update(repr((entity.id, entity.title, entity.description, entity.aliases, entity.links)).encode())
    for reviews in world.documents.values():
        for document in reviews:
            digest.update(repr((document.id, document.text, document.text_mentions)).encode())
    assert digest.hexdigest() == "96e21da2d60bc0e88a4281a871adf6515d57dc1bc1d46405c8638e6bd2071ca6"
    # Another digest for the pictures, which came later.
    digest = hashlib.sha256(repr([entity.images for entity in world.entities]).encode())
    for reviews in world.documents.values():
        for document in reviews:
            digest.update(
                repr([(mention.image, mention.box, mention.entity) for mention in document.visual_mentions]).encode()
            )
    assert digest.hexdigest() == "ea7fd885ed55349091076109f1c3a5aeb59fb4fd21289b73e178dd8e646a52a3"
    assert world.difficulty.face_noise == 0.25


def test_pictures_change_no_word() -> None:
    usual = generate(12, {"train": 20, "test": 5}, seed=4)
    other = generate(12, {"train": 20, "test": 5}, seed=4, pictures=Pictures(most=9, strangers=0.5, unknown=0.5))
    assert usual.entities == other.entities
    for split, reviews in usual.documents.items():
        for one, two in zip(reviews, other.documents[split], strict=True):
            assert (one.text, one.text_mentions) == (two.text, two.text_mentions)


def test_who_is_on_the_pictures_of_a_review() -> None:
    documents = {"train": 300, "test": 10}

    def shares(pictures: Pictures) -> tuple[float, float, set[int]]:
        """Share of the cast of the films that the review is linked to, of NIL, and the numbers of pictures."""
        world = generate(20, documents, seed=4, pictures=pictures)
        films = {entity.id: set(entity.links) for entity in world.entities if entity.type == "film"}
        cast = nil = total = 0
        counts = set()
        for document in world.documents["train"]:
            counts.add(len(document.visual_mentions))
            about = {mention.entity or "" for mention in document.text_mentions}
            known = set().union(*(links for links in films.values() if links & about))
            for picture in document.visual_mentions:
                total += 1
                nil += picture.entity == NIL
                cast += picture.entity in known
        return cast / (total or 1), nil / (total or 1), counts

    cast, nil, counts = shares(Pictures())
    assert cast > 0.85
    assert nil == 0
    assert counts == {0, 1, 2, 3, 4}
    assert shares(Pictures(strangers=1.0))[0] < 0.5
    assert shares(Pictures(most=1, unknown=0.4))[1] == pytest.approx(0.4, abs=0.08)
    assert shares(Pictures(most=0)) == (0, 0, {0})


def test_alone_leaves_out_one_side_of_a_share_of_the_people() -> None:
    documents = {"train": 200, "test": 5}

    def reviews(alone: float) -> list[Document]:
        world = generate(20, documents, seed=4, difficulty=Difficulty(alone=alone))
        actors = {
            entity.id: next(x for x in entity.links if x[0] == "P") for entity in world.entities if entity.id[0] == "C"
        }
        found = list(world.documents["train"])
        both.append(
            sum(
                len(
                    {actors.get(n.entity or "", n.entity) for n in d.text_mentions}
                    & {p.entity for p in d.visual_mentions}
                )
                for d in found
            )
        )
        return found

    both: list[int] = []
    usual, half, parted = reviews(0.0), reviews(0.5), reviews(1.0)
    assert both[0] > 100
    assert both[1] / both[0] == pytest.approx(0.5, abs=0.1)
    assert both[2] == 0
    for one, two, three in zip(usual, half, parted, strict=True):
        assert one.text == two.text == three.text
        assert set(three.text_mentions) <= set(two.text_mentions) <= set(one.text_mentions)
        assert set(three.visual_mentions) <= set(two.visual_mentions) <= set(one.visual_mentions)
    # Of some the names go, of others the pictures.
    for side in ("text_mentions", "visual_mentions"):
        assert sum(len(getattr(d, side)) for d in parted) < sum(len(getattr(d, side)) for d in usual)


def test_unrelated_pictures_are_of_people_from_elsewhere() -> None:
    documents = {"train": 100, "test": 5}
    usual = generate(20, documents, seed=4).documents["train"]
    world = generate(20, documents, seed=4, difficulty=Difficulty(unrelated=3))
    links = {entity.id: set(entity.links) for entity in world.entities}
    nil = 0
    for one, two in zip(usual, world.documents["train"], strict=True):
        assert (one.text, one.text_mentions) == (two.text, two.text_mentions)
        kept, extra = two.visual_mentions[: len(one.visual_mentions)], two.visual_mentions[len(one.visual_mentions) :]
        assert kept == one.visual_mentions
        assert len(extra) == 3
        assert len({picture.image for picture in two.visual_mentions}) == len(two.visual_mentions)
        named = {mention.entity or "" for mention in two.text_mentions}
        for picture in extra:
            nil += picture.entity == NIL
            assert picture.entity not in named.union(*(links[entity] for entity in named))
    assert nil / 300 == pytest.approx(0.5, abs=0.1)


def test_a_saved_world_is_a_movies_folder(tmp_path: Path) -> None:
    world = generate(6, {"train": 4, "test": 2}, seed=1)
    world.save(tmp_path / "films")
    dataset = open_dataset("movies", tmp_path / "films")
    assert list(dataset.entities()) == world.entities
    assert {split: list(dataset.documents(split)) for split in dataset.splits} == {
        split: list(reviews) for split, reviews in world.documents.items()
    }


def test_face_noise_is_the_noise_of_the_drawn_pictures(tmp_path: Path) -> None:
    def drawn(face_noise: float) -> dict[str, bytes]:
        folder = tmp_path / str(face_noise)
        generate(4, {"train": 2, "test": 1}, seed=1, difficulty=Difficulty(face_noise=face_noise)).draw(folder)
        return {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}

    usual, noisy = drawn(0.25), drawn(0.8)
    assert usual.keys() == noisy.keys()
    assert not set(usual.values()) & set(noisy.values())


def test_every_picture_is_drawn(tmp_path: Path) -> None:
    world = generate(6, {"train": 4, "test": 2}, seed=1, pictures=Pictures(unknown=0.3))
    assert any(name == whose for name, whose in world.pictures())
    assert world.draw(tmp_path) == len(dict(world.pictures()))
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")}
    named = {image for entity in world.entities for image in entity.images}
    for reviews in world.documents.values():
        named |= {mention.image for document in reviews for mention in document.visual_mentions}
    assert found == named


class Accuracy(NamedTuple):
    prior: float
    vote: float
    oracle: float


def accuracy(world: FilmWorld, split: str) -> Accuracy:
    """Prior alone; a vote for the film over KB links (ties by prior); gold among the candidates."""
    candidates: dict[str, list[tuple[float, str]]] = defaultdict(list)
    films: dict[str, set[str]] = {}
    for entity in world.entities:
        films[entity.id] = {entity.id} if entity.type == "film" else {link for link in entity.links if link[0] == "F"}
        for alias in entity.aliases:
            candidates[alias.name].append((alias.count, entity.id))

    def vote(document: Document) -> list[str]:
        support: dict[str, set[int]] = defaultdict(set)
        for i, mention in enumerate(document.text_mentions):
            for _, candidate in candidates[mention.text]:
                for film in films[candidate]:
                    support[film].add(i)
        return [
            max(
                candidates[mention.text],
                key=lambda pair: (max(len(support[film] - {i}) for film in films[pair[1]]), pair[0]),
            )[1]
            for i, mention in enumerate(document.text_mentions)
        ]

    total = prior = voted = oracle = 0
    for document in world.documents[split]:
        for mention, choice in zip(document.text_mentions, vote(document), strict=True):
            total += 1
            prior += max(candidates[mention.text])[1] == mention.entity
            voted += choice == mention.entity
            oracle += any(candidate == mention.entity for _, candidate in candidates[mention.text])
    return Accuracy(prior / total, voted / total, oracle / total)


@pytest.mark.parametrize("seed", range(3))
def test_a_world_needs_more_than_counts_and_more_than_votes(seed: int) -> None:
    found = accuracy(generate(seed=seed), "train")
    assert 0.42 < found.prior < 0.62
    assert 0.80 < found.vote < 0.90
    assert found.oracle == 1


def test_ambiguity_makes_it_harder() -> None:
    worlds = [generate(difficulty=Difficulty(ambiguity=ambiguity)) for ambiguity in (0.0, 0.5, 1.0)]
    easy, usual, hard = (accuracy(world, "train") for world in worlds)
    assert easy.prior > usual.prior > hard.prior
    assert easy.vote > usual.vote > hard.vote
    assert easy.vote > 0.93


def test_the_world_has_what_makes_films_hard_to_tell_apart() -> None:
    world = generate()
    by_type: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entity in world.entities:
        for alias in entity.aliases:
            by_type[entity.type][alias.name].add(entity.id)
    films, characters = by_type["film"], by_type["character"]
    assert sum(name in characters for name in films) > 10
    assert sum(len(owners) > 1 for owners in films.values()) > 10
    assert max(map(len, characters.values())) > 20
    sequels = [entity for entity in world.entities if entity.type == "film" and entity.title.endswith(" 2")]
    assert sequels
    shared = {link for entity in sequels for link in entity.links if link.startswith("C")}
    assert any(sum(link[0] == "F" for link in entity.links) == 2 for entity in world.entities if entity.id in shared)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"films": 5}, "films is 5; 3 splits need at least 6"),
        ({"documents": {"train": -1}}, "counts are 0 or more"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strangers": -0.1}, "pictures: strangers is -0.1; allowed: 0 to 1"),
        ({"strangers": 0.6, "unknown": 0.6}, "strangers and unknown are more than 1 together"),
        ({"most": -1}, "pictures: most is -1; allowed: 0 or more"),
    ],
)
def test_bad_pictures(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pictures(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"face_noise": 1.5}, "difficulty: face_noise is 1.5; allowed: 0 to 1"),
        ({"ambiguity": -0.5}, "difficulty: ambiguity is -0.5; allowed: 0 to 1"),
        ({"alone": float("nan")}, "difficulty: alone is nan; allowed: 0 to 1"),
        ({"unrelated": -1}, "difficulty: unrelated is -1; allowed: 0 or more"),
    ],
)
def test_bad_difficulties(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Difficulty(**arguments)  # type: ignore[arg-type]
