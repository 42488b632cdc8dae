"""Regions of pictures as vectors: decode, find and align the face, encode; ahead on threads, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mmel.detection.align import align_face
from mmel.detection.faces import FaceDetector, Faces, choose_face, resized
from mmel.detection.refine import VIEW_SIDE, refine_landmarks
from mmel.document import Box
from mmel.encoders.cache import Encoding, EncodingCache
from mmel.encoders.images.base import ImageEncoder
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.files import cache_root, sha256_file
from mmel.parallel import map_ahead, tried_ahead
from mmel.pictures import MAX_PIXELS, clip_box, load_picture

if TYPE_CHECKING:
    from PIL.Image import Image

UNREADABLE = "region cannot be read"
NO_FACE, NO_FACE_CROPPED = "region without a face", "region without a face: its middle was taken"
_ALIGNED = 112
_STORED = 512  # results that are written to disk at a time
_LOOK, _SURE = 160, 0.7  # pixels of the first look, and the confidence that makes it the last


class Region(NamedTuple):
    """A picture's file and the box of the region in its pixels (after EXIF rotation); None is the whole picture."""

    path: Path
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class RegionFeatures:
    """What is known of n regions, in their order.

    `vectors` `[n, d]` float32, unit rows where `found` `[n]`, else NaN; `confidence` `[n]` of the face detector, 1
    without a detector, 0 without a face; `size` `[n]` in pixels, the root of the face's area (of the region's, where
    no face was taken); `skips` counts the regions that are not found, and those whose middle was taken.
    """

    vectors: np.ndarray
    found: np.ndarray
    confidence: np.ndarray
    size: np.ndarray
    skips: SkipReport


class Seen(NamedTuple):
    """What is to be encoded of a region."""

    picture: Image
    confidence: float
    size: float


@dataclass(frozen=True)
class RegionReader:
    """Reads what is to be encoded of a region: with a detector its aligned face, without one its pixels.

    Attributes: as the arguments of RegionEncoder; `square` makes regions that are not aligned `side` pixels wide, too.
    """

    detector: FaceDetector | None = None
    side: int = _ALIGNED
    margin: float = 0.25
    refine: bool = True
    face_margin: float = 0.0
    unaligned: Literal["skip", "crop"] = "skip"
    max_pixels: int = MAX_PIXELS
    square: bool = True

    @property
    def id(self) -> str:
        """Changes whenever what is read would."""
        if self.detector is None:
            return "pixels"
        looks = f"{_LOOK}-{VIEW_SIDE}" if self.refine else f"{_LOOK}"
        return f"{self.detector.id}+{self.side}-{self.margin:g}-{self.face_margin:g}-{looks}-{self.unaligned}"

    def crops(
        self, regions: Sequence[Region], workers: int = 2, on_batch: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray, SkipReport]:
        """`[n, side, side, 3]` uint8 of square regions, `[n]` bool which could be read (else the crop is grey).

        The report says why the others could not; on_batch is told after each region.
        """
        out = np.full((len(regions), self.side, self.side, 3), 128, np.uint8)
        found, skips = np.zeros(len(regions), bool), SkipReport()
        for i, seen in enumerate(tried_ahead(self.see, regions, workers)):
            if isinstance(seen, InputError):
                skips.add(UNREADABLE, str(seen))
            elif seen is None:
                skips.add(NO_FACE, _named(regions[i]))
            else:
                out[i], found[i] = np.asarray(seen.picture), True
            if on_batch:
                on_batch(1)
        return out, found, skips

    def see(self, region: Region) -> Seen | None:
        """The aligned face of a region, its pixels where those are wanted, or None."""
        picture = load_picture(region.path, self.max_pixels)
        whole = (0, 0, *picture.size)
        try:
            box = clip_box(region.box or whole, picture.size)
            around = clip_box(region.box or whole, picture.size, self.margin)
        except InputError as error:
            raise InputError(str(error), file=region.path) from error
        size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        if self.detector is None:
            pixels = picture.crop(box)
            return Seen(_middle(pixels, self.side) if self.square else pixels, 1.0, size)
        faces = self._faces(self.detector, picture.crop(around)).moved(1, around[:2])
        chosen = choose_face(faces, box, picture.size)
        if chosen is not None:
            landmarks = faces.landmarks[chosen]
            if self.refine:
                landmarks = refine_landmarks(picture, landmarks, self.detector)
            face = align_face(picture, landmarks, self.side, self.face_margin)
            return Seen(face, float(faces.confidence[chosen]), float(faces.sizes[chosen]))
        return Seen(_middle(picture.crop(box), self.side), 0.0, size) if self.unaligned == "crop" else None

    def _faces(self, detector: FaceDetector, view: Image) -> Faces:
        """Faces of a view, which is enlarged where it is small: detectors miss most faces of a tiny picture.

        Where landmarks are read again anyway, a large view is shrunk for a first look, the last if it shows a sure one.
        """
        if self.refine or max(view.size) < _LOOK:
            looked, scale = resized(view, _LOOK)
            faces = detector.detect([looked])[0]
            if scale >= 1 or (len(faces) and faces.confidence[0] >= _SURE):
                return faces.moved(1 / scale, (0, 0))
        return detector.detect([view])[0]


