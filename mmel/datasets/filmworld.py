"""A generated film world: a knowledge base of films, people and characters, and reviews that speak of them.

Names are made so that a count alone often misleads: first names are shared by many characters, titles are those of
characters, remakes repeat every name with other actors, sequels share their characters, families share a surname,
sailors are all called Skipper. What tells entities apart is what tells people: the rest of the review (whose cast
is this?), a director, actor, year or place, and what somebody does for a living.

Everything follows from the seed through `random.Random.random()`, the one draw that Python promises never to change,
so that a seed means the same world on every machine. A document has its own seed and is made when it is asked for.

Everybody who acts has a face (`mmel.datasets.portraits`), profile pictures in the knowledge base and more pictures in
the reviews; a character has the face of the actor. Pictures are named here and drawn by `FilmWorld.draw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, product
from pathlib import Path

from mmel.datasets import filmwords as words
from mmel.datasets.dice import Dice
from mmel.document import NIL, Alias, Document, Entity, TextMention, VisualMention
from mmel.errors import ConfigError
from mmel.formats.jsonl import write_documents, write_entities
from mmel.progress import progress

# Raised when the same arguments begin to make another world or other pictures.
EDITION = 4
SPLITS: Mapping[str, int] = {"train": 600, "val": 100, "test": 100}
# How much of a film its cast carries, the leading role first.
ROLES = (1.0, 0.8, 0.6, 0.45, 0.35, 0.25, 0.2)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes the reviews of a world hard to link; the defaults are the sample's.

    Everything but `ambiguity` leaves the words of the reviews as they are, and a larger `alone` or `unrelated` only
    takes away from, or adds to, what a smaller one leaves.
    """

    # How much two pictures of a person differ, from 0, all alike, to 1, hardly to be told: pose, light, age, what
    # covers the face.
    face_noise: float = 0.25
    # From 0 to 1: how many characters share a name, how often a film is made again, how seldom a review gives hints.
    ambiguity: float = 0.5
    # Of the people who are both named and on a picture of a review, the share of whom either the mentions of their
    # names or the pictures are left out, so that those that are left have no partner.
    alone: float = 0.0
    # More pictures of each review, of people who have nothing to do with its films: half of them actors of other films,
    # half of them not in the knowledge base (NIL).
    unrelated: int = 0

    def __post_init__(self) -> None:
        for name in ("face_noise", "ambiguity", "alone"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"difficulty: {name} is {getattr(self, name)}; allowed: 0 to 1")
        if self.unrelated < 0:
            raise ConfigError(f"difficulty: unrelated is {self.unrelated}; allowed: 0 or more")


