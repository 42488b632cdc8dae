"""Documents as people have them: a text, a folder of texts and pictures, Markdown, or the project's JSON lines.

Documents are read one at a time, in the order of their names. What is wrong with one is counted, and the next is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from mmel.document import Document
from mmel.errors import InputError, SkipReport
from mmel.formats.jsonl import read_placed_documents
from mmel.scoring.decoding import MAX_CHARACTERS, check_length, read_any_text
from mmel.scoring.download import download, is_url

TEXTS, MARKDOWN, JSON_LINES = (".txt", ".text"), (".md", ".markdown"), (".jsonl", ".ndjson")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp")
BAD, TWICE, MISSING, REFUSED = (
    "document cannot be read",
    "id stands twice",
    "picture is missing",
    "picture is refused",
)
_FORMS = "a .txt or .md file, a folder of them with pictures, or documents as .jsonl"


@dataclass(frozen=True)
class InputSettings:
    """How raw input is read.

    Attributes:
        pictures: folder that pictures must be in, and that those of `.jsonl` are relative to; None is the input's own.
        allow_download: fetch pictures that are named by a URL.
        max_characters: of a document.
    """

    pictures: Path | None = None
    allow_download: bool = False
    max_characters: int = MAX_CHARACTERS
    fetch: Callable[[str], Path] = download


class RawInput:
    """The documents of a file or a folder, to be gone through once, or again from the beginning.

    A `.txt` or `.md` file is a document, its name the id. So is the text of a folder that holds no other, together with
    the pictures beside it; the folder's name is its id. Of several texts in a folder each is a document, with the
    pictures whose names begin with its own. Where there is no text at all, a folder of pictures is a document.
    `.jsonl` files hold documents with or without mentions; they are read where they are named themselves.

    A picture outside the folder of pictures is refused, however it is named: links to it can stand in a text that came
    from someone else, and the linked documents and their report, which show what it holds, may go to others.

    Attributes:
        pictures: the folder that the images of documents are relative to.
        skips: what was passed over. notes: what was read otherwise than it stands there, or not looked at.

    Raises:
        InputError: there is nothing at the path, or a file of a kind that is not read.
    """

    def __init__(self, path: Path, settings: InputSettings | None = None) -> None:
        self.path, self.settings = path, settings or InputSettings()
        if not path.exists():
            raise InputError("is not there", file=path, remedy=f"give {_FORMS}")
        if path.is_file() and path.suffix.lower() not in (*TEXTS, *MARKDOWN, *JSON_LINES):
            raise InputError(f"is of a kind that is not read ('{path.suffix}')", file=path, remedy=f"give {_FORMS}")
        # Without links, so that `..` means the same to us as to the system.
        self.pictures = (self.settings.pictures or (path if path.is_dir() else path.parent)).resolve()
        if not self.pictures.is_dir():
            raise InputError("is no folder", file=self.pictures, remedy="give the folder that holds the pictures")
        self.skips, self.notes = SkipReport(), Notes()

    def count(self) -> int:
        """About how many documents there are: texts of a folder, or lines."""
        if self.path.is_dir():
            names = (name for _, _, files in os.walk(self.path) for name in files)
            return sum(name.lower().endswith((*TEXTS, *MARKDOWN)) for name in names)
        if self.path.suffix.lower() in JSON_LINES:
            with open(self.path, "rb") as stream:
                return sum(1 for _ in stream)
        return 1

    def __iter__(self) -> Iterator[Document]:
        self.skips, self.notes = SkipReport(), Notes()
        seen: dict[bytes, str] = {}
        for place, document in self._placed():
            # Eight bytes of a digest: ids can be long, and there can be many.
            key = blake2b(document.id.encode("utf-8"), digest_size=8).digest()
            first = seen.setdefault(key, place)
            if first == place:
                yield document
            else:
                remedy = "give each document an id of its own"
                error = InputError(f"the id '{document.id}' is that of {first}, too", file=place, remedy=remedy)
                self.skips.add(TWICE, str(error))

    def _placed(self) -> Iterator[tuple[str, Document]]:
        """Each document with its place in the input, as errors name it."""
        if self.path.is_dir():
            return self._folder(self.path, texts_only=self.count() > 0)
        if self.path.suffix.lower() in JSON_LINES:
            return self._json_lines()
        return self._tried(self.path, self.path.stem, ())

    def _json_lines(self) -> Iterator[tuple[str, Document]]:
        for place, document in read_placed_documents(self.path, skips=self.skips):
            try:
                check_length(document.text, self.settings.max_characters, self.path, place.line)
                checked = self._with_pictures(document, f"line {place.line}")
                self._check_content(checked, self.path, place.line)
            except InputError as error:
                self.skips.add(BAD, str(error))
                continue
            yield f"line {place.line}", checked

    def _folder(self, folder: Path, texts_only: bool) -> Iterator[tuple[str, Document]]:
        try:
            files, folders = _listed(folder)
        except InputError as error:
            self.skips.add("folder cannot be read", str(error))
            return
        texts = [file for file in files if file.suffix.lower() in (*TEXTS, *MARKDOWN)]
        pictures = [file for file in files if file.suffix.lower() in PICTURES]
        for file in files:
            if file.suffix.lower() not in (*TEXTS, *MARKDOWN, *PICTURES):
                self.notes.add(f"file is neither text nor picture ('{file.suffix}')", str(file))
        if len(texts) == 1:
            yield from self._tried(texts[0], self._id(folder), pictures)
        elif texts:
            yield from self._several(texts, pictures)
        elif pictures and texts_only:
            self.notes.add("folder holds pictures and no text; they are read where a text links to them", str(folder))
        elif pictures:
            yield from self._tried(None, self._id(folder), pictures)
        for each in folders:
            yield from self._folder(each, texts_only)

    def _several(self, texts: Sequence[Path], pictures: Sequence[Path]) -> Iterator[tuple[str, Document]]:
        stems = {text.stem: text for text in texts}
        owned: dict[Path, list[Path]] = {}
        for picture in pictures:
            owner = max((stem for stem in stems if _begins(picture.stem, stem)), key=len, default=None)
            if owner is None:
                self.notes.add("picture beside several texts has the name of none", str(picture))
            else:
                owned.setdefault(stems[owner], []).append(picture)
        for text in texts:
            yield from self._tried(text, self._id(text.with_suffix("")), owned.get(text, ()))

    def _tried(self, text: Path | None, id: str, pictures: Sequence[Path]) -> Iterator[tuple[str, Document]]:
        place = text or pictures[0].parent
        try:
            yield str(place), self._document(text, id, pictures, place)
        except InputError as error:
            self.skips.add(BAD, str(error))

    def _document(self, text: Path | None, id: str, pictures: Sequence[Path], place: Path) -> Document:
        _check_name(id, self.path)
        content, guessed = ("", None) if text is None else read_any_text(text, self.settings.max_characters)
        if guessed is not None:
            self.notes.add(f"text is not UTF-8 and was read as {guessed}", str(text))
        title, images = "", [self._relative(picture) for picture in pictures]
        if text is not None and text.suffix.lower() in MARKDOWN:
            from mmel.scoring.markdown import read_markdown

            page = read_markdown(content)
            content, title = page.text, page.title
            linked = [_below(image, text.parent, self.pictures) for image in page.images]
            images = list(dict.fromkeys([*linked, *images]))
        extra = {} if guessed is None else {"encoding": guessed}
        document = self._with_pictures(Document(id, content, title, extra=extra, images=tuple(images)), str(place))
        self._check_content(document, place)
        return document

    def _check_content(self, document: Document, file: Path, line: int | None = None) -> None:
        if not document.text.strip() and not document.images and not document.visual_mentions:
            raise InputError(
                "is empty: no text and no picture", file=file, line=line, remedy="leave it out, or write its text"
            )

    def _with_pictures(self, document: Document, place: str) -> Document:
        """The document with the pictures that are there and may be read; the others are counted.

        A mention's picture that is missing stays: its link says that there was nothing to be seen.
        """
        images = [self._picture(image, document, place) for image in document.images]
        regions = [(each, self._picture(each.image, document, place, True)) for each in document.visual_mentions]
        return replace(
            document,
            images=tuple(image for image in images if image is not None),
            visual_mentions=tuple(replace(each, image=image) for each, image in regions if image is not None),
        )

    def _picture(self, image: str, document: Document, place: str, may_miss: bool = False) -> str | None:
        """A picture's path below the folder of pictures, or that of its download; None where it was counted."""
        who = f"document '{document.id}' ({place})"
        try:
            found = self._allowed(image)
        except InputError as error:
            self.skips.add(REFUSED, f"{who}: {error}")
            return None
        if may_miss or os.path.isfile(self.pictures / found):
            return found
        self.skips.add(MISSING, f"{who}: there is no file {self.pictures / found}")
        return None

    def _allowed(self, image: str) -> str:
        if is_url(image):
            if self.settings.allow_download and not image.lower().startswith("data:"):
                return str(self.settings.fetch(image))
            raise InputError(
                f"'{image[:80]}' is no file here, and nothing is fetched unless it is asked for",
                remedy="save the picture beside the text, or give --allow-download where you trust who wrote the text",
            )
        try:
            inside = (self.pictures / image).resolve().is_relative_to(self.pictures)
        except (OSError, ValueError, RuntimeError) as error:  # too long, with a zero byte, links in a circle
            raise InputError(f"{image[:80]!r} is no path ({error})", remedy="mend the path") from error
        if not inside:
            raise InputError(
                f"'{image[:80]}' lies outside '{self.pictures}'; whoever wrote the text could name any file of yours",
                remedy="copy the picture there, or name a folder that holds all of them with --pictures",
            )
        _check_name(image, self.pictures)
        return image

    def _id(self, path: Path) -> str:
        relative = path.relative_to(self.path).as_posix()
        return relative if relative != "." else self.path.resolve().name

    def _relative(self, picture: Path) -> str:
        return Path(os.path.relpath(picture.parent.resolve() / picture.name, self.pictures)).as_posix()


