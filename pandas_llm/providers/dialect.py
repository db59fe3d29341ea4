"""What all dialects share: bodies of a run, keys, steps down; and a `Reader`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import orjson

from pandas_llm._inputs import of_pairs
from pandas_llm._keys import narrowed, portable
from pandas_llm.errors import EncodingError
from pandas_llm.providers.answers.reader import Reader
from pandas_llm.providers.failures import negotiation
from pandas_llm.providers.turns import alternating, led, split
from pandas_llm.types import Capabilities, HTTPRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.errors import LLMError
    from pandas_llm.providers.batches import Batches
    from pandas_llm.providers.turns import Turns
    from pandas_llm.types import (
        Attachment,
        Endpoint,
        FileLimits,
        Image,
        ImageLimits,
        Request,
        SchemaMode,
        Spec,
    )

    Body = dict[str, Any]
    Texts = Sequence[str]
    Schema = Mapping[str, Any] | None
    _Common = tuple[dict[str, Any], str, Turns]


class Bundling(NamedTuple):
    """How much one request for embeddings may hold."""

    inputs: int = 2048
    tokens: int = 300_000


class Dialect(Reader):
    """A provider without `shared` and `parse`; how a vendor's requests are written."""

    capabilities = Capabilities()
    """What to try first."""
    images: ImageLimits | None = None
    """What images it takes; None for none."""
    files: FileLimits | None = None
    """What files it takes; None for none."""
    decides = False
    """Whether it answers closed questions, and nothing else."""
    logprobs = False
    """Whether it has fields for the probabilities of tokens."""
    modes: Sequence[SchemaMode] = negotiation.MODES
    """The ways to ask for a schema, the best first."""
    restricts = True
    """Whether a schema may restrict values by more than a format and one item."""
    names: ClassVar[Mapping[str, str]] = {}
    """The vendor's names of options, where they are others than ours."""
    lacking: tuple[str, ...] = ()
    """Options that it has no field for."""
    seeded = ""
    """The field that holds the seed's, where it is not in the body itself."""
    tiers: ClassVar[Mapping[str, str]] = {}
    """The vendor's names of service tiers, where it has them, by OpenAI's."""

    path = ""
    """What follows the base URL in the address of a request."""
    vectors_path = ""
    """What follows it in the address of a request for embeddings."""
    conversation = "messages"
    """The field of a body that holds the turns."""
    ending = b'""}]}'
    """How a body ends whose prompt is empty: with the prompt's own field."""
    key_header: ClassVar[str | None] = None
    """The header that holds a key as it is; None where a key is a bearer token."""
    fixed: ClassVar[Mapping[str, str]] = {}
    """Headers of every request."""
    embeds: ClassVar[Bundling | None] = None
    """What a request for embeddings may hold; None where there are none. With it go
    `vectors_path`, `embeddings`, and `vectors`: those of an answer in the order of the
    texts, each numbers or base64 of float32."""
    batches: ClassVar[type[Batches] | None] = None
    """What its batch endpoint is like; None where none is known."""

    mark: Mapping[str, Any] = {}
    """What a part gets at whose end the vendor is to keep what is before it; empty
    where it keeps beginnings by itself, or none."""
    keyed = False
    """Whether it takes a key by which requests that begin alike find one server."""
    reads_count = True
    """Whether the tokens that it reads from its cache count against its limits."""
    output_counts = 1.0
    """Tokens that one of the output takes from its limits."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.model = endpoint.model
        self._url = self.url(endpoint)
        headers = {"Content-Type": "application/json", **self.fixed}
        if endpoint.api_key:
            headers |= self.authorization(endpoint)
        self.headers = {**headers, **dict(endpoint.headers)}
        self._known: list[tuple[Any, _Common]] = []
        """What the bodies of each spec share; a row may have specs of its own."""
        self._before: tuple[Any, ...] = (None,)
        """What the last body began with, and for what."""

    def url(self, endpoint: Endpoint) -> str:
        """Return the address that requests go to."""
        return self.address(endpoint, self.path)

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address that requests for embeddings go to."""
        return self.address(endpoint, self.vectors_path)

    def address(self, endpoint: Endpoint, path: str) -> str:
        """Return an address at an endpoint."""
        return endpoint.base_url + path

    def authorization(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the headers that hold the key; a token is always a bearer's."""
        if self.key_header and not endpoint.token:
            return {self.key_header: endpoint.api_key or ""}
        return {"Authorization": f"Bearer {endpoint.api_key}"}

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        """Write what the bodies of a run share; the caller's `extra` wins."""
        raise NotImplementedError

    def filled(self, shared: Body, system: str, examples: Turns, turns: Turns) -> Body:
        """Return a new body with the system text, the examples and the row's turns."""
        fields = self.instructions(system) if system else {}
        first = [("system", system)] if system and not fields else []
        said = [self.turn(*turn) for turn in (*first, *examples, *turns)]
        return {**shared, **fields, self.conversation: said}

    def instructions(self, system: str) -> Body:
        """Return the field with the system text; none where it is the first turn."""
        return {}

    def turn(self, role: str, content: Any) -> Body:
        """Write a turn; its content is a text, or parts where more is attached."""
        return {"role": role, "content": content}

    def picture(self, image: Image) -> dict[str, Any]:
        """Return the part of a turn that holds an image."""
        raise NotImplementedError

    def file(self, file: Attachment) -> dict[str, Any]:
        """Return the part of a turn that holds a file."""
        raise NotImplementedError

    def words(self, text: str) -> dict[str, Any]:
        """Return the part of a turn that holds its text, where more is attached."""
        return {"type": "text", "text": text}

    def parts(self, content: Any) -> list[dict[str, Any]]:
        """Return the content of a turn as parts, whether it is a text or has some."""
        return [self.words(content)] if isinstance(content, str) else content

    def mark_before(self, fields: Body, turns: int) -> None:
        """Mark the end of what stands before the last turns of a body."""
        if before := fields["messages"][:-turns]:
            before[-1]["content"] = self.ended(before[-1]["content"])
        elif "system" in fields:
            fields["system"] = self.ended(fields["system"])

    def ended(self, content: Any) -> list[dict[str, Any]]:
        """Return the parts of a turn, with a mark at their end."""
        *parts, last = self.parts(content)
        return [*parts, *self.marked(last)]

    def marked(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a part with a mark at its end."""
        return [{**part, **self.mark}]

    def marking(self, capabilities: Capabilities) -> bool:
        """Return whether there is a mark that is not refused."""
        return bool(self.mark) and self.mark.keys().isdisjoint(capabilities.refused)

    def reseed(self, body: dict[str, Any], by: int) -> None:
        """Move the seed, for another answer to the same request."""
        seed, fields = self.names.get("seed", "seed"), body
        if self.seeded in body:
            fields = body[self.seeded] = {**body[self.seeded]}
        if seed in fields:
            fields[seed] += by

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Write the request; raise `EncodingError` for a lone surrogate."""
        try:
            body = self.body(request, capabilities, n)
            if request.shared and (key := self._key(request, capabilities)):
                body = b"%b%b}" % (body[:-1], key)
        except TypeError as error:  # orjson's JSONEncodeError is one
            raise EncodingError(
                f"the prompt cannot be sent as UTF-8: {error}"
            ) from None
        return HTTPRequest(self._url, self.headers, body)

    def body(self, request: Request, capabilities: Capabilities, n: int) -> bytes:
        """Write the body; where rows differ in their prompt only, the rest once."""
        shared = request.shared
        marking = bool(shared) and self.marking(capabilities)
        apart = request.followup or request.sample or request.attachments
        if apart or request.before or (marking and shared[-1]):
            return orjson.dumps(self._fields(request, capabilities, n))
        alike = (request.spec, capabilities, n, request.system, marking)
        if self._before[0] != alike:
            empty = request._replace(prompt="", shared=(0,) * marking)
            whole = orjson.dumps(self._fields(empty, capabilities, n))
            if not whole.endswith(self.ending):  # the caller's `extra` is last
                return orjson.dumps(self._fields(request, capabilities, n))
            self._before = (alike, whole.removesuffix(self.ending))
        text = orjson.dumps(request.prompt)
        return b"%b%b%b" % (self._before[1], text, self.ending[2:])

    def _fields(self, request: Request, capabilities: Capabilities, n: int) -> Body:
        """Return all fields, the prompt last."""
        key = (request.spec, capabilities, n)
        known = next((common for asked, common in self._known if asked == key), None)
        if known is None:
            known = self._common(*key)
            self._known.append((key, known))
        shared, note, examples = known
        system = "\n\n".join(filter(None, (request.system, note)))
        content: Any = request.prompt
        if request.attachments:
            # before the text, as Anthropic and Google advise; empty texts are refused
            content = [self.picture(image) for image in request.images]
            content += [self.file(file) for file in request.files]
            content += [self.words(request.prompt)] * bool(request.prompt)
        marking = bool(request.shared) and self.marking(capabilities)
        if marking and not request.attachments:
            content = split(request.prompt, request.shared, self.words, self.marked)
        turns: Turns = (*request.before, ("user", content), *request.followup)
        if request.before and not capabilities.repeats:
            turns = alternating(turns, self.words)
        if system and not capabilities.system:
            if examples:
                examples = led(system, examples, self.words)
            else:
                turns = led(system, turns, self.words)
            system = ""
        fields = self.filled(shared, system, examples, turns)
        if marking and not request.shared[0]:
            self.mark_before(fields, len(turns))
        if request.sample:
            self.reseed(fields, request.sample)
        return fields

    def _key(self, request: Request, capabilities: Capabilities) -> bytes:
        """Return the field by which requests that begin alike find one server."""
        taken = {*capabilities.refused, *request.spec.extra}
        if not self.keyed or negotiation.CACHE_KEY in taken:
            return b""
        begin = f"{request.system or ''}\0{request.prompt[: request.shared[-1]]}"
        digest = hashlib.blake2b(begin.encode("utf-8", "replace"), digest_size=12)
        return f',"{negotiation.CACHE_KEY}":"{digest.hexdigest()}"'.encode()

    def _common(self, spec: Spec, capabilities: Capabilities, n: int) -> _Common:
        """Make what all bodies share: fields, a note for the system text, examples."""
        sent = schema = portable(spec.schema) if spec.schema else None
        if spec.constrained and capabilities.constraints:
            sent = narrowed(spec.constrained, self.takes)
        body = self.shared(spec, sent, capabilities, n)
        return body, negotiation.note(schema, capabilities), of_pairs(spec.examples)

    def takes(self, keyword: str, value: Any) -> bool:
        """Return whether a schema may hold a keyword that restricts values."""
        if self.restricts or keyword == "format":
            return True
        return keyword == "minItems" and bool(value <= 1)

    def sent(self, spec: Spec, capabilities: Capabilities) -> dict[str, Any]:
        """Return the options that are sent, under the vendor's names."""
        left_out = (*capabilities.refused, *self.lacking)
        options = {
            self.names.get(name, name): value
            for name, value in spec.sampling.items()
            if name not in left_out
        }
        tier = self.tiers.get(spec.tier or "")
        if tier and negotiation.TIER not in left_out:
            options[negotiation.TIER] = tier
        return options

    def downgrade(
        self, capabilities: Capabilities, error: LLMError, request: Request
    ) -> Capabilities | None:
        """Step down one capability that the error names."""
        return negotiation.downgrade(
            capabilities, error, request, self.names, self.modes
        )

    def dropped(self, spec: Spec, capabilities: Capabilities) -> tuple[str, ...]:
        """Return the options that are not sent because the model refuses them."""
        left_out = {*capabilities.refused, *self.lacking} & spec.sampling.keys()
        names = [name for name in negotiation.SAMPLING if name in left_out]
        if spec.tier and negotiation.TIER not in self.sent(spec, capabilities):
            names.append(negotiation.TIER)
        return tuple(names)
