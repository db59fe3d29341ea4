"""What to try after a refused parameter; the same steps for every dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.errors import ContextLengthError, PromptFilteredError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.errors import LLMError
    from pandas_llm.types import Capabilities, Request, SchemaMode, Spec

SAMPLING = ("temperature", "top_p", "seed", "stop")
"""Options that are left out, with a warning, where a model refuses them."""
TIER = "service_tier"
"""The option, and the field in every vendor's body that has it."""
CACHE_KEY = "prompt_cache_key"
_WITHOUT = (
    *("store", CACHE_KEY, "prompt_cache_options", "prompt_cache_breakpoint"),
    *("cache_control", "cachePoint"),
)
"""Fields that change no answer."""
MODES: tuple[SchemaMode, ...] = ("json_schema", "json_object", "prompt")
_LIMITS = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
_MOST = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    *("maxOutputTokens", "maxTokens", "max_new_tokens", "num_predict"),
)
"""Names of the most tokens of an answer, in the bodies of all vendors."""
_CHOICES = ("n", "best_of", "candidateCount")
"""Names of how many answers are written; each is billed."""
_LOGPROBS = ("logprobs", "top_logprobs")
_ALL = re.compile(r"sampling.(parameter|param|option)", re.IGNORECASE)
_SCHEMA = re.compile(
    r"response_?format|json_?schema|json_object|structured.output|grammar|schema"
    r"|text\.format|output_?(config|format)|response_?mime_?type|json mode",
    re.IGNORECASE,
)
_TOOL = re.compile(r"\btool_?(use|choice|config)?\b", re.IGNORECASE)
_KEYWORD = re.compile(
    r"['\"`](?:minimum|maximum|pattern|format)['\"`]|\bexclusiveM(?:in|ax)imum\b"
    r"|\b(?:multipleOf|(?:min|max)(?:Length|Items))\b|\bunsupported keyword"
    r"|\bpropert(?:y|ies)\b.*\b(?:minimum|maximum|pattern|format)\b",
    re.IGNORECASE,
)
"""What restricts a value in a schema; "maximum" alone may be that of anything."""
_NO_SYSTEM = re.compile(
    r"system (role|message|prompt|instruction)s? (is |are )?not supported"
    r"|does(?: not|n.t) support ['\"`]?(system|developer)\b|roles must alternate"
    r"|(developer|system) instructions? (is|are) not (enabled|supported)"
    r"|only user and assistant roles",
    re.IGNORECASE,
)
"""Of vLLM, TGI and llama.cpp by the model's template, OpenAI, Google and Bedrock."""
_ALTERNATE = re.compile("roles must alternate", re.IGNORECASE)
_BEFORE = (
    "parameters?|arguments?|options?|fields?|keys?|propert(?:y|ies)|supports?"
    "|specified in"
)
_LONG_QUOTE = re.compile(
    r"(?<!\w)(['\"`])(?:(?!\1).)*?\s(?:(?!\1).)*?\s(?:(?!\1).)*\1(?!\w)"
)
"""Three words in quotes are somebody's text, not an option's name."""


def downgrade(  # noqa: PLR0911 - a step a paragraph
    capabilities: Capabilities,
    error: LLMError,
    request: Request,
    names: Mapping[str, str],
    modes: Sequence[SchemaMode],
) -> Capabilities | None:
    """Step down one capability that an error names; None when nothing is left.

    `names` are the vendor's of our options; `modes` its ways to ask for a schema.
    """
    if isinstance(error, (ContextLengthError, PromptFilteredError)):
        return None  # they speak of the prompt, and may quote any word of it
    spec, refused = request.spec, capabilities.refused
    about = f"{getattr(error, 'param', None) or ''} {_subject(error)}"
    other = _LIMITS[capabilities.max_tokens]
    # servers name the newer field in both cases: refused, or recommended instead
    named = spec.max_tokens is not None and "max_completion_tokens" in about
    if named and other not in refused:
        without_it = _lacking(capabilities, capabilities.max_tokens)
        return replace(without_it, max_tokens=other)
    if lower := _lower_roles(capabilities, about, request):
        return lower
    field = next((name for name in _WITHOUT if _names(error, name)), None)
    if spec.tier and re.search(rf"\b{TIER}\b", about):
        field = TIER  # "Invalid service_tier argument"
    if field and field not in refused:
        return _lacking(capabilities, field)
    if spec.top_logprobs and capabilities.logprobs and _names(error, *_LOGPROBS):
        return replace(capabilities, logprobs=False)
    if lower := _lower_schema(capabilities, error, about, spec, modes):
        return lower
    if options := _refused_sampling(error, about, spec, refused, names):
        return _lacking(capabilities, *options)
    if spec.n > 1 and capabilities.n and _names(error, names.get("n", "n")):
        return replace(capabilities, n=False)
    return None


def _lower_roles(
    capabilities: Capabilities, about: str, request: Request
) -> Capabilities | None:
    """Step down what an error says of who may speak, and in which order."""
    alternate = _ALTERNATE.search(about)
    if alternate and capabilities.repeats and repeats_roles(request):
        return replace(capabilities, repeats=False)
    leads = request.system or note(request.spec.schema, capabilities)
    if leads and capabilities.system and _NO_SYSTEM.search(about):
        return replace(capabilities, system=False)
    return None


