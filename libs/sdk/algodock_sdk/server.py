"""The HTTP service around an algorithm: ``/predict``, ``/cancel``, ``/health``, ``/info`` and its documents."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from algodock_sdk import __version__
from algodock_sdk.algorithm import Algorithm
from algodock_sdk.answers import EVENTS, answer, is_stream, json_bytes, stream
from algodock_sdk.bodies import read_input
from algodock_sdk.heartbeat import Heartbeat, Load
from algodock_sdk.problems import Problem, failure_of, trace_id_of
from algodock_sdk.talk import Talk, current, hear_logs
from algodock_sdk.works import Work, Works

__all__ = ["create_app"]

_log = logging.getLogger("algodock_sdk")
_CLIENT_CLOSED = 499  # nginx's status for "nobody waits for this any more"
_CANCEL_WAIT_S = 1.0  # a cancel is answered when the work has stopped, or after so long


def create_app(algorithm: Algorithm, heartbeat: Heartbeat | None = None, load: Load | None = None) -> Starlette:
    """Return the ASGI application; ``heartbeat`` runs from the end of ``load`` until the shutdown."""
    service = _Service(algorithm, load or Load())
    hear_logs()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await algorithm.run_hook("load")
        if heartbeat is not None:
            heartbeat.start()
        try:
            yield
        finally:
            if heartbeat is not None:
                heartbeat.stop()
            await algorithm.run_hook("close")

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/predict", service.predict, methods=["POST"]),
            Route("/cancel/{task}", service.cancel, methods=["POST"]),
            Route("/health", service.health),
            Route("/info", service.info),
            Route("/openapi.json", service.openapi),
            Route("/docs", service.docs),
        ],
        exception_handlers={Problem: _problem, HTTPException: _http_error, Exception: _unexpected},  # type: ignore[dict-item]  # handlers narrow the exception
    )


class _Service:
    """The endpoints, each a bound method."""

    def __init__(self, algorithm: Algorithm, load: Load) -> None:
        self._algorithm = algorithm
        self._load = load
        self._works = Works()

    async def predict(self, request: Request) -> Response:
        signature = self._algorithm.signature
        values = await read_input(request, signature)
        if signature.file_fields:  # decoding a picture takes its time
            args, kwargs = await run_in_threadpool(signature.bind, values)
        else:
            args, kwargs = signature.bind(values)
        trace_id = trace_id_of(request.headers.get("traceparent"))
        work = self._works.begin(request.headers.get("x-algodock-task"))
        accepts_events = EVENTS in request.headers.get("accept", "")
        talk = Talk(logs=accepts_events)
        current.set(talk)
        self._load.begin()
        result: Any = None
        failure: BaseException | None = None
        try:
            call = self._call(work, args, kwargs)
            result = await _while_connected(request, work, call, talk if accepts_events else None)
        except (Problem, HTTPException) as error:
            failure = error
            raise
        except Exception as error:
            failure = error
            _log.exception("predict failed (trace %s)", trace_id or "-")
            raise failure_of(error) from error
        finally:
            streams = is_stream(result) or isinstance(result, asyncio.Future)
            if not streams:
                self._load.end(failure)
                work.end()
        if streams:
            return stream(
                result,
                talk=talk,
                trace_id=trace_id,
                on_end=self._end_of(work),
                runs_as=work.runs_as,
                closed=lambda: work.closed,
            )
        response: Response = result
        if ignored := signature.ignored(values):
            # Header values are Latin-1, names of JSON fields are not.
            response.headers["x-algodock-ignored"] = (
                ",".join(ignored).encode("ascii", "backslashreplace").decode()[:500]
            )
        return response

    async def _call(self, work: Work, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Return the finished response, or the generator that will make it."""
        predict = self._algorithm.predict
        if not self._algorithm.signature.is_async:
            return await run_in_threadpool(work.in_thread, lambda: _answered(predict(*args, **kwargs)))
        return _answered(await predict(*args, **kwargs))

    def _end_of(self, work: Work) -> Callable[[BaseException | None], None]:
        def end(failure: BaseException | None) -> None:
            self._load.end(failure)
            work.end()

        return end

    async def cancel(self, request: Request) -> Response:
        """Stop a task's work: 200 when it has stopped, 202 while it goes on, 404 when none of it runs here."""
        task = request.path_params["task"]
        stopped = await self._works.cancel(task, wait_s=_CANCEL_WAIT_S)
        if stopped is None:
            raise Problem(404, "Unknown task", f"nothing of task {task} runs here", code="unknown-task")
        return _json({"task": task, "state": "stopped" if stopped else "running"}, 200 if stopped else 202)

    async def health(self, _: Request) -> Response:
        return _json({"status": "ok", "name": self._algorithm.name, "in_flight": self._load.in_flight})

    async def info(self, _: Request) -> Response:
        algorithm, signature = self._algorithm, self._algorithm.signature
        return _json(
            {
                "name": algorithm.name,
                "version": algorithm.version,
                "description": algorithm.description,
                "release": os.environ.get("ALGODOCK_RELEASE", ""),
                "streams": signature.streams,
                "files": signature.file_fields,
                "input_schema": signature.input_schema(),
                "output_schema": signature.output_schema(),
                "runtime": f"python {platform.python_version()}",
                "sdk": __version__,
            }
        )

    async def openapi(self, _: Request) -> Response:
        from algodock_sdk.documents import openapi_of

        return _json(openapi_of(self._algorithm))

    async def docs(self, _: Request) -> Response:
        from algodock_sdk.documents import docs_page

        return HTMLResponse(docs_page(self._algorithm))


def _answered(value: Any) -> Any:
    return value if is_stream(value) else answer(value)


async def _while_connected(request: Request, work: Work, call: Coroutine[Any, Any, Any], talk: Talk | None) -> Any:
    """Return what ``call`` returns; cancel it when the caller hangs up, so that a cancelled task really stops.

    A synchronous ``predict`` cannot be stopped in its thread; its answer is dropped. With ``talk``
    a call that has said something is handed back as it is: what was said comes first.
    """
    task = asyncio.ensure_future(call)
    work.runs_as(task)
    hung_up = asyncio.ensure_future(_disconnected(request))
    spoken = asyncio.ensure_future(talk.spoken()) if talk is not None else hung_up
    handed_on = False
    try:
        await asyncio.wait({task, hung_up, spoken}, return_when=asyncio.FIRST_COMPLETED)
        if talk is not None and talk.speaks and not (hung_up.done() or work.closed):
            handed_on = True
            return task
        if task.done() and not work.closed:
            return task.result()
        work.close()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        _log.info("the caller hung up or cancelled its task: the call was cancelled")
        return Response(status_code=_CLIENT_CLOSED)
    finally:
        hung_up.cancel()
        spoken.cancel()
        if not handed_on:
            task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(document: Any, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(json_bytes(document), status, media_type=media_type)


async def _problem(request: Request, problem: Problem) -> Response:
    document = problem.document(trace_id_of(request.headers.get("traceparent")))
    return _json(document, problem.status, "application/problem+json")


async def _http_error(request: Request, error: HTTPException) -> Response:
    response = await _problem(request, Problem(error.status_code, str(error.detail), str(error.detail)))
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    return await _problem(request, failure_of(error))
