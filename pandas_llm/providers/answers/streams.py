"""Event streams, which some gateways send unasked.

Each dialect's parts are put together to the answer that it would have sent whole. A
stream that ends too early is an error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pandas_llm.providers.answers.bodies import objects, parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry|):")
"""No JSON begins so."""
_LAST = "[DONE]"
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_BROKEN = {"code": "server_error", "message": "the event stream broke off"}
_LOST: dict[str, Any] = {"type": "error", "error": _BROKEN}
"""Stands for an event that cannot be read."""


def events(body: bytes) -> list[Any] | None:
    r"""Return what the events of a stream hold; None for any other body.

    >>> events(b'data: {"a": 1}\n\n: still there\n\ndata: [DONE]\n\n')
    [{'a': 1}, '[DONE]']
    >>> events(b'{"data": 1}')
    """
    if not _STREAM.match(body):
        return None
    parsed_events: list[Any] = []
    data: list[bytes] = []
    failed = False
    for line in (*body.removeprefix(b"\xef\xbb\xbf").splitlines(), b""):
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif line.startswith(b"event:"):
            failed = line[6:].strip() == b"error"
        elif not line.strip() and data:
            parsed_events += _event(data, failed=failed)
            data, failed = [], False
    if parsed_events and parsed_events[-1] is _LOST:
        parsed_events.pop()  # a part that was cut off: the reason to end tells
    return parsed_events


def _event(lines: Sequence[bytes], *, failed: bool = False) -> list[Any]:
    """Parse one event; some servers leave out the blank lines between them."""
    text = b"\n".join(lines)
    if text == _LAST.encode():
        return [_LAST]
    try:
        event = parsed(text)
    except ValueError:
        if len(lines) > 1:
            return [one for line in lines for one in _event([line], failed=failed)]
        if not failed:
            # what is not part of an object says that the server is there
            return [_LOST] * text.startswith(b"{")
        event = {**_BROKEN, "message": text.decode("utf-8", "replace")}
    told = not failed or (isinstance(event, dict) and "error" in event)
    return [event if told else {**_LOST, "error": event}]


def completion(events: Sequence[Any]) -> dict[str, Any]:
    """Put the chunks of OpenAI's chat completions together."""
    whole, choices = _by_index(events, "choices", "delta", "message", "logprobs")
    for choice in choices:
        said = choice.pop("delta", {})  # MiniMax repeats it all in a last message
        said = {name: value for name, value in said.items() if value}
        choice["message"] = {**choice.get("message", {}), **said}
        if _LAST not in events and choice.setdefault("finish_reason", None) is None:
            choice["error"] = _BROKEN
    return {**whole, "choices": choices}


def _by_index(
    events: Sequence[Any], name: str, *apart: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Put chunks and their choices together, of most fields the last; join some."""
    whole: dict[str, Any] = {}
    choices: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
    pieces: defaultdict[Any, list[Any]] = defaultdict(list)
    for event in objects(events):
        failed = event.get("object") == "error"  # vLLM, before its [DONE]
        whole |= {"error": event} if failed else _present(event)
        for at, part in enumerate(event.get(name) or ()):
            place = part.get("index", at)
            choices[place] |= _present(part)
            pieces[place].append({field: part.get(field) for field in apart})
    return whole, [{**c, **_merged(pieces[place])} for place, c in choices.items()]


def _present(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event that are not null."""
    return {name: value for name, value in event.items() if value is not None}


_WORDS = ("role", "id", "type", "name", "format", "signature")
"""Fields of a text that comes whole, with some servers in every part."""


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the parts of an object together, field by field."""
    fields: defaultdict[str, list[Any]] = defaultdict(list)
    for part in parts:
        for name, value in _present(part).items():
            fields[name].append(value)
    return {name: _together(name, values) for name, values in fields.items()}


def _together(name: str, values: Sequence[Any]) -> Any:
    """Put the parts of a field together: texts, lists, or the last of anything else."""
    if name in _WORDS or not all(isinstance(value, (str, list)) for value in values):
        objects = all(isinstance(value, dict) for value in values)
        return _merged(values) if objects else values[-1]
    if all(isinstance(value, str) for value in values):
        return "".join(values)
    listed: list[Any] = []
    for value in values:
        listed += value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict) and "index" in part for part in listed):
        return listed
    by_index: defaultdict[Any, list[Any]] = defaultdict(list)  # such as calls of tools
    for part in listed:
        by_index[part["index"]].append(part)
    return [_merged(same) for same in by_index.values()]


def message(events: Sequence[Any]) -> Any:
    """Put the events of Anthropic's Messages together."""
    whole: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    pieces: defaultdict[Any, list[Any]] = defaultdict(list)
    for event in objects(events):
        kind, at = event.get("type"), event.get("index")
        if kind in ("error", "message"):
            return event
        if kind == "message_start":
            whole |= event["message"]
        elif kind == "content_block_start":
            blocks[at] = dict(event["content_block"])
        elif kind == "content_block_delta":
            blocks.setdefault(at, {"type": "text"})
            pieces[at].append(event["delta"])
        elif kind == "message_delta":
            used = {**(whole.get("usage") or {}), **_present(event.get("usage") or {})}
            whole |= {**_present(event["delta"]), "usage": used}
    broken = {} if whole.get("stop_reason") else {"error": _BROKEN}
    content = [_block(block, pieces[at]) for at, block in blocks.items()]
    return {**whole, "content": content, **broken}


def _block(block: dict[str, Any], pieces: Sequence[Any]) -> dict[str, Any]:
    """Put what came of a block to how it began."""
    fields = _merged([{**piece, "type": None} for piece in pieces])
    if "partial_json" in fields:
        fields["input"] = _input(fields.pop("partial_json"))
    cited = [piece["citation"] for piece in pieces if "citation" in piece]
    if fields.pop("citation", None):
        fields["citations"] = [*(block.get("citations") or ()), *cited]
    for name in ("text", "thinking"):
        if name in fields:
            fields[name] = (block.get(name) or "") + fields[name]
    return {**block, **fields}


def _input(text: str) -> Any:
    """Read what a tool is called with; what is not JSON stays a text."""
    try:
        return parsed(text.encode())
    except ValueError:
        return text


def candidates(events: Sequence[Any]) -> Any:
    """Put the chunks of Google's ``streamGenerateContent`` together."""
    whole, listed = _by_index(events, "candidates", "content")
    if any("finishReason" not in one for one in listed):
        whole.setdefault("error", _BROKEN)
    return {**whole, "candidates": listed}


def response(events: Sequence[Any]) -> Any:
    """Find the whole of OpenAI's Responses, which the last event holds."""
    for event in objects(events):
        if event.get("type") in _ENDS:
            return event["response"]
        if event.get("type") == "error":
            return {"error": event.get("error") or event}
        if event.get("object") == "response":
            return event
    return {"error": _BROKEN}
