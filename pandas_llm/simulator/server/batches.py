"""Batch endpoints as the vendors'; each request goes through the server.

A batch's requests are sent to this same server one after the other, so that what can
go wrong with a request can go wrong with it here.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import orjson
from aiohttp import web

from pandas_llm.simulator.answers import count_message_tokens, count_tokens
from pandas_llm.simulator.conditions import JSON, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm.simulator.conditions import Settings

_T = TypeVar("_T")
_SENT_ON = (
    *("authorization", "x-api-key", "anthropic-version", "api-key", "x-goog-api-key"),
)


@dataclass(slots=True)
class Batch:
    """Requests that are answered one after the other."""

    id: str
    lines: list[dict[str, Any]]
    """custom_id, url, body."""
    status: str = "in_progress"
    results: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """custom_id → status and body of the answer."""
    task: asyncio.Task[None] | None = None
    created: float = field(default_factory=time.time)
    file: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """What its maker said of it, under the vendor's names."""

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.status in {"in_progress", "cancelling"}

    def count(self, *, good: bool) -> int:
        """Count the requests that were answered, or refused."""
        return sum((status == 200) == good for status, _ in self.results.values())  # noqa: PLR2004

    @property
    def missing(self) -> list[str]:
        """The names of the requests that have no answer."""
        return [
            x["custom_id"] for x in self.lines if x["custom_id"] not in self.results
        ]

    def end(self) -> None:
        """Let no request follow the one that is being answered."""
        if self.status == "in_progress":
            self.status = "cancelling"


class Batches:
    """The files and batches of one server, whoever asks for them.

    Parameters
    ----------
    origin
        Returns the server's own address.
    settings
        Returns the knobs as they are now.
    """

    def __init__(
        self, origin: Callable[[], str], settings: Callable[[], Settings]
    ) -> None:
        self.origin = origin
        self.settings = settings
        self.files: dict[str, bytes] = {}
        self._batches: dict[str, Batch] = {}

    async def stop(self, _: web.Application) -> None:
        """End all work."""
        for batch in self._batches.values():
            if batch.task is not None:
                batch.task.cancel()

    def begin(
        self,
        lines: list[dict[str, Any]],
        headers: Mapping[str, str],
        file: str | None = None,
        *,
        full: bool = False,
        **about: Any,
    ) -> Batch:
        """Make a batch and work on it; `full` fails it: the queue has no room."""
        batch = Batch(f"batch_sim_{len(self._batches):04}", lines)
        batch.file, batch.about = file, about
        if full:
            batch.status = "failed"
        else:
            sent = {k: v for k, v in headers.items() if k.lower() in _SENT_ON}
            sent["x-simulated-batch"] = batch.id
            work = self._work(batch, sent)
            batch.task = asyncio.get_running_loop().create_task(work)
        self._batches[batch.id] = batch
        return batch

    def find(self, request: web.Request) -> Batch:
        """Return the batch that an address names, or refuse."""
        return _there(self._batches.get(request.match_info["id"]), "batch")

    def content(self, file: str) -> bytes:
        """Return what a file holds, or refuse."""
        return _there(self.files.get(file), file)

    def newest(self) -> list[Batch]:
        """Return all batches, the newest first."""
        return [*self._batches.values()][::-1]

    def page(self, request: web.Request, after: str) -> tuple[list[Batch], bool]:
        """Return the newest batches, those after one, and whether there are more."""
        batches = self.newest()
        names = [batch.id for batch in batches]
        last = request.query.get(after)
        if last in names:
            batches = batches[names.index(last) + 1 :]
        most = int(request.query.get("limit", "20"))
        return batches[:most], len(batches) > most

    def keep(self, name: str, lines: list[dict[str, Any]]) -> str | None:
        """Keep lines as a file; the order of results means nothing."""
        if not lines:
            return None
        self.files[name] = b"\n".join(map(orjson.dumps, lines[::-1]))
        return name

    def is_full(self, lines: list[dict[str, Any]]) -> bool:
        """Return whether the account's queue has no room for so many requests."""
        settings = self.settings()
        queued = [line for b in self._batches.values() if b.runs for line in b.lines]
        most, tokens = settings.batch_queue, settings.batch_tokens
        many = most is not None and len(queued) + len(lines) > most
        return many or (tokens is not None and _tokens([*queued, *lines]) > tokens)

    async def _work(self, batch: Batch, headers: Mapping[str, str]) -> None:
        settings = self.settings()
        started = time.monotonic()
        expiry = settings.batch_expiry
        pause = settings.batch_latency / max(1, len(batch.lines))
        async with aiohttp.ClientSession(self.origin(), headers=headers) as session:
            for number, line in enumerate(batch.lines, 1):
                # one may take more than a pause: those after it wait less
                wait = started + number * pause - time.monotonic()
                await asyncio.sleep(max(0.0, wait))
                if expiry is not None and time.monotonic() - started >= expiry:
                    batch.status = "expired"
                    return
                if batch.status == "cancelling":
                    batch.status = "cancelled"
                    return
                try:
                    async with session.post(line["url"], json=line["body"]) as answer:
                        body = orjson.loads(await answer.read() or b"null")
                        batch.results[line["custom_id"]] = (answer.status, body)
                except (aiohttp.ClientError, orjson.JSONDecodeError) as failure:
                    failed = {
                        "error": {"message": str(failure), "type": "server_error"}
                    }
                    batch.results[line["custom_id"]] = (500, failed)
        batch.status = "completed"


def _tokens(lines: list[dict[str, Any]]) -> int:
    """Count the tokens of the prompts of some requests."""
    count = 0
    for body in (line["body"] for line in lines):
        count += count_message_tokens(body.get("messages") or ())
        for content in body.get("contents") or ():
            count += sum(
                count_tokens(part.get("text", "")) for part in content["parts"]
            )
    return count


def answered(value: object, **headers: str) -> web.Response:
    """Return an answer in JSON."""
    headers["Content-Type"] = JSON
    return web.Response(body=orjson.dumps(value), headers=headers)


def _there(thing: _T | None, what: str) -> _T:
    if thing is None:
        refuse(f"No such object: {what}", "no_such_object", status=404)
    return thing
