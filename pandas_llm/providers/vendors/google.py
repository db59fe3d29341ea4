"""Google's Gemini: ``generateContent``.

Field names: the google-genai package 3.4; errors as people have recorded them.
"""

from __future__ import annotations

import re
from mimetypes import guess_type
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

import orjson

from pandas_llm.errors import PromptFilteredError
from pandas_llm.providers import batches, failures
from pandas_llm.providers.answers import bodies, streams
from pandas_llm.providers.dialect import Bundling, Dialect
from pandas_llm.providers.failures.negotiation import merged
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Capabilities, Choice, FileLimits, ImageLimits, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.errors import ProviderError
    from pandas_llm.providers.dialect import Body, Schema, Texts
    from pandas_llm.types import (
        Attachment,
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        Image,
        Reply,
        Spec,
    )

_VERSION = re.compile(r"/v\d\w*(/|$)")
_COUNTS = (
    *("promptTokenCount", "candidatesTokenCount"),
    *("cachedContentTokenCount", "thoughtsTokenCount"),
)
_TOLD = {
    *("candidates", "usageMetadata", "modelVersion", "responseId", "createTime"),
    *("content", "finishReason", "index", "tokenCount"),
}
"""Fields that tell nothing about an answer, or what other columns tell."""


_ADDRESS = re.compile(r"(.*)/(v\d\w*)/((?:models|tunedModels)/[^/]+):(\w+)")
_METHODS = {
    "generateContent": "batchGenerateContent",
    "batchEmbedContents": "asyncBatchEmbedContent",
}
_ENDED = ("succeeded", "failed", "cancelled", "expired", "partially_succeeded")
_STATUS = (500, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503)
"""The HTTP status of each code of gRPC's, as Google's reference pairs them."""
_FULL = 429
_BEHIND_KEY = b'","request":'


class GoogleBatches(batches.Batches):
    """Batches of one model."""

    inline = 19_000_000
    """20 MB a request, and keys are longer there than in a file."""
    queue_full = "RESOURCE_EXHAUSTED"
    size: ClassVar[Mapping[str, Any]] = {"pageSize": 50}
    """A page may hold the results of its batches."""
    cursor = "pageToken"

    def based(self, address: str) -> str:
        known = _ADDRESS.fullmatch(address)
        if known is None or known[4] not in _METHODS:
            raise batches.no_batches(address)
        self._root, self._version, model, method = known.groups()
        self._method = f"{model}:{_METHODS[method]}"
        self._embeds = method == "batchEmbedContents"
        if self._embeds:
            self.inline = min(self.inline, 1 << 20)  # vectors are far longer than texts
        return f"{self._root}/{self._version}"

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Write one request as a file has it; of embeddings without the list."""
        if self._embeds:
            body = body.removeprefix(b'{"requests":[').removesuffix(b"]}")
        return f'{{"key":"{custom_id}'.encode() + _BEHIND_KEY + body + b"}\n"

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Write what the file is and the file, in one request."""
        file = {"displayName": "batch.jsonl", "mimeType": "application/jsonl"}
        about = "Content-Type: application/json", [orjson.dumps({"file": file})]
        url = self.at("files", uploadType="multipart")
        url = url.replace(self.base, f"{self._root}/upload/{self._version}", 1)
        content = "Content-Type: application/jsonl", lines
        return self.in_parts(url, "related", about, content)

    def uploaded(self, body: bytes) -> str:
        return str(bodies.parsed(body)["file"]["name"])

    def unready(self, body: bytes) -> str | None:
        """Return the file's address while it is looked through."""
        data = bodies.parsed(body)
        file = data.get("file", data)
        return self.at(file["name"]) if file.get("state") == "PROCESSING" else None

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        source = b'{"fileName":' + orjson.dumps(file)
        if not file:
            each = b",".join(map(_inline, lines))
            source = b'{"requests":{"requests":[' + each + b"]}"
        head = b'{"batch":{"displayName":' + orjson.dumps(name) + b',"inputConfig":'
        return self.posted(self._method, head + source + b"}}}")

    def listed(self, body: bytes, after: str | None = None) -> batches.Page:
        """Read a page, which is empty where there is no batch."""
        data = bodies.parsed(body)
        jobs = tuple(map(self.entry, data.get("operations") or ()))
        return batches.Page(jobs, data.get("nextPageToken") or None)

    def entry(self, data: Any) -> batches.Listed:
        """Read a batch, without its moment: the order of the list is not known."""
        about = data["metadata"]
        file = (about.get("inputConfig") or {}).get("fileName")
        name = about.get("displayName") or ""
        return batches.Listed(self.snapshot(data), name, file, None)

    def poll(self, batch: str) -> str:
        return self.at(batch)

    def cancel(self, batch: str) -> HTTPRequest:
        return self.posted(f"{batch}:cancel", b"{}")

    def snapshot(self, data: Any) -> batches.Snapshot:
        """Read an operation; its numbers are texts."""
        name, about, error = data["name"], data["metadata"], data.get("error") or {}
        word = about["state"].partition("STATE_")[2].lower()
        stats = about.get("batchStats") or {}
        total, done, failed = (
            int(stats.get(f"{what}equestCount") or 0)
            for what in ("r", "successfulR", "failedR")
        )
        output = _output(data)
        place = self.poll(name) if output.get("inlinedResponses") else ""
        if file := output.get("responsesFile"):
            place = self.at(f"{file}:download", alt="media")
        return batches.Snapshot(
            name,
            bool(data.get("done")) or word in _ENDED,
            word,
            *(total, done, failed),
            (place,) * bool(place),
            error.get("message"),
            word == "failed" and _status(error) == _FULL,
        )

    def items(self, body: bytes) -> Sequence[Any]:
        """Return the lines of a file, or the results within an operation."""
        try:
            whole = orjson.loads(body)
        except orjson.JSONDecodeError:
            whole = {}
        inline = _output(whole).get("inlinedResponses") if "name" in whole else None
        return inline["inlinedResponses"] if inline else super().items(body)

    def result(self, data: Any) -> batches.Result:
        key = data.get("key") or (data.get("metadata") or {}).get("key") or ""
        return batches.Result(key, _response(data))


