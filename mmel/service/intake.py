"""From the bytes of a request to a document: everything is measured while it is read, nothing of it is trusted.

A body is a form (`text`, `title`, `pictures`) or a JSON document of the project's own form without pictures. Pictures
lie in the request's own folder under numbers; names and paths of the caller's are only ever repeated, never opened.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mmel.document import Document
from mmel.errors import InputError, did_you_mean
from mmel.formats.jsonl import parse_document
from mmel.formats.records import Place, parse_object
from mmel.pictures import load_picture
from mmel.service.limits import Limits

FIELDS = ("text", "title", "pictures")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_TYPES = ("multipart/form-data", "application/json")
_HEADER = 8192  # bytes of the headers of a part
_NAME = 120  # characters of a file's name that are repeated
_SCANS = 64  # of a progressive JPEG; each costs as much as a picture, whatever its few bytes
_LINGER = 5.0  # seconds
_JSON_FORM = 'a document is {"text": "...", "title": "...", "text_mentions": [{"start", "end", "text"}]}'


@dataclass(frozen=True, slots=True)
class Submission:
    """A document whose `images` are files of the service, and the caller's names of them."""

    document: Document
    names: Mapping[str, str] = field(default_factory=dict)


async def read_submission(request: Request, folder: Path, limits: Limits) -> Submission:
    """The document in the body of a request.

    Args:
        folder: where the pictures are written; the document names them relative to what it lies in.

    Raises:
        HTTPException 400, 413, 415 or 422 with the reason. Pictures are not looked into: see `check_picture`.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limits.request_bytes:
        refusal = _too_large(limits.request_bytes)
        if "expect" not in request.headers:  # who asks first has not sent anything yet
            await _linger(request.stream(), limits.request_bytes)
        raise refusal
    stream = request.stream()
    try:
        if kind == b"application/json":
            return _submitted(await _read_json(stream, limits), folder, limits)
        if kind == b"multipart/form-data":
            return _submitted(await _read_form(stream, options.get(b"boundary", b""), folder, limits), folder, limits)
        raise HTTPException(
            415, f"the content type is '{_printable(kind.decode('latin-1'))}'; allowed: {', '.join(_TYPES)}"
        )
    except HTTPException:
        await _linger(stream, limits.request_bytes)
        raise


def check_picture(path: Path, name: str, pixels: int) -> None:
    """Read a picture once; HTTPException 413 or 422 with its name where it is too large, broken or no picture."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            (width, height), kind = image.size, image.format
    except Exception as error:  # Pillow's decoders answer broken bytes with many kinds of errors
        if isinstance(error, Image.DecompressionBombError):
            raise HTTPException(413, f"picture '{name}': more than {pixels:,} pixels") from error
        raise HTTPException(422, f"picture '{name}' is no readable {', '.join(FORMATS)}") from error
    if width * height > pixels:
        raise HTTPException(413, f"picture '{name}': {width} x {height} pixels are more than the {pixels:,} allowed")
    if kind in ("JPEG", "MPO") and path.read_bytes().count(b"\xff\xda") > _SCANS:
        raise HTTPException(422, f"picture '{name}': more than {_SCANS} scans")
    try:
        load_picture(path, pixels)
    except InputError as error:
        raise HTTPException(422, f"picture '{name}' {str(error).removeprefix(f'{path}: ')}") from error


def picture_file(number: int) -> str:
    """What the picture of a number, from 1, is called in the folder of its request."""
    return f"picture-{number}"


# --- bodies ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Body:
    """What a body holds. `names`: the caller's of the pictures 0, 1, ..."""

    document: Document
    names: list[str] = field(default_factory=list)


def _submitted(body: _Body, folder: Path, limits: Limits) -> Submission:
    document = body.document
    for name, value, most in (
        ("text", document.text, limits.characters),
        ("title", document.title, limits.title),
        ("text_mentions", document.text_mentions, limits.mentions),
    ):
        if len(value) > most:
            raise HTTPException(413, f"field '{name}': {len(value):,} are more than the {most:,} allowed")
    if not document.text.strip() and not body.names:
        raise HTTPException(422, "there is nothing to link. Remedy: give a text, pictures, or both")
    images = [f"{folder.name}/{picture_file(number)}" for number in range(1, len(body.names) + 1)]
    return Submission(
        Document(
            document.id,
            document.text,
            document.title,
            text_mentions=document.text_mentions,
            extra=document.extra,
            images=tuple(images),
        ),
        dict(zip(images, body.names, strict=True)),
    )


