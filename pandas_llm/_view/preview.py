"""What would be sent for the first rows; nothing is."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
import pandas as pd

from pandas_llm._client import offline_client
from pandas_llm._inputs import attachments
from pandas_llm._replies import Words, word_requests
from pandas_llm._run import TaskRun, shared_spec, text_table
from pandas_llm._view.asked import parts_of
from pandas_llm._view.cards import Card, as_html, as_text
from pandas_llm.errors import RowError
from pandas_llm.types import HTTPRequest, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._client import Client
    from pandas_llm._run import Task
    from pandas_llm.types import Request


class Preview(pd.DataFrame):
    """A frame of prompts that shows each as a card; what is taken of it is plain."""

    _metadata: ClassVar[list[str]] = ["_cards", "_head"]
    _cards: list[Card]
    """Of the rows; before them, one of what all share, if they share anything."""
    _head: str

    def __repr__(self) -> str:
        """Show whole texts, wrapped."""
        if self._is_as_made():
            return as_text(self._head, self._cards)
        return super().__repr__()

    def _repr_html_(self) -> str | None:
        if self._is_as_made():
            return as_html(self._head, self._cards)
        return super()._repr_html_()  # type: ignore[misc, no-any-return]

    def _is_as_made(self) -> bool:
        """Return whether the frame has the rows still that the cards are of."""
        cards: list[Card] = getattr(self, "_cards", [])
        return len(self) == sum(card.title != _SHARED for card in cards)


_SHARED = "Every row"
_PLACES = {"image": "images", "file": "files"}
"""Where an error of a row is shown; one of turns in their place."""
_OF_JSON = ("headers", "body")


def preview_prompts(task: Task, data: Any, rows: int) -> pd.DataFrame:
    """Return the prompts; system messages, images, files and turns if there are any."""
    run = TaskRun(task, data, dry=True)
    first = _first(run, Spec(""), rows)
    shown: list[dict[str, str | None]] = []
    pictures: list[tuple[str, ...]] = []
    for _, one in first:
        if isinstance(one, RowError):
            shown.append({_PLACES.get(one.kind, "turns"): f"<{one}>"})
            pictures.append(())
        else:
            shown.append(parts_of(one))
            pictures.append(attachments.small(one.images))
    columns: dict[str, list[Any]] = {}
    for name in ("system", "images", "files", "turns", "prompt"):
        values = [parts.get(name) for parts in shown]
        if name == "prompt" or any(value is not None for value in values):
            columns[name] = values
    if task.odds:
        columns["asked"] = [_asked(task)] * len(first)
    return _preview(run, [at for at, _ in first], columns, _shared(task), pictures)


def _shared(task: Task) -> list[tuple[str, str]]:
    """Return what is sent with every prompt: examples and the schema of a reply."""
    spec = shared_spec(task)
    parts = []
    for number, (prompt, reply) in enumerate(spec.examples, 1):
        parts += [(f"example {number}", prompt), (f"its reply {number}", reply)]
    if spec.schema is not None:
        parts.append(("schema of the reply", _spaced(spec.constrained or spec.schema)))
    return parts


def _spaced(value: Any) -> str:
    """Write JSON with blanks at which it can be wrapped."""
    return json.dumps(value, ensure_ascii=False)


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
    settings = replace(task.settings, cache=False, order="given")
    task = replace(task, settings=settings)
    run = TaskRun(task, data)
    if not run.source.rows:
        requests = []
    else:
        client = offline_client(run.endpoints[0], run.setup(AsyncExitStack()))
        run.prompts.arrange(client.spec, client.least_prefix)
        first = _first(run, client.spec, rows)
        requests = [(at, _as_sent(client, request)) for at, request in first]
    columns = {
        "url": [one.url for _, one in requests],
        "headers": [orjson.dumps(dict(one.headers)).decode() for _, one in requests],
        "body": [one.body.decode() for _, one in requests],
    }
    return _preview(run, [at for at, _ in requests], columns)


def _preview(
    run: TaskRun,
    positions: Sequence[int],
    columns: dict[str, list[Any]],
    shared: Sequence[tuple[str, str]] = (),
    pictures: Sequence[tuple[str, ...]] = (),
) -> Preview:
    """Build the frame with its cards."""
    frame = Preview(text_table(run.source, positions, columns))
    cards = [Card(_SHARED, tuple(shared))] if shared and positions else []
    for at, label in enumerate(frame.index):
        parts = tuple(
            (name, _legible(values[at]) if name in _OF_JSON else values[at])
            for name, values in columns.items()
            if values[at]
        )
        cards.append(Card(f"Row {label!r}", parts, pictures[at] if pictures else ()))
    count, rows = len(positions), run.source.rows
    some = f"{count:,} of {rows:,} rows, as they will be sent"
    frame._head = f"Preview of {some}. Nothing was sent."  # noqa: SLF001 - ours
    frame._cards = cards  # noqa: SLF001
    return frame


def _legible(text: str) -> str:
    """Return a text; JSON with blanks at which it can be wrapped."""
    try:
        return _spaced(orjson.loads(text)) if text[:1] == "{" else text
    except ValueError:
        return text


def _as_sent(client: Client, request: Request | RowError) -> HTTPRequest:
    """Write a request, with words in place of what its images and files hold."""
    try:
        if isinstance(request, RowError):
            raise request
        if client.spec.odds in ("words", "codes"):
            request = word_requests(request)[0]
        return client.as_sent(attachments.masked(request))
    except RowError as error:
        return HTTPRequest("", {}, f"<{error}>".encode())


def _first(run: TaskRun, spec: Spec, rows: int) -> list[tuple[int, Request | RowError]]:
    """Build the requests of the first rows that would have one."""
    every = run.prompts.requests(spec)
    sent = ((at, request) for at, request in every if request is not None)
    return list(islice(sent, rows))