class Google(Dialect):
    """``generateContent`` of one model."""

    images = ImageLimits(
        70_000_000, 70_000_000, ("image/png", "image/jpeg", "image/webp")
    )
    """100 MB a request; Gemini 2 refuses a GIF."""
    files = FileLimits(
        50_000_000,
        70_000_000,
        ("application/pdf", "text/plain", "audio/wav", "audio/mp3"),
        fetches=True,
        page=560,
        second=32,
    )
    """50 MB a PDF (its page on ways to give files). A page is 258 tokens (its page on
    documents), 560 for Gemini 3 (media resolution); a second of audio 32 (audio)."""
    capabilities = Capabilities(repeats=False)
    """Gemini has refused two turns of one role in a row."""
    path = "generateContent"
    vectors_path = "batchEmbedContents"
    conversation = "contents"
    ending = b'""}]}]}'
    embeds = Bundling(100)
    batches = GoogleBatches
    joined = staticmethod(streams.candidates)
    key_header = "x-goog-api-key"
    seeded = "generationConfig"
    names: ClassVar[Mapping[str, str]] = {
        "top_p": "topP",
        "stop": "stopSequences",
        "n": "candidateCount",
    }

    def address(self, endpoint: Endpoint, path: str) -> str:
        """Return an address; the vendor's own variable holds it without a version."""
        versioned = _VERSION.search(urlsplit(endpoint.base_url).path)
        version = "" if versioned else "/v1beta"
        return f"{endpoint.base_url}{version}/{quote(_resource(endpoint.model))}:{path}"

    def embeddings(
        self, texts: Texts, spec: Spec, capabilities: Capabilities, dimensions: int
    ) -> Body:
        """Write a request for each text; `extra`, as ``taskType``, is of each."""
        each: dict[str, Any] = {"model": _resource(self.model)}
        if dimensions:
            each["outputDimensionality"] = dimensions
        each |= spec.extra
        return {
            "requests": [{**each, "content": {"parts": [{"text": t}]}} for t in texts]
        }

    def vectors(self, data: Any) -> list[Any]:
        return [item["values"] for item in data["embeddings"]]

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        config = self.sent(spec, capabilities)
        if "reasoning_effort" in config:
            effort = config.pop("reasoning_effort")
            newer = {"thinkingLevel": effort.upper()}
            none = {"thinkingBudget": 0}
            config["thinkingConfig"] = none if effort == "none" else newer
        if schema and capabilities.schema != "prompt":
            config["responseMimeType"] = "application/json"
            if capabilities.schema == "json_schema":
                config["responseJsonSchema"] = schema
        if n > 1:
            config["candidateCount"] = n
        if spec.max_tokens is not None:
            config["maxOutputTokens"] = spec.max_tokens
        return merged({"generationConfig": config} if config else {}, spec.extra)

    def instructions(self, system: str) -> Body:
        return {"systemInstruction": {"parts": self.parts(system)}}

    def turn(self, role: str, content: Any) -> Body:
        role = "model" if role == "assistant" else role
        return {"role": role, "parts": self.parts(content)}

    def picture(self, image: Image) -> dict[str, Any]:
        """Return an image or a file in base64, or its address and its type by name."""
        if image.data:
            return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
        media_type = guess_type(urlsplit(image.url).path)[0]
        type_ = {"mimeType": media_type} if media_type else {}
        return {"fileData": {"fileUri": image.url, **type_}}

    def file(self, file: Attachment) -> dict[str, Any]:
        return self.picture(file)

    def words(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def usage(self, data: Any) -> Used:
        return Used(_tokens(data["usageMetadata"]))

    def load(self, response: HTTPResponse) -> Any:
        """Parse a body; a list of chunks is a stream in another form."""
        data = super().load(response)
        if isinstance(data, list) and not failures.holds_error(data):
            return self.joined(data)
        return data

    def parse(self, response: HTTPResponse) -> Reply:
        """Read the candidates; there are none when the prompt is blocked."""
        data = self.answer(response)
        candidates = data.get("candidates")
        if not candidates:
            raise _without(data, response)
        choices = bodies.choices(candidates, lambda one: _choice(one, response, data))
        reply = self.reply(choices, response, data)
        model, id_ = data.get("modelVersion"), data.get("responseId")
        return reply._replace(model=model, request_id=id_, response_id=id_)


def _resource(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _without(data: Body, response: HTTPResponse) -> ProviderError:
    """Return the error of an answer without candidates."""
    feedback = data.get("promptFeedback")
    if isinstance(feedback, dict) and (reason := feedback.get("blockReason")):
        msg = f"the prompt was blocked ({reason})"
        return PromptFilteredError(msg, status=response.status, code=str(reason))
    return failures.lacks("candidates", response)


def _choice(candidate: dict[str, Any], response: HTTPResponse, whole: Body) -> Choice:
    """Read one candidate; its content may lack, or have no parts."""
    parts = (candidate.get("content") or {}).get("parts") or ()
    text = "".join(p.get("text") or "" for p in parts if not p.get("thought"))
    reason = candidate.get("finishReason")
    raw = bodies.beside(response, _TOLD, whole, candidate, parts=parts)
    if not text.strip() and any("functionCall" in part for part in parts):
        reason = "tool_calls"
    return Choice(text, bodies.finished(text, reason, response), raw=raw)


def _tokens(usage: Any) -> Tokens:
    """Add up the output: the thinking is not among the candidates' tokens."""
    counted = bodies.tokens(usage, _COUNTS)
    tools = bodies.amount(usage.get("toolUsePromptTokenCount")) or 0
    heard = sum(
        bodies.amount(part.get("tokenCount")) or 0
        for part in bodies.objects(usage.get("promptTokensDetails"))
        if part.get("modality") == "AUDIO"
    )
    return counted._replace(
        input=counted.input + tools,
        output=counted.output + counted.reasoning,
        audio=heard,
    )


def _inline(line: bytes) -> bytes:
    """Write a line of a file as one of the requests within a batch."""
    key, _, request = line.partition(_BEHIND_KEY)
    return b'{"metadata":' + key + b'"},"request":' + request.rstrip()


def _output(operation: Any) -> Any:
    return operation.get("response") or operation["metadata"].get("output") or {}


def _status(error: Any) -> int:
    code = error.get("code") or 0
    return _STATUS[code] if 0 <= code < len(_STATUS) else max(400, code)


def _response(one: Any) -> HTTPResponse:
    """Return an answer as an ordinary request would have had it."""
    if error := one.get("error") or one.get("status"):
        status = _status(error)
        return batches.answered(status, {"error": {**error, "code": status}})
    reply = one.get("response") or one
    if "embedding" in reply:
        used = {"promptTokenCount": reply.get("tokenCount")}
        reply = {"usageMetadata": used, **reply, "embeddings": [reply["embedding"]]}
    return batches.answered(200, reply)


PRESETS: Mapping[str, Preset] = {
    "google": Preset(
        Google,
        "https://generativelanguage.googleapis.com/v1beta",
        "GOOGLE_GEMINI_BASE_URL",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        keeps=(("gemini-2.5", 2048), ("", 4096)),  # its page on caching, implicit
    )
}