async def _read_json(stream: AsyncIterator[bytes], limits: Limits) -> _Body:
    content = bytearray()
    async for chunk in stream:
        content += chunk
        if len(content) > limits.json_bytes:
            raise _too_large(limits.json_bytes)
    place = Place("document", 0, _JSON_FORM)
    try:
        record = parse_object(_decoded(bytes(content), "the body"), place)
        given = [name for name in ("images", "visual_mentions") if record.get(name)]
        if given:
            raise HTTPException(
                422,
                f"field '{given[0]}': pictures are not read from paths. Remedy: upload them as 'pictures' of a form",
            )
        # What is kept of a document must be fit to be written again: 1e999 and half a surrogate pair are not.
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
        document = parse_document({"id": "document"} | record, place)
        document.check_spans("document")
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"document: holds what cannot be written as JSON: {error}") from error
    return _Body(document)


async def _read_form(stream: AsyncIterator[bytes], boundary: bytes, folder: Path, limits: Limits) -> _Body:
    form, read = _Form(folder, limits), 0
    try:
        if not boundary:
            raise HTTPException(400, "the content type of the form names no boundary")
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in stream:
            read += len(chunk)
            if read > limits.request_bytes:
                raise _too_large(limits.request_bytes)
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"is no form that can be read: {error}") from error
    finally:
        form.close()
    if not form.ended:
        raise HTTPException(400, "the form ends before its last boundary")
    text, title = (_decoded(bytes(form.values.get(name, b"")), f"field '{name}'") for name in ("text", "title"))
    return _Body(Document("document", text, title), form.names)


class _Form:
    """Takes the parts of a form as they come: pictures into files, the rest into memory."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.values: dict[str, bytearray] = {}
        self.names: list[str] = []
        self.ended = False
        self._folder, self._limits = folder, limits
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._name = ""
        self._picture: IO[bytes] | None = None
        self._written, self._unnamed = 0, False

    def callbacks(self) -> dict[str, object]:
        """For python-multipart's parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header(self._field, data[start:end]),
            "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def close(self) -> None:
        """Close the file of the part that is being read."""
        if self._picture is not None:
            self._picture.close()
            self._picture = None

    def _begin(self) -> None:
        self._headers, self._written = {}, 0

    def _header(self, part: bytearray, data: bytes) -> None:
        part += data
        if len(part) + sum(map(len, self._headers.values())) > _HEADER:
            raise HTTPException(400, "the headers of a part of the form are too long")

    def _end_header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace").removesuffix("[]")
        if self._name not in FIELDS:
            name = _printable(self._name)
            raise HTTPException(422, f"the form has a field '{name}'.{did_you_mean(name, FIELDS)}")
        if self._name == "pictures":
            self._unnamed = not options.get(b"filename")
            self.names.append(self._file_name(options.get(b"filename", b"")))
            if len(self.names) > self._limits.pictures:
                raise HTTPException(413, f"more pictures than the {self._limits.pictures} allowed")
            self._picture = open(self._folder / picture_file(len(self.names)), "xb")
        elif self._name in self.values:
            raise HTTPException(422, f"the form has the field '{self._name}' twice")
        else:
            self.values[self._name] = bytearray()

    def _take(self, data: bytes) -> None:
        self._written += len(data)
        if self._picture is not None:
            if self._written > self._limits.picture_bytes:
                raise HTTPException(
                    413, f"picture '{self.names[-1]}': more than the {self._limits.picture_bytes:,} bytes allowed"
                )
            self._picture.write(data)
            return
        most = self._limits.characters if self._name == "text" else self._limits.title
        # No character has more than four bytes.
        if self._written > 4 * most:
            raise HTTPException(413, f"field '{self._name}': more than the {most:,} characters allowed")
        self.values[self._name] += data

    def _file_name(self, path: bytes) -> str:
        """The last part of a path, fit to be repeated, and no other picture's."""
        name = _printable(re.split(r"[/\\]", path.decode("utf-8", "replace"))[-1])
        number = len(self.names) + 1
        if not name:
            return f"picture {number}"
        return name if name not in self.names else f"{name} ({number})"

    def _end_part(self) -> None:
        if self._picture is not None and self._unnamed and not self._written:
            # What a browser sends where no file was chosen.
            Path(self._picture.name).unlink()
            self.names.pop()
        self.close()

    def _end(self) -> None:
        self.ended = True


# --- words ----------------------------------------------------------------------------------------------------------


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the request has more than the {most:,} bytes allowed")


async def _linger(stream: AsyncIterator[bytes], most: int) -> None:
    """Read on for a while: who is still writing would not see the answer of a connection that closes."""

    async def drop() -> None:
        read = 0
        async for chunk in stream:
            read += len(chunk)
            if read > most:
                return

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), _LINGER)


def _decoded(content: bytes, what: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(
            422, f"{what} is not UTF-8: byte 0x{content[error.start]:02x} at byte {error.start}"
        ) from error


def _printable(text: str) -> str:
    kept = "".join(c if c.isprintable() else "�" for c in text.strip())
    return kept if len(kept) <= _NAME else f"{kept[: _NAME - 1]}…"