@dataclass(frozen=True, slots=True)
class Pictures:
    """How many pictures a review has, and of whom; shares are probabilities a picture."""

    # A review has 0 to `most` pictures, each number as often.
    most: int = 4
    # Of an actor of another film, and of somebody who is not in the knowledge base (NIL).
    strangers: float = 0.1
    unknown: float = 0.0

    def __post_init__(self) -> None:
        for name in ("strangers", "unknown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"pictures: {name} is {getattr(self, name)}; allowed: 0 to 1")
        if self.strangers + self.unknown > 1:
            raise ConfigError("pictures: strangers and unknown are more than 1 together")
        if self.most < 0:
            raise ConfigError(f"pictures: most is {self.most}; allowed: 0 or more")


@dataclass(frozen=True, slots=True)
class FilmWorld:
    """The knowledge base and, for every split, its documents; they can be iterated again and again."""

    entities: list[Entity]
    documents: dict[str, Reviews]
    seed: int
    difficulty: Difficulty

    def pictures(self) -> Iterator[tuple[str, str]]:
        """`(name, whose)` of every picture: first the profiles, then those of the reviews.

        `whose` is the id of a person, or the picture's own name where nobody knows who it is.
        """
        for entity in self.entities:
            for image in entity.images:
                yield image, entity.id
        for reviews in self.documents.values():
            for document in reviews:
                for mention in document.visual_mentions:
                    known = mention.entity not in (None, NIL)
                    yield mention.image, str(mention.entity) if known else mention.image

    def save(self, folder: str | Path) -> None:
        """Write records and documents as a folder of the dataset `movies`, all but the pictures."""
        write_entities(Path(folder, "kb.jsonl"), self.entities)
        for split, reviews in self.documents.items():
            write_documents(Path(folder, f"documents.{split}.jsonl"), reviews)

    def draw(self, folder: str | Path) -> int:
        """Draw every picture into `folder`, as JPEG under its name; the number drawn (about 2 ms each)."""
        from mmel.datasets.portraits import draw, make_face, make_shot

        count = 0
        for name, whose in progress(self.pictures(), "film world", unit="picture"):
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            # The women among the people have the odd numbers, see `_Studio`.
            woman = None if whose == name else int(whose[1:]) % 2 == 1
            face = make_face(f"mmel film face {self.seed} {whose}", woman)
            shot = make_shot(f"mmel film picture {self.seed} {name}", self.difficulty.face_noise)
            draw(face, shot).save(path, quality=90)
            count += 1
        return count


def generate(
    films: int = 200,
    documents: Mapping[str, int] | None = None,
    seed: int = 0,
    difficulty: Difficulty | None = None,
    pictures: Pictures | None = None,
) -> FilmWorld:
    """Make a world of `films` films and, by split, as many reviews as `documents` says.

    Splits share no film and no character: remakes and sequels go where the first film goes. Actors they may share, but
    no picture. `pictures` changes neither the records' nor the reviews' words.

    Raises:
        ConfigError: an argument out of its range.
    """
    difficulty, pictures = difficulty or Difficulty(), pictures or Pictures()
    counts = dict(SPLITS if documents is None else documents)
    if films < 2 * len(counts):
        raise ConfigError(f"films is {films}; {len(counts)} splits need at least {2 * len(counts)}")
    if any(count < 0 for count in counts.values()):
        raise ConfigError(f"documents is {counts}; counts are 0 or more")
    dice = Dice(f"mmel film world {seed}")
    franchises = _Studio(films, len(counts), difficulty.ambiguity, dice).franchises
    made = [film for franchise in franchises for film in franchise]
    actors = sorted({character.actor.id for film in made for character in film.cast})
    photographer = _Photographer(pictures, actors)
    reviews = {
        split: Reviews(part, counts[split], f"mmel film review {seed} {split}", split, difficulty, photographer)
        for split, part in _divide(franchises, counts).items()
    }
    return FilmWorld(list(_entities(made, seed)), reviews, seed, difficulty)


@dataclass(eq=False, slots=True)
class _Person:
    id: str
    first: str
    last: str
    directs: bool = False
    films: list[_Film] = field(default_factory=list)
    characters: list[_Character] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


@dataclass(eq=False, slots=True)
class _Character:
    id: str
    first: str
    last: str
    woman: bool
    job: str
    nickname: str
    actor: _Person
    role: float
    films: list[_Film] = field(default_factory=list)
    # (what the other is to this one, the other)
    family: tuple[str, _Character] | None = None

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}" if self.last else self.first


@dataclass(eq=False, slots=True)
class _Film:
    id: str
    title: str
    year: int
    genre: str
    place: str
    director: _Person
    cast: list[_Character]
    weight: float
    bare: str = ""
    again: bool = False

    @property
    def page(self) -> str:
        """Title of the KB record: the year tells a film from others of its title."""
        return f"{self.title} ({self.year} film)" if self.again else self.title


def _name_pool(size: int, base: Sequence[str], ends: Sequence[str], dice: Dice) -> list[str]:
    """`size` first names: those there are, then made ones."""
    made = ["".join(parts) for parts in product(words.NAME_STARTS, words.NAME_MIDDLES, ends)]
    return [*dice.sample(base, len(base)), *dice.sample(made, max(0, size - len(base)))][:size]