class RegionEncoder:
    """Encodes regions of pictures, each distinct one once: what was computed stays on disk under its content.

    With a detector, the face of a region (see `mmel.detection.choose_face`) is aligned to the ArcFace template and
    encoded; without one, the pixels of the region are.

    Args:
        encoder: of pictures; one with a `size` takes no others.
        detector: of faces, or None.
        folder: where the caches of all encoders lie; None is `cache_root() / "encodings"`.
        margin: of a box, added on each side as a fraction of it, before faces are looked for there.
        refine: read the landmarks of the chosen face again (`mmel.detection.refine_landmarks`); two more passes of the
            detector over a small view, and better vectors.
        side: of an aligned face in pixels; the encoder's size where it has one, 112 where nothing is given.
        face_margin: of the template, added around an aligned face for encoders that want hair and neck too.
        unaligned: a region without a face is passed over ("skip"), or its central square is encoded ("crop").
        unreadable: a picture that cannot be read or a box that is none is passed over ("skip") or raised ("error").
        workers: threads, each of which does all steps of a batch.
        batch: regions that a thread takes at a time.
        max_pixels: of a picture, see `mmel.pictures.load_picture`.

    Attributes:
        keep: whether what is computed is stored; what is there is read in any case.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        detector: FaceDetector | None = None,
        folder: Path | None = None,
        *,
        margin: float = 0.25,
        refine: bool = True,
        side: int | None = None,
        face_margin: float = 0.0,
        unaligned: Literal["skip", "crop"] = "skip",
        unreadable: Literal["skip", "error"] = "skip",
        workers: int = 2,
        batch: int = 16,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        for name, value, allowed in (("unaligned", unaligned, "crop"), ("unreadable", unreadable, "error")):
            if value not in ("skip", allowed):
                raise ConfigError(f"{name} is '{value}'; allowed: skip, {allowed}")
        if margin < 0 or face_margin < 0 or workers < 1 or batch < 1:
            raise ConfigError(
                f"margin = {margin}, face_margin = {face_margin}, workers = {workers}, batch = {batch}: margins must "
                "be at least 0, the others at least 1"
            )
        self.encoder = encoder
        if side is not None and side != (encoder.size or side):
            raise ConfigError(f"side = {side}: encoder '{encoder.id}' takes {encoder.size} pixels")
        self.reader = RegionReader(
            detector, encoder.size or side or _ALIGNED, margin, refine, face_margin, unaligned, max_pixels,
            square=encoder.size is not None,
        )  # fmt: skip
        self._unreadable, self.keep = unreadable, True
        self._workers, self._batch = workers, batch
        self.id = f"{encoder.id}+{self.reader.id}"
        self._cache = self._open(folder or cache_root() / "encodings")

    def _open(self, folder: Path) -> EncodingCache:
        return EncodingCache(folder / self.id, self.encoder.dim)

    @property
    def dim(self) -> int:
        """d, the width of a vector."""
        return self.encoder.dim

    def encode(self, regions: Sequence[Region], on_batch: Callable[[int], None] | None = None) -> RegionFeatures:
        """The features of each region; what is not on disk is computed and stored first.

        on_batch: told after each batch how many regions it computed.

        Raises:
            InputError: with unreadable="error", for a picture or a box that cannot be read.
        """
        skips = SkipReport()
        stored = self.stored(regions, skips, on_batch)
        for region, encoding in zip(regions, stored, strict=True):
            if encoding is None:
                continue
            if not len(encoding.vectors):
                skips.add(NO_FACE, _named(region))
            elif not _measures(encoding)[0]:
                skips.add(NO_FACE_CROPPED, _named(region))
        return _gathered(stored, self.dim, skips)

    def stored(
        self, regions: Sequence[Region], skips: SkipReport, on_batch: Callable[[int], None] | None = None
    ) -> list[Encoding | None]:
        """What is on disk of each region, after what was missing was computed; None and counted where unreadable."""
        problems: dict[str, InputError] = {}
        keys = list(self._keys(regions, problems))
        wanted = dict(zip(keys, regions, strict=True))
        new = self._store(
            [(key, wanted[key]) for key in self._cache.missing(keys) if key not in problems], problems, on_batch
        )
        for key in keys:
            if key in problems:
                skips.add(UNREADABLE, str(problems[key]))
        return [None if key in problems else new[key] if key in new else self._cache.get(key) for key in keys]

    def _keys(self, regions: Sequence[Region], problems: dict[str, InputError]) -> Iterator[str]:
        """What a region's features depend on besides the encoder: the content of its file, and its box."""
        digests: dict[Path, str] = {}
        for path, box in regions:
            if path not in digests:
                try:
                    digests[path] = sha256_file(path)
                except OSError as error:
                    digests[path] = f"unreadable {path}"
                    problem = InputError(f"cannot be read ({error.strerror})", file=path, remedy="check the path")
                    problems[digests[path]] = self._passed_over(problem)
            yield digests[path] if box is None or digests[path] in problems else f"{digests[path]} {box}"

    def _passed_over(self, problem: InputError) -> InputError:
        if self._unreadable == "error":
            raise problem
        return problem

    def _store(
        self,
        wanted: list[tuple[str, Region]],
        problems: dict[str, InputError],
        on_batch: Callable[[int], None] | None,
    ) -> dict[str, Encoding]:
        """Compute the regions on threads; those that are not kept on disk. What cannot be read goes to `problems`."""
        batches = [wanted[start : start + self._batch] for start in range(0, len(wanted), self._batch)]
        done: dict[str, Encoding] = {}
        for number, results in enumerate(map_ahead(self._computed, batches, self._workers), start=1):
            for key, result in results.items():
                if isinstance(result, InputError):
                    problems[key] = self._passed_over(result)
                else:
                    done[key] = result
            if self.keep and (len(done) >= _STORED or number == len(batches)):
                self._cache.fill(list(done), lambda keys: [done[key] for key in keys])
                done.clear()
            if on_batch:
                on_batch(len(results))
        return done

    def _computed(self, batch: Sequence[tuple[str, Region]]) -> dict[str, Encoding | InputError]:
        results: dict[str, Encoding | InputError] = {}
        seen: dict[str, Seen] = {}
        for key, region in batch:
            try:
                found = self.reader.see(region)
            except InputError as error:
                results[key] = error
                continue
            if found is None:
                results[key] = Encoding(np.empty((0, self.dim), np.float16), np.empty((0, 2), np.int32))
            else:
                seen[key] = found
        if seen:
            results.update(zip(seen, self._encoded(list(seen.values())), strict=True))
        return results

    def _encoded(self, seen: Sequence[Seen]) -> list[Encoding]:
        vectors = self.encoder.encode([one.picture for one in seen])
        # The cache keeps two integers beside a row; here they are the bits of two floats.
        measures = np.array([[one.confidence, one.size] for one in seen], np.float32).view(np.int32)
        return [Encoding(v[None].astype(np.float16), m[None]) for v, m in zip(vectors, measures, strict=True)]


def _middle(picture: Image, side: int) -> Image:
    """The central square of a picture as `side` x `side` pixels."""
    from PIL import Image as pillow
    from PIL import ImageOps

    return ImageOps.fit(picture, (side, side), pillow.Resampling.BICUBIC)


def _measures(encoding: Encoding) -> np.ndarray:
    """`[2]` float32: confidence and size, as `RegionEncoder` stores them."""
    return np.ascontiguousarray(encoding.spans[0]).view(np.float32)


def _gathered(stored: Sequence[Encoding | None], dim: int, skips: SkipReport) -> RegionFeatures:
    vectors = np.full((len(stored), dim), np.nan, np.float32)
    measures = np.zeros((len(stored), 2), np.float32)
    for i, encoding in enumerate(stored):
        if encoding is not None and len(encoding.vectors):
            vectors[i], measures[i] = encoding.vectors[0], _measures(encoding)
    # Half precision on disk leaves norms a little off.
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return RegionFeatures(vectors, np.isfinite(vectors[:, 0]), measures[:, 0], measures[:, 1], skips)


def _named(region: Region) -> str:
    return f"{region.path}" if region.box is None else f"{region.path}: box {region.box}"
