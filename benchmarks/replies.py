"""What the server answers: the records of the rows that a request names."""

from __future__ import annotations

import json
import re

ROW = re.compile(rb"#(\d+)#")
_TAIL = (
    b'"},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,'
    b'"completion_tokens":%d,"total_tokens":%d}}'
)
_HEAD = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,'
    b'"model":"bench","choices":[{"index":0,"message":{"role":"assistant",'
    b'"refusal":null,"content":"'
)
_CONTENT = (
    b'{\\"records\\":[{\\"question\\":\\"what is in row %d?\\",'
    b'\\"answer\\":\\"row %d holds some text\\"}]}'
)


def expected(row: int) -> tuple[str, str]:
    return f"what is in row {row}?", f"row {row} holds some text"


def tokens(body: bytes, row: int) -> tuple[int, int]:
    """Count as a provider would, near enough: four bytes a token."""
    return len(body) // 4, 20 + row * 7919 % 41


def completion(body: bytes, row: int, *, broken: bool = False) -> bytes:
    """Answer a chat completion; `broken` cuts the model's text off."""
    read, written = tokens(body, row)
    if b'"function_call"' in body:
        return _function_call(row, read, written)
    content = _CONTENT % (row, row)
    if broken:
        content = content[:40]
    return _HEAD + content + _TAIL % (read, written, read + written)


def _function_call(row: int, read: int, written: int) -> bytes:
    """Answer in the dialect of 2023, which one of the clients speaks."""
    question, answer = expected(row)
    call = {"name": "f", "arguments": ""}
    call["arguments"] = json.dumps({"p": [{"question": question, "answer": answer}]})
    message = {"role": "assistant", "content": None, "function_call": call}
    reply = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(read, written, "prompt", "completion"),
    }
    return json.dumps(reply).encode()


def message(body: bytes, row: int, *, broken: bool = False) -> bytes:
    """Answer Anthropic's Messages API."""
    read, written = tokens(body, row)
    text = (_CONTENT % (row, row)).replace(b'\\"', b'"').decode()
    reply = {
        "id": "msg-bench",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": [{"type": "text", "text": text[:40] if broken else text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": read, "output_tokens": written},
    }
    return json.dumps(reply).encode()


def response(body: bytes, row: int, *, broken: bool = False) -> bytes:
    """Answer the Responses API: one message for each input of the request."""
    read, written = tokens(body, row)
    answers = []
    for one in json.loads(json.loads(body)["input"])["user_messages"]:
        at = int(ROW.search(one["body"].encode())[1])
        question, answer = expected(at)
        answers.append(
            {
                "id": one["id"],
                "body": {"records": [{"question": question, "answer": answer}]},
            }
        )
    text = json.dumps({"assistant_messages": answers})
    part = {"type": "output_text", "text": text, "annotations": []}
    if broken:
        part["text"] = text[:40]
    message = {
        "id": "msg-bench",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    reply = {
        "id": "resp-bench",
        "object": "response",
        "created_at": 1750000000,
        "model": "bench",
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(read, written, "input", "output"),
    }
    return json.dumps(reply).encode()


def _usage(read: int, written: int, first: str, second: str) -> dict:
    return {
        f"{first}_tokens": read,
        f"{second}_tokens": written,
        "total_tokens": read + written,
    }


def error(kind: str, message: str, code: str) -> bytes:
    fields = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": fields}).encode()
