"""Finds a batch whose creation was never confirmed, in the provider's own list.

A vendor that keeps a name or a file with a batch tells for certain. For another, it
is the only batch of that moment and size that no job knows, or, where it has results,
the one with the results of these requests.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pandas_llm.errors import MaybeCreatedError, ProviderError
from pandas_llm.redaction import visible

if TYPE_CHECKING:
    from pandas_llm.batch.state import Part
    from pandas_llm.batch.upload import Upload
    from pandas_llm.providers import Listed, Snapshot

_SETTLES = 10.0
"""Seconds after which a batch that exists is certainly in the list."""
_PAUSE = 1.0
"""Seconds between looks."""
_SKEW = 300.0
"""How far a moment in the list may be off, in seconds."""
_PAGES = 50


async def settle(
    upload: Upload, part: Part, why: MaybeCreatedError | None = None
) -> bool:
    """Find out whether a noted batch exists; `why` is an unclear answer to it."""
    age = 0.0 if why else max(0.0, time.time() - part.noted)
    until = time.monotonic() + _SETTLES - age
    try:
        while (batch := await _search(upload, part)) is None:
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_PAUSE)
    except MaybeCreatedError:
        raise
    except ProviderError as error:
        raise (why or upload.unclear(part.requests, error)) from error
    upload.journal.confirm(part, batch)
    return True


async def settle_all(upload: Upload) -> None:
    """Find out which batches there are, of those that were only asked for."""
    for part in upload.journal.state.open:
        if not await settle(upload, part):
            upload.journal.drop(part)


async def _search(upload: Upload, part: Part) -> Snapshot | None:
    """Read the list as far back as the batch can be."""
    similar: list[Listed] = []
    after: str | None = None
    taken = upload.journal.taken()
    for _ in range(_PAGES):
        page, now = await upload.page(after)
        noted = part.noted + now - time.time()
        for one in page.batches:
            if one.batch.id in taken:
                continue
            if one.name == part.name or (part.file and one.file == part.file):
                return one.batch
            if is_similar(one, part, noted, upload.task.settings.request_timeout):
                similar.append(one)
        oldest = page.batches[-1] if page.batches else None
        created = oldest.created if oldest else None
        if page.after is None or (created is not None and created < noted - _SKEW):
            break
        after = page.after
    else:
        raise ProviderError(f"the list of batches has over {_PAGES} newer pages")
    return await _told_apart(upload, part, similar)


def is_similar(one: Listed, part: Part, noted: float, timeout: float) -> bool:
    """Return whether a batch without name or file can be the one."""
    if one.name is not None or one.file is not None:
        return False
    created = noted if one.created is None else one.created
    in_time = noted - _SKEW <= created <= noted + timeout + _SKEW
    return in_time and one.batch.total in (0, part.requests)


async def _told_apart(
    upload: Upload, part: Part, similar: list[Listed]
) -> Snapshot | None:
    """Return the batch with these very requests, or the only one that can be."""
    keys = {key.hex() for key in upload.journal.rows(part)}
    left = []
    for one in similar:
        names: set[str] = set()
        for url in one.batch.files:
            with suppress(ProviderError):  # gone: it says nothing
                names |= {result.custom_id for result in await upload.results(url)}
        if names & keys:
            return one.batch
        if not names:
            left.append(one)
    if len(left) > 1:
        listed = ", ".join(visible(one.batch.id) for one in left)
        msg = f"{len(left)} batches of its time and size are there: {listed}"
        raise upload.unclear(part.requests, ProviderError(msg))
    part.guessed = bool(left)
    return left[0].batch if left else None