def repeats_roles(request: Request) -> bool:
    """Return whether one role speaks twice in a row."""
    roles = [role for role, _ in (*request.before, ("user", ""))]
    return any(one == after for one, after in pairwise(roles))


def _refused_sampling(
    error: LLMError,
    about: str,
    spec: Spec,
    refused: Sequence[str],
    names: Mapping[str, str],
) -> list[str]:
    """Return which sampling options an error names, singly or all at once."""
    sent = [name for name in SAMPLING if name in spec.sampling and name not in refused]
    named = [name for name in sent if _names(error, names.get(name, name))]
    if not named and _ALL.search(about):
        return [name for name in sent if name != "stop"]
    return named


def standard(capabilities: Capabilities) -> Capabilities:
    """Leave the service tier out, for a row that it has no room for."""
    return _lacking(capabilities, TIER)


def without(
    capabilities: Capabilities, error: LLMError, field: str, *values: str
) -> Capabilities | None:
    """Leave a field out from now on, when an error names it or its value."""
    if isinstance(error, (ContextLengthError, PromptFilteredError)):
        return None
    if field in capabilities.refused or not _names(error, field, *values):
        return None
    return _lacking(capabilities, field)


def _lacking(capabilities: Capabilities, *names: str) -> Capabilities:
    """Leave options or fields out from now on."""
    return replace(capabilities, refused=(*capabilities.refused, *names))


def _lower_schema(
    capabilities: Capabilities,
    error: LLMError,
    about: str,
    spec: Spec,
    modes: Sequence[SchemaMode],
) -> Capabilities | None:
    """Step down how a schema is asked for."""
    mode = capabilities.schema
    if not spec.schema:
        return None
    if mode == "json_schema" and (lower := without(capabilities, error, "strict")):
        return lower
    if (
        mode == "json_schema"
        and spec.constrained is not None
        and capabilities.constraints
        and (_KEYWORD.search(about) or _SCHEMA.search(about))
    ):  # first of all: with fewer keywords the schema may still be held to
        return replace(capabilities, constraints=False)
    unknown = _SCHEMA.search(about) or (mode == "tool" and _TOOL.search(about))
    if mode == modes[-1] or not unknown:
        return None
    return replace(capabilities, schema=modes[modes.index(mode) + 1])


def note(schema: Mapping[str, Any] | None, capabilities: Capabilities) -> str:
    """Return the schema in words, where the endpoint does not take it as a field."""
    if not schema or (capabilities.held and not capabilities.describe):
        return ""
    text = orjson.dumps(schema).decode()
    return f"Answer with one JSON object and nothing else. Its JSON schema is:\n{text}"


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Put a caller's own fields into a body, those of nested objects one by one.

    >>> merged({"config": {"a": 1}, "b": 2}, {"config": {"c": 3}})
    {'config': {'a': 1, 'c': 3}, 'b': 2}
    """
    both = {
        name: {**body[name], **value}
        for name, value in extra.items()
        if isinstance(value, dict) and isinstance(body.get(name), dict)
    }
    return {**body, **extra, **both}


def allowance(spec: Spec) -> tuple[int | None, int]:
    """Return the most tokens of a choice, and how many choices are billed.

    The greater of options and `extra` counts: which a server goes by is not known.

    >>> from pandas_llm.types import Spec
    >>> allowance(Spec("m", max_tokens=20, extra={"max_completion_tokens": 500}))
    (500, 1)
    >>> allowance(Spec("m", max_tokens=20, extra={"n": 3}))
    (20, 3)
    """
    n = max([spec.n, *_whole(spec.extra, _CHOICES)])
    limits = _whole(spec.extra, _MOST)
    if spec.max_tokens is not None:
        limits.append(spec.max_tokens)
    return max(limits, default=None), n


def _whole(fields: Mapping[str, Any], names: tuple[str, ...]) -> list[int]:
    """Return the counts that fields have under some names, however deep."""
    counts: list[int] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            counts += _whole(value, names)
        elif name in names and isinstance(value, int) and value > 0:
            counts.append(int(value))
    return counts


def _names(error: LLMError, *names: str) -> bool:
    """Return whether an error is about a field, by its `param` or by its subject."""
    param = getattr(error, "param", None) or ""
    if param.rpartition(".")[2] in names:
        return True
    field = rf"(?:[\w\[\]]+\.)*(?:{'|'.join(names)})"
    about = (
        rf"['\"`]{field}['\"`]",
        rf"(?:^|; ?){field}\s*[:=]",
        rf"\b{field} (?:parameter |option )?(?:is|are|was|does|can|must|has|cannot)\b",
        rf"(?:{_BEFORE}):? (?:the )?{field}\b",
        rf": {field}\W*$",
    )
    subject = _subject(error)
    return any(re.search(words, subject, re.IGNORECASE) for words in about)


def _subject(error: LLMError) -> str:
    """Return a vendor's own words, without what they quote at length."""
    words = getattr(error, "said", None)
    return _LONG_QUOTE.sub(" ", str(error) if words is None else words)
