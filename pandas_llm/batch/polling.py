"""Asks for the state of a job's batches, and keeps the results of those that ended."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from pandas_llm.batch.recovery import settle_all
from pandas_llm.batch.sending import send_waiting
from pandas_llm.batch.upload import Upload
from pandas_llm.errors import LLMError, ModelNotFoundError, ProviderError, ServerError
from pandas_llm.providers import succeeded
from pandas_llm.redaction import shown, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._run import Task
    from pandas_llm.batch.state import Journal, Part
    from pandas_llm.providers import Result, Snapshot

_KEY = re.compile("[0-9a-f]{32}")
_KEPT = 86_400.0
"""Seconds for which all providers know a batch, and have its results."""
_GONE = "no longer known to the provider"


async def poll(task: Task, journal: Journal) -> str:
    """Ask for all batches that have not ended; return the provider's last word."""
    if not journal.state.pending:
        return ""
    word, unfound = "", None
    async with Upload.opened(task, journal) as upload:
        await _settle(upload)
        live = journal.state.live
        for part in live:
            try:
                await _take(upload, part, await upload.state_of(part.id))
                word = part.word
            except ModelNotFoundError as error:
                if _is_young(part):
                    unfound = _not_found(journal, part, error)
                else:
                    part.end(_GONE)
        journal.save()
        if unfound is not None:
            raise unfound
        # room comes as batches end; one that was just held back is not asked for
        if not any(part.waiting for part in live) and (
            not journal.state.live or any(part.ended for part in live)
        ):
            async with journal.sole_sender():
                await send_waiting(upload)
    return word


async def _settle(upload: Upload) -> None:
    """Find out whether the batches exist whose creation was never confirmed."""
    if upload.journal.state.open:
        async with upload.journal.sole_sender():
            upload.journal.save()  # takes up what another process has found out
            await settle_all(upload)


def _is_young(part: Part) -> bool:
    """Return whether the provider cannot have forgotten a batch by itself."""
    return time.time() - part.noted < _KEPT


def _not_found(journal: Journal, part: Part, error: ProviderError) -> ProviderError:
    """Return the error of a batch that is there, but not for this key or right now."""
    journal.tell(f"the provider does not find {part.id}")
    msg = (
        f"the provider does not find the batch {part.id}, or its results, though it "
        f"keeps them for days ({error}). Was it made with the key of another account "
        "or project? The same call looks again. If it was deleted, "
        f"pandas_llm.batch.load({journal.state.id!r}).cancel() gives it up, and a call "
        "sends its rows once more"
    )
    return ServerError(msg, status=error.status, request_id=error.request_id)


async def _take(upload: Upload, part: Part, snapshot: Snapshot) -> None:
    """Note the state of a batch; keep its results if it has ended."""
    journal = upload.journal
    part.word = visible(snapshot.word)
    part.reason = snapshot.reason and visible(snapshot.reason)
    part.done, part.failed = snapshot.done, snapshot.failed
    if snapshot.full and part.file:
        journal.full(part, snapshot.reason or "")
    elif snapshot.ended:
        keys = {key.hex() for key in journal.rows(part)}
        own: dict[str, Result] = {}
        results = await _results(upload, part, snapshot.files)
        if part.ended:
            return  # another thread has taken them meanwhile
        for result in results:
            name = result.custom_id  # a line may stand there twice, or be another's
            ours = name in keys if keys else _KEY.fullmatch(name)
            if ours and not _answered(own.get(name)):
                own[name] = result
        if part.guessed and not own:
            part.reason = "it was another's batch of the same moment and size"
        else:
            # what is done and not there was paid for: nobody can tell how much
            lost = max(0, part.done - sum(map(_answered, own.values())))
            journal.state.counters.unpriced += lost
            if lost and not part.reason:
                part.reason = (
                    f"its results lack {lost} of the {part.done} that are done"
                )
        for result in own.values():
            upload.keep(result)
        upload.cache.flush()
        if upload.cache.broken:
            why = upload.cache.broken
            raise LLMError(f"the batch's answers cannot be kept: {why}")
        part.ended = True


def _answered(result: Result | None) -> bool:
    """Return whether a request was answered, so that it is paid for."""
    response = result.response if result is not None else None
    return response is not None and succeeded(response)


async def _results(upload: Upload, part: Part, urls: Sequence[str]) -> list[Result]:
    """Fetch all results of a batch, before any is counted."""
    whole = part.done and part.done + part.failed >= part.requests
    if whole and not urls and _is_young(part):  # Google keeps none of an expired one
        raise ModelNotFoundError(f"{part.done:,} are done, and no file is named")
    results: list[Result] = []
    for url in urls:
        try:
            results += await upload.results(url)
        except ModelNotFoundError:
            if _is_young(part):
                raise
            part.reason = (
                f"its results are gone from the provider ({shown(url)}: 404), "
                "which keeps them for some weeks; batch=True sends the rows again"
            )
    return results


async def cancel(task: Task, journal: Journal) -> None:
    """End the batches of a job; those that wait are never sent."""
    journal.save()  # takes up what another process has sent meanwhile
    for part in journal.state.waiting:
        part.end("never sent")
    journal.state.unsent, journal.state.beside = 0, []
    failed: ProviderError | None = None
    async with Upload.opened(task, journal) as upload:
        try:
            await _settle(upload)
        finally:
            for part in journal.state.live:
                try:
                    await _end(upload, part)
                except ProviderError as error:  # the others cost as well
                    failed = error
            journal.save()
    if failed is not None:
        raise failed


async def _end(upload: Upload, part: Part) -> None:
    """End a batch, unless it has ended; give up one that is not found."""
    try:
        snapshot = await upload.state_of(part.id)
    except ModelNotFoundError:
        part.end(_GONE)
        return
    if not snapshot.ended:  # else it would be refused
        await upload.send(upload.batches.cancel(part.id))
        snapshot = await upload.state_of(part.id)
    part.word = visible(snapshot.word)
