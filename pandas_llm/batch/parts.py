"""Requests on their way into batches, each batch noted before it is asked for."""

from __future__ import annotations

import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from pandas_llm.batch.search import confirm, settle
from pandas_llm.batch.state import Part
from pandas_llm.batch.upload import QueueFullError
from pandas_llm.errors import (
    BadRequestError,
    ConfigurationError,
    CostLimitError,
    ImageError,
    LLMError,
    MaybeCreatedError,
    ModelNotFoundError,
)
from pandas_llm.providers import DISCOUNT
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._engine import Item
    from pandas_llm.batch.state import Book
    from pandas_llm.batch.upload import Upload


async def send_all(upload: Upload, todo: Sequence[Item], book: Book) -> None:
    """Send the requests, in as many batches as the provider's limits make of them."""
    capabilities = upload.client.terms.capabilities
    n = upload.client.spec.n
    if n > 1 and not capabilities.n:
        msg = "this model gives one choice a request: n must be 1 with batch=True"
        raise ConfigurationError(msg)
    await _check_cost(upload, todo, n)
    book.state.unsent = len(todo)
    lines: list[bytes] = []
    keys: list[bytes] = []
    size = 0
    for item in todo:
        name = item.key.hex()
        try:
            body = (await upload.built(item.request, n))[0]
        except ImageError as error:
            book.state.reasons[name] = f"{error.kind}: {error}"
            book.state.unsent -= 1
            continue
        line = upload.batches.line(name, body)
        full = len(lines) == upload.batches.most_requests
        if lines and (full or size + len(line) > upload.batches.most_bytes):
            await _begin(upload, lines, keys, book)
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(item.key)
        size += len(line)
    if lines:
        await _begin(upload, lines, keys, book)
    book.save()


async def _begin(
    upload: Upload, lines: Sequence[bytes], keys: Sequence[bytes], book: Book
) -> None:
    """Create one batch, noted first; an unclear answer is cleared up by the list."""
    name = f"{book.state.id}-{token_hex(8)}"
    file = await upload.uploaded(lines)
    part = Part("", len(lines), name=name, file=file, noted=time.time())
    part.waiting = bool(file and book.state.waiting)  # behind those that wait
    book.note(part, keys)
    if not part.waiting:
        await _launch(upload, part, lines, book)


async def send_waiting(upload: Upload, book: Book) -> None:
    """Ask for the batches that wait, as far as the account's queue has room."""
    for part in book.state.waiting:
        if not book.claim(part):
            continue
        # where its file is gone, its rows are sent by a call that has them
        with suppress(BadRequestError, ModelNotFoundError):
            await _launch(upload, part, [], book)
        if part.waiting:
            break


async def _launch(
    upload: Upload, part: Part, lines: Sequence[bytes], book: Book
) -> None:
    """Ask for a batch that is noted."""
    request = upload.batches.create(lines, part.file, part.name)
    try:
        confirm(part, await upload.create(request, part.requests))
    except MaybeCreatedError as error:
        if not await settle(upload, part, book, error):
            raise
    except QueueFullError:
        if not part.file:
            book.drop(part)
            raise
        part.held()
    except LLMError:  # refused, or never sent
        book.drop(part)
        raise
    book.save()


async def _check_cost(upload: Upload, todo: Sequence[Item], n: int) -> None:
    """Hold `max_cost` before anything is sent: a batch cannot be stopped in time."""
    settings, spec = upload.task.settings, upload.client.spec
    if settings.max_cost is None:
        return
    prices = upload.client.prices
    if spec.max_tokens is None or not prices.known:
        msg = "max_cost with batch=True needs max_tokens, and a price (see prices=)"
        raise ConfigurationError(msg)
    # a token is a byte at least
    output, most = spec.max_tokens * spec.n, 0.0
    for item in todo:
        with suppress(ImageError):  # it is not sent, and told of when it would be
            body, surplus = await upload.built(item.request, n)
            most += prices.of(Tokens(len(body) - surplus, output)) * DISCOUNT
    if most > settings.max_cost:
        msg = f"the batch may cost ${most:.4g}, over max_cost={settings.max_cost:g}"
        raise CostLimitError(msg)