class Notes(Counter[str]):
    """What the caller is to know though nothing was passed over: how often, with the first example of each."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, str] = {}

    def add(self, what: str, example: str) -> None:
        """Count one more."""
        self[what] += 1
        self.examples.setdefault(what, example)

    def lines(self) -> list[str]:
        """One line a note."""
        return [
            f"{count:,} x {what}: {self.examples[what]}{' ...' * (count > 1)}" for what, count in self.most_common()
        ]


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders in a folder, by name; hidden ones are left out."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=folder, remedy="check its permissions") from error
    paths = [folder / name for name in names]
    # A linked folder is not gone into: it may hold the one that it is in.
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
    return [path for path in paths if path.is_file()], folders


def _begins(picture: str, text: str) -> bool:
    """Whether a picture's name is that of a text, alone or with more behind a sign that is no letter or digit."""
    return picture.startswith(text) and not picture[len(text) : len(text) + 1].isalnum()


def _below(image: str, folder: Path, pictures: Path) -> str:
    """A picture as a text in `folder` names it, relative to the folder of pictures."""
    if is_url(image) or Path(image).is_absolute():
        return image
    return Path(os.path.relpath(folder.resolve() / image, pictures)).as_posix()


def _check_name(name: str, folder: Path) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the name {os.fsencode(name)!r} in '{folder}' is not UTF-8", remedy="rename it") from error
