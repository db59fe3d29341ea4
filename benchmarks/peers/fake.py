"""A transport of no latency and no network, for what does not depend on either."""

import asyncio

from replies import ROW, completion

from pandas_llm import types
from pandas_llm._client import open as connection

PROSE = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"I would rather talk about the weather than write row %d as JSON."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":90,"completion_tokens":20}}'
)


class Transport:
    """Takes the place of the package's own."""

    prose = False
    account = ""

    def __init__(self, *_args, **_options) -> None:
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error) -> None:
        pass

    async def send(self, request, **_options):
        await asyncio.sleep(0)
        row = int(ROW.search(request.body)[1])
        body = PROSE % row if Transport.prose else completion(request.body, row)
        return types.HTTPResponse(200, {}, body)


def install(kind: str) -> None:
    Transport.prose = kind == "prose"
    connection.Transport = Transport
