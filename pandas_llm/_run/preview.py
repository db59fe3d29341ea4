"""What would be sent for the first rows; nothing is."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._engine import images, offline_client
from pandas_llm._replies import Words, word_requests
from pandas_llm._run.result import text_table
from pandas_llm._run.run import TaskRun
from pandas_llm.errors import ImageError
from pandas_llm.types import HTTPRequest, Spec

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm._engine import Client
    from pandas_llm._run.task import Task
    from pandas_llm.types import Request


def preview_prompts(task: Task, data: Any, rows: int) -> pd.DataFrame:
    """Return the prompts, and the system messages and images if there are any."""
    run = TaskRun(task, data, dry=True)
    found = _first(run, Spec(""), rows)
    columns: dict[str, list[Any]] = {"system": [], "images": [], "prompt": []}
    for _, one in found:
        if isinstance(one, ImageError):
            shown: tuple[str | None, ...] = (None, f"<{one}>", None)
        else:
            shown = (one.system, images.described(one.images) or None, one.prompt)
        for values, value in zip(columns.values(), shown, strict=True):
            values.append(value)
    for name in ("system", "images"):
        if all(value is None for value in columns[name]):
            del columns[name]
    if task.odds:
        columns["asked"] = [_asked(task)] * len(found)
    return text_table(run.source, [at for at, _ in found], columns)


def _asked(task: Task) -> str:
    """Return what is asked beside the prompt where tokens tell probabilities."""
    codes = task.shape.codes
    notes = [Words(question, codes=codes).note for question in task.output.questions]
    return "\n".join([*notes, "(read at the first token that tells these apart)"])


def preview_requests(task: Task, data: Any, rows: int) -> pd.DataFrame:
    """Return the whole requests: address, headers and body, their secrets masked.

    Raises
    ------
    ConfigurationError
        When no model or no key can be told without asking a server.
    """
    task = replace(task, settings=replace(task.settings, cache=False))
    run = TaskRun(task, data)
    if not run.source.rows:
        found = []
    else:
        client = offline_client(run.endpoints[0], run.setup(AsyncExitStack()))
        first = _first(run, client.spec, rows)
        found = [(at, _as_sent(client, request)) for at, request in first]
    columns = {
        "url": [one.url for _, one in found],
        "headers": [orjson.dumps(dict(one.headers)).decode() for _, one in found],
        "body": [one.body.decode() for _, one in found],
    }
    return text_table(run.source, [at for at, _ in found], columns)


def _as_sent(client: Client, request: Request | ImageError) -> HTTPRequest:
    """Write a request, with words in place of what its images hold."""
    if isinstance(request, ImageError):
        return HTTPRequest("", {}, f"<{request}>".encode())
    if client.spec.odds in ("words", "codes"):
        request = word_requests(request)[0]
    return client.as_sent(images.masked(request))


def _first(
    run: TaskRun, spec: Spec, rows: int
) -> list[tuple[int, Request | ImageError]]:
    """Build the requests of the first rows that would have one."""
    made = run.prompts.requests(spec)
    sent = ((at, request) for at, request in made if request is not None)
    return list(islice(sent, rows))
