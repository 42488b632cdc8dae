"""The HTTP side of the service: which request gets which answer, and what is refused with which reason."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mmel import __version__
from mmel.document import Document, LinkedDocument
from mmel.errors import InputError
from mmel.service.answer import answer_record
from mmel.service.batches import BatchWorker, Closed
from mmel.service.engine import Engine
from mmel.service.intake import Submission, check_picture, read_submission
from mmel.service.limits import Limits
from mmel.service.manual import BODY, PROBLEM, manual

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FULL = {"Retry-After": "1"}
_CANDIDATES = 100  # that are told of a mention, at most
_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
# The page of a report has stricter rules of its own, and inherits these.
_PAGE = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data: blob:; frame-src 'self' blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
} | _SAFE


def make_app(engine: Engine, limits: Limits = Limits()) -> FastAPI:  # noqa: B008 (frozen)
    """The service of an engine; what it holds is opened when the application starts and gone when it ends."""
    service = Service(engine, limits)
    app = FastAPI(
        title="mmel",
        version=__version__,
        description="Links the names in a text and the faces in its pictures to a knowledge base.",
        lifespan=service.lifespan,
        # FastAPI's own pages of documentation load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(ClientDisconnect, _refused)
    app.add_exception_handler(Exception, _failed)
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def home() -> Response:
        return HTMLResponse(page.replace("{limits}", json.dumps(service.limits_record())), headers=_PAGE)

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(manual(app.openapi()), headers=_PAGE)

    @app.get("/healthz", summary="Whether the service answers", responses={200: {"description": "it does"}})
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/info", summary="Model, knowledge base, counts and limits")
    async def info() -> dict[str, Any]:
        return service.info()

    @app.post(
        "/link",
        summary="Link a document: JSON",
        description="The linked document: its mentions with entity, title, confidence and candidates.",
        openapi_extra={"requestBody": BODY},
        responses=PROBLEM,
    )
    async def link(
        request: Request,
        candidates: Annotated[int, Query(ge=0, le=_CANDIDATES, description="told of each mention")] = 5,
    ) -> Response:
        def written(submission: Submission, linked: LinkedDocument) -> Response:
            record = answer_record(linked, submission.names, engine.titles, candidates)
            content = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return Response(content, media_type="application/json")

        return await service.answer(request, written)

    @app.post(
        "/report",
        summary="Link a document: HTML",
        description="The page of the document: text with its links, pictures with the faces in them. One file.",
        response_class=HTMLResponse,
        openapi_extra={"requestBody": BODY},
        responses=PROBLEM,
    )
    async def report(request: Request) -> Response:
        return await service.answer(
            request, lambda _, linked: HTMLResponse(engine.report(linked, service.folder), headers=_SAFE)
        )

    return app


class Service:
    """Requests on their way: read in the event loop, pictures checked in two threads, linked in one, written in one."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits = engine, limits
        self._admitted = 0

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Open the folder and the threads; at the end finish what was begun and remove the folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="mmel-serve-"))
        self._worker = BatchWorker[Document, LinkedDocument](
            lambda documents: self.engine.link(documents, self.folder),
            self.limits.batch,
            close=self.engine.close,
            weigh=self.limits.weight,
        )
        self._readers = ThreadPoolExecutor(2, "pictures")
        self._writer = ThreadPoolExecutor(1, "answers")
        try:
            yield
        finally:
            if not self._worker.close(self.limits.seconds):
                _log.warning("a document is still being linked; it is given up")
            self._writer.submit(self.engine.close)
            for pool in (self._readers, self._writer):
                pool.shutdown(cancel_futures=False)
            _remove(self.folder)

    def info(self) -> dict[str, Any]:
        return self.engine.info() | {"limits": self.limits_record(), "requests": self._admitted}

    def limits_record(self) -> dict[str, Any]:
        names = ("characters", "title", "mentions", "pictures", "picture_bytes", "pixels", "request_bytes", "seconds")
        return {name: getattr(self.limits, name) for name in names}

    async def answer(self, request: Request, write: Callable[[Submission, LinkedDocument], Response]) -> Response:
        """Read, link, write; HTTPException with the reason where one of them cannot be."""
        with self._place(), self._own_folder() as (folder, pending):
            submission = await self._in_time(read_submission(request, folder, self.limits), 408, "reading it")
            return await self._in_time(self._linked(submission, pending, write), 504, "linking it")

    async def _linked(
        self,
        submission: Submission,
        pending: list[Future[Any]],
        write: Callable[[Submission, LinkedDocument], Response],
    ) -> Response:
        def later(future: Future[T]) -> Awaitable[T]:
            pending.append(future)
            return asyncio.wrap_future(future)

        for image, name in submission.names.items():
            await later(self._readers.submit(check_picture, self.folder / image, name, self.limits.pixels))
        try:
            linked = await later(self._worker.submit(submission.document))
            return await later(self._writer.submit(write, submission, linked))
        except InputError as error:
            if error.file is not None:  # one of ours, whose path is nobody's business
                raise
            raise HTTPException(422, str(error)) from error
        except Closed as error:
            raise HTTPException(503, str(error), _FULL) from error

    async def _in_time(self, work: Awaitable[T], status: int, what: str) -> T:
        try:
            return await asyncio.wait_for(work, self.limits.seconds)
        except asyncio.TimeoutError as error:
            reason = f"{what} took more than {self.limits.seconds:g} seconds. Remedy: send less, or try again later"
            raise HTTPException(status, reason, _FULL) from error

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places of the queue; HTTPException 503 where all are taken."""
        if self._admitted >= self.limits.queue:
            raise HTTPException(503, f"{self._admitted} requests are waiting. Remedy: try again later", _FULL)
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @contextmanager
    def _own_folder(self) -> Iterator[tuple[Path, list[Future[Any]]]]:
        """A folder for one request, and a list for what reads in it; it is removed once all of that is done."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        pending: list[Future[Any]] = []
        try:
            yield folder, pending
        finally:
            running = [future for future in pending if not future.done()]
            if running:
                # At most one is: each begins when the one before it is done.
                running[-1].add_done_callback(lambda _: _remove(folder))
            else:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder of uploads; what the system will not let go is reported, and no reason to fail the request."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        _log.warning("%s is left behind: %s", folder, error)


def _refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": reason}, status, dict(headers or {}) | _SAFE)


async def _refused(_: Request, error: Exception) -> Response:
    """An answer of four hundred or so, its reason in words under `detail`."""
    if isinstance(error, HTTPException):
        return _refusal(error.status_code, str(error.detail), error.headers)
    if isinstance(error, RequestValidationError):
        return _refusal(422, "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()))
    return _refusal(400, "the request was not sent to its end")


async def _failed(_: Request, error: Exception) -> Response:
    """The fault is ours: the log has the traceback, the answer does not."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full:
        return _refusal(507, "no room is left for pictures")
    return _refusal(500, "the service has failed; its log says why")