class _Studio:
    """Makes franchises (a film, perhaps its remake and its sequel) until there are enough films."""

    def __init__(self, films: int, least: int, ambiguity: float, dice: Dice) -> None:
        self.dice = dice
        self.ambiguity = ambiguity
        self.made = 0
        self.characters = 0
        # Pools grow with the world, so that a name has as many bearers in a large one as in a small one.
        characters = films * 5.5
        names = max(6, round(characters / 2 / (2 + 10 * ambiguity)))
        self.women = _name_pool(names, words.WOMEN, words.WOMEN_ENDS, dice)
        self.men = _name_pool(names, words.MEN, words.MEN_ENDS, dice)
        parts = product(words.SURNAME_PREFIXES, words.SURNAME_STARTS, words.SURNAME_ENDS)
        surnames = ["".join(part) for part in parts]
        self.surnames = dice.sample(surnames, max(12, round(characters / (2 + 6 * ambiguity))))
        self.people = [
            _Person(f"P{i:06d}", dice.pick_early(self.women if i % 2 else self.men), dice.pick(surnames))
            for i in range(max(12, films * 2))
        ]
        self.directors = self.people[:: max(2, len(self.people) // max(2, films // 3))]
        self.franchises: list[list[_Film]] = []
        while self.made < films:
            # The last films stay single, so that every split can have a franchise of its own.
            single = films - self.made <= 2 * (least - len(self.franchises))
            self.franchises.append(self._franchise(single or films - self.made < 3))

    def _franchise(self, single: bool) -> list[_Film]:
        dice = self.dice
        cast = [self._character(i) for i in range(4 + dice.index(len(ROLES) - 3))]
        self._relate(cast)
        first = self._film(self._title(cast[0]), 1930 + dice.index(70), cast)
        films = [first]
        if not single and dice.chance(0.1 + 0.3 * self.ambiguity):
            films.append(self._remake(first))
        if not single and dice.chance(0.15):
            films.append(self._sequel(first))
        titles = [film.title for film in films]
        for film in films:
            film.again = titles.count(film.title) > 1
        return films

    def _film(self, title: str, year: int, cast: list[_Character]) -> _Film:
        dice = self.dice
        pull = 1 / (0.03 + dice.random())
        film = _Film(
            f"F{self.made:06d}",
            title,
            year,
            dice.pick(tuple(words.GENRES)),
            dice.pick(words.PLACES),
            dice.pick(self.directors),
            cast,
            pull,
            bare=title,
        )
        self.made += 1
        film.director.directs = True
        film.director.films.append(film)
        for character in cast:
            character.films.append(film)
            character.actor.films.append(film)
        return film

    def _character(self, role: int) -> _Character:
        dice = self.dice
        woman = dice.chance(0.5)
        job = dice.pick(tuple(words.JOBS))
        nickname = ""
        if dice.chance(0.25):
            nickname = words.JOB_NICKNAMES.get(job) or dice.pick(words.NICKNAMES)
        return self._cast(
            dice.pick_early(self.women if woman else self.men),
            "" if dice.chance(0.1) else dice.pick(self.surnames),
            woman,
            job,
            nickname,
            ROLES[role],
        )

    def _cast(self, first: str, last: str, woman: bool, job: str, nickname: str, role: float) -> _Character:
        actor = self.dice.pick_early(self.people)
        character = _Character(f"C{self.characters:06d}", first, last, woman, job, nickname, actor, role)
        self.characters += 1
        actor.characters.append(character)
        return character

    def _relate(self, cast: list[_Character]) -> None:
        """Give some of the cast a relative or friend; relatives may share the surname."""
        for i in range(len(cast) - 1):
            if self.dice.chance(0.45):
                one, other = cast[i], cast[i + 1]
                woman, man, same_name = self.dice.pick(words.RELATIONS)
                one.family = (woman if other.woman else man, other)
                if same_name and one.last and other.last:
                    other.last = one.last

    def _title(self, lead: _Character) -> str:
        dice = self.dice
        if dice.chance(0.1 + 0.2 * self.ambiguity):
            return lead.last if lead.last and dice.chance(0.3) else lead.first
        return dice.pick(words.TITLE_SHAPES).format(
            adjective=dice.pick(words.TITLE_ADJECTIVES),
            noun=dice.pick(words.TITLE_NOUNS),
            place=dice.pick(words.PLACES),
        )

    def _remake(self, first: _Film) -> _Film:
        """The same title and names a generation later: other actors, another place, some other jobs."""
        dice = self.dice
        cast = [
            self._cast(
                old.first,
                old.last,
                old.woman,
                dice.pick(tuple(words.JOBS)) if dice.chance(0.5) else old.job,
                old.nickname,
                old.role,
            )
            for old in first.cast
        ]
        for old, new in zip(first.cast, cast, strict=True):
            if old.family:
                new.family = (old.family[0], cast[first.cast.index(old.family[1])])
        return self._film(first.title, first.year + 12 + dice.index(30), cast)

    def _sequel(self, first: _Film) -> _Film:
        """The same characters and actors, with some new ones; `bare` is how people call it for short."""
        kept = first.cast[: 2 + self.dice.index(3)]
        new = [self._character(len(kept) + i) for i in range(len(ROLES) - len(kept) - self.dice.index(2))]
        film = self._film(f"{first.title} 2", first.year + 1 + self.dice.index(5), kept + new)
        film.bare = first.title
        return film


def _divide(franchises: Sequence[list[_Film]], counts: Mapping[str, int]) -> dict[str, list[list[_Film]]]:
    """Give every franchise to one split, in the shares the document counts have, none below a tenth."""
    total = sum(counts.values()) or 1
    shares = {split: max(count / total, 0.1) for split, count in counts.items()}
    parts: dict[str, list[list[_Film]]] = {split: [] for split in counts}
    # From the most to the least seen, to the split that lags most behind its share: every split gets its stars.
    ranked = sorted(franchises, key=lambda franchise: -franchise[0].weight)
    for left, franchise in zip(range(len(ranked), 0, -1), ranked, strict=True):
        empty = [split for split, part in parts.items() if not part]
        open_to = empty if left <= len(empty) else list(parts)
        parts[max(open_to, key=lambda split: shares[split] * (len(ranked) - left + 1) - len(parts[split]))].append(
            franchise
        )
    return parts


def _count(*factors: float) -> int:
    value = 12.0
    for factor in factors:
        value *= factor
    return 1 + int(value)


def _entities(films: Sequence[_Film], seed: int) -> Iterator[Entity]:
    """The records: films, then characters, then people, each linked to the others it has to do with."""
    characters: dict[str, _Character] = {}
    people: dict[str, _Person] = {}
    for film in films:
        people[film.director.id] = film.director
        for character in film.cast:
            characters[character.id] = character
            people[character.actor.id] = character.actor
        yield _film_entity(film)
    yield from map(_character_entity, characters.values())
    for person in sorted(people.values(), key=lambda person: person.id):
        yield _person_entity(person, _profiles(person, seed))


def _film_entity(film: _Film) -> Entity:
    leads = " and ".join(character.actor.name for character in film.cast[:2])
    counts = {film.page: 1, film.title: _count(film.weight, 2.0)}
    if film.bare != film.title:
        counts[film.bare] = _count(film.weight, 0.5)
    return _entity(
        film.id,
        film.page,
        "film",
        f"{film.title} is a {film.year} {film.genre} film set in {film.place}, directed by {film.director.name} "
        f"and starring {leads}.",
        counts,
        [x for c in film.cast for x in (c.id, c.actor.id)] + [film.director.id],
    )


def _character_entity(character: _Character) -> Entity:
    film = character.films[0]
    pull = sum(other.weight for other in character.films) * character.role
    counts = {character.first: _count(pull)}
    if character.last:
        counts[character.name] = _count(pull, 0.3)
        counts[character.last] = _count(pull, 0.25)
    if character.nickname:
        counts[character.nickname] = _count(pull, 0.2)
    relation = f", {character.family[0]} {character.family[1].name}" if character.family else ""
    return _entity(
        character.id,
        f"{character.name} ({film.page})",
        "character",
        f"Character in {film.title} ({film.year}), a {character.job}{relation}, played by {character.actor.name}.",
        counts,
        [*(other.id for other in character.films), character.actor.id],
    )


def _profiles(person: _Person, seed: int) -> tuple[str, ...]:
    """Names of the one to three pictures of somebody who acts."""
    count = 1 + Dice(f"mmel film profile {seed} {person.id}").index(3) if person.characters else 0
    return tuple(f"images/people/{person.id}-{i}.jpg" for i in range(count))


def _person_entity(person: _Person, images: tuple[str, ...]) -> Entity:
    pull = 0.4 * sum(film.weight for film in person.films)
    films = " and ".join(f"{film.title} ({film.year})" for film in person.films[:2])
    job = "Film director" if person.directs else "Actor"
    return _entity(
        person.id,
        person.name,
        "person",
        f"{job}, known for {films}.",
        {person.name: _count(pull), person.last: _count(pull, 0.3), person.first: _count(pull, 0.02)},
        [*(film.id for film in person.films), *(character.id for character in person.characters)],
        images,
    )


def _entity(
    id: str,
    title: str,
    type: str,
    description: str,
    counts: dict[str, int],
    links: list[str],
    images: tuple[str, ...] = (),
) -> Entity:
    aliases = tuple(Alias(name, count) for name, count in counts.items())
    links = list(dict.fromkeys(links))
    return Entity(id, title, type, description, aliases, images, tuple(links), popularity=sum(counts.values()))


class _Photographer:
    """Says who is on the pictures of a review; draws nothing."""

    def __init__(self, pictures: Pictures, actors: Sequence[str]) -> None:
        self._pictures = pictures
        self._actors = actors

    def visit(self, films: Sequence[_Film], document: str, dice: Dice) -> tuple[VisualMention, ...]:
        """The pictures of a review: mostly of the cast, the leading roles more often, some people twice."""
        cast = [character for film in films for character in film.cast]
        cumulative = list(accumulate(character.role for character in cast))
        mentions = []
        for number in range(dice.index(self._pictures.most + 1)):
            roll, whose = dice.random(), cast[dice.weighted(cumulative)].actor.id
            if roll < self._pictures.strangers:
                whose = dice.pick(self._actors)
            elif roll < self._pictures.strangers + self._pictures.unknown:
                whose = NIL
            mentions.append(VisualMention(_image(document, number), entity=whose))
        return tuple(mentions)

    def elsewhere(self, films: Sequence[_Film], names: Iterable[str], dice: Dice) -> tuple[VisualMention, ...]:
        """Pictures, called by `names`, of people whom a review of these films has no reason to show."""
        here = {person.id for film in films for person in (film.director, *(c.actor for c in film.cast))}
        others = [actor for actor in self._actors if actor not in here] or [NIL]
        return tuple(VisualMention(name, entity=dice.pick(others) if dice.chance(0.5) else NIL) for name in names)


def _image(document: str, number: int) -> str:
    return f"images/documents/{document}-{number}.jpg"


def _part(
    names: Sequence[TextMention], pictures: Sequence[VisualMention], films: Sequence[_Film], share: float, dice: Dice
) -> tuple[tuple[TextMention, ...], tuple[VisualMention, ...]]:
    """Leave out the names, or the pictures, of a `share` of those who have both."""
    actors = {character.id: character.actor.id for film in films for character in film.cast}
    whose = [actors.get(str(name.entity), name.entity) for name in names]
    unnamed, unseen = set[str](), set[str]()
    for person in sorted({str(picture.entity) for picture in pictures} & set(map(str, whose))):
        # Both draws for everybody: those who are parted at a small share are at a larger one, too.
        parted, names_go = dice.chance(share), dice.chance(0.5)
        if parted:
            (unnamed if names_go else unseen).add(person)
    return (
        tuple(name for name, person in zip(names, whose, strict=True) if person not in unnamed),
        tuple(picture for picture in pictures if picture.entity not in unseen),
    )


class Reviews:
    """The reviews of one split. Each is made from its own seed when it is iterated: any number costs no memory."""

    def __init__(
        self,
        franchises: list[list[_Film]],
        count: int,
        seed: str,
        split: str,
        difficulty: Difficulty,
        photographer: _Photographer,
    ) -> None:
        self._franchises = franchises
        self._count = count
        self._seed = seed
        self._split = split
        self._difficulty = difficulty
        self._photographer = photographer
        self._films = [film for franchise in franchises for film in franchise]
        self._cumulative = list(accumulate(film.weight for film in self._films))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Document]:
        for number in range(self._count):
            dice = Dice(f"{self._seed} {number}")
            films = [self._films[dice.weighted(self._cumulative)]]
            if dice.chance(0.25) and len(self._films) > 1:
                films.append(self._second(films[0], dice))
            writer = _Reviewer(dice, self._difficulty.ambiguity)
            for i, film in enumerate(films):
                writer.review(film, alone=len(films) == 1, second=i > 0)
            yield self._illustrated(writer, films, f"{self._split}-{number:06d}", f"{self._seed} {number}")

    def _illustrated(self, writer: _Reviewer, films: Sequence[_Film], id: str, seed: str) -> Document:
        # Dice of their own, so that other pictures leave the words as they are.
        pictures = self._photographer.visit(films, id, Dice(f"{seed} pictures"))
        extra = range(len(pictures), len(pictures) + self._difficulty.unrelated)
        names, pictures = _part(writer.mentions, pictures, films, self._difficulty.alone, Dice(f"{seed} alone"))
        images = (_image(id, number) for number in extra)
        pictures += self._photographer.elsewhere(films, images, Dice(f"{seed} unrelated"))
        return Document(id, writer.text, text_mentions=names, visual_mentions=pictures)

    def _second(self, first: _Film, dice: Dice) -> _Film:
        """Another film for a double review, sometimes the other version of the first."""
        if first.again and dice.chance(0.3):
            family = next(franchise for franchise in self._franchises if first in franchise)
            others = [film for film in family if film is not first]
        else:
            others = self._films
        film = first
        while film is first:
            film = dice.pick(others)
        return film


_SLOT = re.compile(r"\{(\w+)\}")


@cache
def _cut(template: str) -> list[str]:
    """The words of a template at even places, its slots at odd ones."""
    return _SLOT.split(template)


class _Reviewer:
    """Writes one document, sentence by sentence, and keeps where the mentions are."""

    def __init__(self, dice: Dice, ambiguity: float) -> None:
        self._dice = dice
        self._ambiguity = ambiguity
        self._parts: list[str] = []
        self._length = 0
        self.mentions: list[TextMention] = []
        self._styles: dict[str, str] = {}

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def review(self, film: _Film, alone: bool, second: bool) -> None:
        """A few sentences on one film."""
        dice = self._dice
        cumulative = list(accumulate(character.role for character in film.cast))
        if second:
            self._say(dice.pick(words.TURNS), film, film.cast[0])
        if dice.chance(0.8):
            self._say(dice.pick(words.OPENINGS), film, film.cast[0])
        for kind in self._hints():
            templates = words.GENRES[film.genre] if kind == "genre" else words.HINTS[kind]
            self._say(dice.pick(templates), film, film.cast[dice.weighted(cumulative)])
        for _ in range((2 if alone else 1) + dice.index(4 if alone else 3)):
            main = film.cast[dice.weighted(cumulative)]
            self._say(self._scene(main), film, main)
        if dice.chance(0.4):
            self._say(dice.pick(words.CLOSINGS), film, film.cast[0])

    def _hints(self) -> list[str]:
        kinds = self._dice.sample(tuple(words.HINTS), 2)
        chances = (1 - 0.4 * self._ambiguity, 0.6 - 0.5 * self._ambiguity)
        return [kind for kind, chance in zip(kinds, chances, strict=True) if self._dice.chance(chance)]

    def _scene(self, main: _Character) -> str:
        dice = self._dice
        roll = dice.random()
        if roll < 0.4:
            return dice.pick(words.JOBS[main.job])
        if roll < 0.5:
            return dice.pick(words.JOB_NAMED)
        if roll < 0.65 and main.family:
            return dice.pick(words.FAMILY)
        return dice.pick(words.SCENES)

    def _say(self, template: str, film: _Film, main: _Character) -> None:
        """Fill a template's slots; a slot that is a name becomes a mention."""
        other = self._other(template, film.cast, main)
        if self._length:
            self._add(" ")
        for i, piece in enumerate(_cut(template)):
            if i % 2 == 0:
                self._add(piece)
            elif piece in _NAMES:
                self._name(*self._surface(piece, film, main, other))
            else:
                self._add(_plain(piece, film, main))

    def _other(self, template: str, cast: Sequence[_Character], main: _Character) -> _Character:
        if "{relation}" in template and main.family:
            return main.family[1]
        return self._dice.pick([character for character in cast if character is not main])

    def _surface(self, slot: str, film: _Film, main: _Character, other: _Character) -> tuple[str, str]:
        """`(surface, entity)` of a slot."""
        if slot == "film":
            short = film.bare != film.title and self._dice.chance(0.3)
            return (film.bare if short else film.title), film.id
        if slot in ("actor", "director"):
            person = main.actor if slot == "actor" else film.director
            return (person.last if self._dice.chance(0.4) else person.name), person.id
        character = main if slot == "a" else other
        return self._character_surface(character), character.id

    def _character_surface(self, character: _Character) -> str:
        """A review keeps to one form of a name, most often the first name, and strays from it now and then."""
        surfaces = {"first": character.first}
        if character.last:
            surfaces.update(full=character.name, last=character.last)
        if character.nickname:
            surfaces["nickname"] = character.nickname
        dice = self._dice
        style = self._styles.get(character.id, "")
        if style not in surfaces or dice.chance(0.2):
            roll = dice.random() + 0.15 * (self._ambiguity - 0.5)
            style = "full" if roll < 0.12 else "last" if roll < 0.25 else "nickname" if roll < 0.4 else "first"
            self._styles[character.id] = style
        return surfaces.get(style, character.first)

    def _name(self, surface: str, entity: str) -> None:
        self.mentions.append(TextMention(self._length, self._length + len(surface), surface, entity))
        self._add(surface)

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


_NAMES = ("a", "b", "film", "actor", "director")


def _plain(slot: str, film: _Film, main: _Character) -> str:
    """The words of a slot that is no mention."""
    pronouns = {"he": "she", "his": "her", "him": "her"}
    if slot in pronouns:
        return pronouns[slot] if main.woman else slot
    if slot == "relation":
        return main.family[0] if main.family else "friend"
    if slot == "job":
        return main.job
    return str({"year": film.year, "place": film.place, "genre": film.genre}[slot])
