"""Answers that never arrive whole: broken, cut or missing below HTTP."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import NoReturn

from aiohttp import web

from pandas_llm.simulator.conditions import JSON

# Linger for no time: what the socket holds is dropped, and the peer gets a reset.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


async def never() -> NoReturn:
    """Wait until the client goes away or the server shuts down."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def reset_connection(request: web.Request) -> NoReturn:
    """Break the connection off as a crashed server does: TCP's RST, not FIN."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    await never()


async def truncate(request: web.Request, body: bytes) -> NoReturn:
    """Announce a body, send its first half and close the connection."""
    response = web.StreamResponse(headers={"Content-Type": JSON})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    await never()
