"""Requests on their way into batches, each batch noted before it is asked for."""

from __future__ import annotations

import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from pandas_llm.batch.search import confirm, settle
from pandas_llm.batch.state import Part
from pandas_llm.errors import (
    ConfigurationError,
    CostLimitError,
    ImageError,
    LLMError,
    MaybeCreatedError,
)
from pandas_llm.providers import DISCOUNT
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._engine import Item
    from pandas_llm.batch.courier import Courier
    from pandas_llm.batch.state import Book


async def send_all(courier: Courier, todo: Sequence[Item], book: Book) -> None:
    """Send the requests, in as many batches as the provider's limits make of them."""
    capabilities = courier.client.terms.capabilities
    n = courier.client.spec.n
    if n > 1 and not capabilities.n:
        msg = "this model gives one choice a request: n must be 1 with batch=True"
        raise ConfigurationError(msg)
    await _check_cost(courier, todo, n)
    book.state.unsent = len(todo)
    lines: list[bytes] = []
    keys: list[bytes] = []
    size = 0
    for item in todo:
        name = item.key.hex()
        try:
            body = (await courier.built(item.request, n))[0]
        except ImageError as error:
            book.state.reasons[name] = f"{error.kind}: {error}"
            book.state.unsent -= 1
            continue
        line = courier.batches.line(name, body)
        full = len(lines) == courier.batches.most_requests
        if lines and (full or size + len(line) > courier.batches.most_bytes):
            await _begin(courier, lines, keys, book)
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(item.key)
        size += len(line)
    if lines:
        await _begin(courier, lines, keys, book)
    book.save()


async def _begin(
    courier: Courier, lines: Sequence[bytes], keys: Sequence[bytes], book: Book
) -> None:
    """Create one batch, noted first; an unclear answer is cleared up by the list."""
    name = f"{book.state.id}-{token_hex(8)}"
    file = await courier.uploaded(lines)
    part = Part("", len(lines), name=name, file=file, noted=time.time())
    request = courier.batches.create(lines, file, name)
    book.note(part, keys)
    try:
        confirm(part, await courier.create(request, len(lines)))
    except MaybeCreatedError as error:
        if not await settle(courier, part, book, error):
            raise
    except LLMError:  # refused, or never sent
        book.drop(part)
        raise
    book.save()


async def _check_cost(courier: Courier, todo: Sequence[Item], n: int) -> None:
    """Hold `max_cost` before anything is sent: a batch cannot be stopped in time."""
    settings, spec = courier.recipe.settings, courier.client.spec
    if settings.max_cost is None:
        return
    prices = courier.client.prices
    if spec.max_tokens is None or not prices.known:
        msg = "max_cost with batch=True needs max_tokens, and a price (see prices=)"
        raise ConfigurationError(msg)
    # a token is a byte at least
    output, most = spec.max_tokens * spec.n, 0.0
    for item in todo:
        with suppress(ImageError):  # it is not sent, and told of when it would be
            body, surplus = await courier.built(item.request, n)
            most += prices.of(Tokens(len(body) - surplus, output)) * DISCOUNT
    if most > settings.max_cost:
        msg = f"the batch may cost ${most:.4g}, over max_cost={settings.max_cost:g}"
        raise CostLimitError(msg)
