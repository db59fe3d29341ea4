"""Requests on their way into batches, each batch noted before it is asked for."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from pandas_llm._inputs import attachments
from pandas_llm._pacing import estimate_tokens
from pandas_llm.batch.recovery import settle
from pandas_llm.batch.state import Part
from pandas_llm.batch.upload import QueueFullError
from pandas_llm.errors import (
    AttachmentError,
    BadRequestError,
    ConfigurationError,
    CostLimitError,
    LLMError,
    MaybeCreatedError,
    ModelNotFoundError,
    ProviderError,
)
from pandas_llm.providers import allowance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._engine import Item
    from pandas_llm._pacing import CostBudget
    from pandas_llm.batch.upload import Upload


_ROOM = 0.8
"""The share of the account's queue for one batch: its tokens are estimated."""


async def send_all(upload: Upload, todo: Sequence[Item]) -> None:
    """Send the requests, in as many batches as the provider's limits make of them."""
    book, n = upload.book, upload.client.spec.n
    if n > 1 and not upload.client.negotiation.capabilities.n:
        raise ConfigurationError(
            "this model gives one choice a request: n must be 1 with batch=True"
        )
    book.state.unsent = len(todo)
    lines: list[bytes] = []
    keys: list[bytes] = []
    size, tokens, room = 0, 0.0, book.state.queue * _ROOM or math.inf
    for item in todo:
        name = item.key.hex()
        try:
            body = (await upload.built(item.request, n))[0]
        except AttachmentError as error:
            book.state.reasons[name] = f"{error.kind}: {error}"
            book.state.unsent -= 1
            continue
        line = upload.batches.line(name, body)
        weight = estimate_tokens(f"{item.request.system or ''}{item.request.text}")
        weight += attachments.weight(item.request, upload.client.provider)
        full = len(lines) == upload.most_requests or tokens + weight > room
        if lines and (full or size + len(line) > upload.batches.most_bytes):
            await _begin(upload, lines, keys, tokens)
            lines, keys, size, tokens = [], [], 0, 0.0
        lines.append(line)
        keys.append(item.key)
        size, tokens = size + len(line), tokens + weight
    if lines:
        await _begin(upload, lines, keys, tokens)
    book.save()


async def _begin(
    upload: Upload, lines: Sequence[bytes], keys: Sequence[bytes], tokens: float
) -> None:
    """Create one batch, noted first; an unclear answer is cleared up by the list."""
    book = upload.book
    name = f"{book.state.id}-{token_hex(8)}"
    ahead = sum(map(len, lines)) > upload.batches.inline or book.state.waiting
    file = await upload.uploaded(lines) if ahead else ""
    part = Part("", len(lines), name=name, file=file, noted=time.time())
    part.tokens = round(tokens)
    part.waiting = bool(file and book.state.waiting)  # behind those that wait
    book.note(part, keys)
    if not part.waiting:
        await _launch(upload, part, lines)


async def send_waiting(upload: Upload) -> None:
    """Ask for the batches that wait, while the account's queue has room."""
    for part in upload.book.state.waiting:
        if not upload.book.claim(part):
            continue
        # where its file is gone, its rows are sent by a call that has them
        with suppress(BadRequestError, ModelNotFoundError):
            await _launch(upload, part, [])
        if part.waiting:
            break


async def _launch(upload: Upload, part: Part, lines: Sequence[bytes]) -> None:
    """Ask for a batch that is noted."""
    book = upload.book
    request = upload.batches.create(lines, part.file, part.name)
    try:
        made = await upload.create(request, part.requests)
    except MaybeCreatedError as error:
        if not await settle(upload, part, error):
            raise
    except asyncio.CancelledError:  # whoever pressed Ctrl-C must hear of it
        why = ProviderError("it was interrupted")
        book.notes.append(str(upload.unclear(part.requests, why)))
        raise
    except QueueFullError as error:
        part.file = part.file or await upload.uploaded(lines)  # it has to wait there
        if not part.file:
            book.drop(part)
            raise
        book.full(part, str(error))
        book.save()
    except LLMError:  # refused, or never sent
        book.drop(part)
        raise
    else:
        book.confirm(part, made)


async def affords(upload: Upload, todo: Sequence[Item], budget: CostBudget) -> None:
    """Check `max_cost` before a batch is sent: it cannot be stopped in time."""
    if budget.limit is None:
        return
    spec, prices = upload.client.spec, upload.client.prices
    allowed, n = allowance(spec)
    if spec.max_tokens is None or allowed is None or not prices.known:
        msg = "max_cost with batch=True needs max_tokens, and a price (see prices=)"
        raise ConfigurationError(msg)
    most = budget.spent
    for item in todo:
        with suppress(AttachmentError):  # it is not sent, and told of when it would be
            body, surplus = await upload.built(item.request, spec.n)
            size, sound = len(body) - surplus, attachments.has_sound(item.request)
            most += prices.most(size, allowed * n, batch=True, sound=sound)
    if most > budget.limit:
        msg = f"the batch may cost ${most:.4g}, over max_cost={budget.limit:g}"
        raise CostLimitError(msg)
