"""What is attached to requests: read once for many rows, and so much at a time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pandas_llm._inputs import attachments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pandas_llm.providers import Provider
    from pandas_llm.types import Attachment, Request

AT_ONCE = 128_000_000
"""Bytes of files on their way at a time. A run has several copies of each: as base64,
in the body, in the socket's buffer."""
RECENT = 32_000_000
"""Bytes of base64 that a run keeps at hand, for rows that share a file."""


class Recent:
    """The attachments that were read last, as base64, within a bound of bytes."""

    def __init__(self) -> None:
        self._read: dict[bytes, str] = {}
        self._size = 0
        self._lock = threading.Lock()

    def load(self, one: Attachment) -> Attachment:
        """Return an attachment with its data, read where it is not at hand."""
        with self._lock:
            if data := self._read.pop(one.digest, ""):
                self._read[one.digest] = data
                return one._replace(data=data)
        one = attachments.loaded(one)
        with self._lock:
            if one.data:  # an address has none
                before = self._read.pop(one.digest, "")  # of another thread
                self._size += len(one.data) - len(before)
                self._read[one.digest] = one.data
            while self._size > RECENT:
                self._size -= len(self._read.pop(next(iter(self._read))))
        return one


class Attached:
    """Reads the images and files of a client's requests, within a bound of bytes."""

    def __init__(self, provider: Provider, name: str) -> None:
        self._provider, self._name = provider, name
        self._recent = Recent()
        self._free = AT_ONCE
        self.waiting = 0
        """Rows that wait for room."""
        self._turn = asyncio.Lock()
        self._back = asyncio.Event()

    async def load(self, request: Request) -> Request:
        """Read what is attached in a thread; refuse what the provider does not take."""
        attachments.check(request, self._provider, self._name)
        read = await asyncio.to_thread(self._all, request.attachments)
        return request._replace(attachments=read)

    def _all(self, some: Sequence[Attachment]) -> tuple[Attachment, ...]:
        return tuple(map(self._recent.load, some))

    @asynccontextmanager
    async def held(self, request: Request) -> AsyncIterator[Request]:
        """Wait until there is room; yield the request with all that is attached."""
        size = min(AT_ONCE, sum(one.size for one in request.attachments))
        self.waiting += 1
        try:
            async with self._turn:  # in the order of asking: a large one would starve
                while self._free < size:
                    self._back.clear()
                    await self._back.wait()
                self._free -= size
        finally:
            self.waiting -= 1
        try:
            yield await self.load(request)
        finally:
            self._free += size
            self._back.set()
