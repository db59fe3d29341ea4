"""What the simulator reads out of a prompt: its document, sentences, numbers, dates."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Long documents are read only so far: an answer needs a handful of sentences.
_READ_AT_MOST = 20_000
_LONGEST_SENTENCE = 240
_PHRASE_WORDS = 4
_SCHEMA_TRIES = 50

# "document:", "Text:", "The review (in German):" at the start of a line or sentence.
_LABEL = re.compile(
    r"(?:^[ \t]*|(?<=[.?!])[ \t]+)\w[^\n:.?!]{0,40}:(?=\s|$)", re.MULTILINE
)
_LABEL_ONLY = re.compile(r"\n[ \t]*\w[^\n:.?!]{0,40}:\s*$")
_INSTRUCTION = re.compile(
    r"\s*(?:please\s+)?(?:answer|categori[sz]e|choose|classify|create|decide|describe"
    r"|determine|does|explain|extract|find|generate|give|how|identify|is|judge|label"
    r"|list|name|pick|rate|read|return|rewrite|say|select|summari[sz]e|tell|translate"
    r"|use|what|when|where|which|who|why|write|you)\b",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\s*(?:that|the|this|your) (?:(?:above|last|previous) )?"
    r"(?:answer|message|output|reply|response)\b.{0,4000}\bagain\b",
    re.IGNORECASE | re.DOTALL,
)
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])|\n+")  # noqa: RUF001
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")  # noqa: RUF001
_DATE = re.compile(
    r"\b(?:1[5-9]|20|21)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])\b"
)
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?!\d)(?:\.\d{1,9})?")
STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been but by can did do does for from had has have he "
        "her his how i if in into is it its may more most my no not of on or our she "
        "so some such than that the their them then there these they this those to "
        "was we were what when where which who will with would you your"
    )
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The document of a prompt, taken apart."""

    document: str
    sentences: tuple[str, ...]
    words: frozenset[str]
    numbers: tuple[float, ...]
    dates: tuple[str, ...]


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last message of the user."""
    return next(_user_texts(messages), "")


def read_prompt(messages: Sequence[Mapping[str, Any]]) -> Prompt:
    """Read the prompt that the answer has to be about.

    A user message that only complains about the last reply is passed over: a model that
    is asked again answers the question, not the complaint.
    """
    texts = list(_user_texts(messages))
    asked = (text for text in texts if not _CORRECTION.match(text))
    return _read(next(asked, texts[0] if texts else ""))


def schema_in_text(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the JSON schema of an object that is written out in the messages."""
    for text in map(message_text, messages):
        if '"properties"' not in text:
            continue
        for value in _json_objects(text):
            if isinstance(value.get("properties"), dict):
                return value
    return None


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(text))


@lru_cache(maxsize=1024)
def numbers_of(text: str) -> tuple[float, ...]:
    """Return the numbers of a text that are not part of a date."""
    digits = (match.replace(",", "") for match in _NUMBER.findall(_DATE.sub(" ", text)))
    values = (float(n) if "." in n else int(n) for n in digits)
    return tuple(dict.fromkeys(values))


def written(number: float, text: str) -> str | None:
    """Return how a number stands in a text."""
    numbers = _NUMBER.findall(text)
    return next((n for n in numbers if float(n.replace(",", "")) == number), None)


@lru_cache(maxsize=1024)
def key_phrase(sentence: str) -> str:
    """Return the longest run of at most four words that carry meaning."""
    best: list[str] = []
    run: list[str] = []
    for word in _WORD.findall(sentence):
        run = [] if word.lower() in STOP_WORDS else [*run, word][-_PHRASE_WORDS:]
        if sum(map(len, run)) > sum(map(len, best)):
            best = run
    return " ".join(best) or sentence


def clip(text: str, length: int) -> str:
    """Cut a text to a length, between two words where that is possible."""
    if len(text) <= length:
        return text
    cut = text[:length]
    return cut if text[length].isspace() else cut.rpartition(" ")[0].rstrip() or cut


def _user_texts(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (message_text(m) for m in reversed(messages) if m.get("role") == "user")


@lru_cache(maxsize=256)
def _read(text: str) -> Prompt:
    document = _document(text[:_READ_AT_MOST])
    return Prompt(
        document=document,
        sentences=_sentences(document),
        words=words_of(document),
        numbers=numbers_of(document),
        dates=tuple(dict.fromkeys(filter(_is_date, _DATE.findall(document)))),
    )


def _document(text: str) -> str:
    label = _LABEL.search(text)
    if label is None:
        return _without_instructions(text) or text.strip()
    labelled = _LABEL_ONLY.sub("", text[label.end() :]).strip()
    # Nothing after the label: "…\nAnswer:" at the end, or a document that is empty.
    return labelled or _without_instructions(text[: label.start()])


def _without_instructions(text: str) -> str:
    lines = text.splitlines()
    while lines and (not lines[0].strip() or _INSTRUCTION.match(lines[0])):
        del lines[0]
    return "\n".join(lines).strip()


def _sentences(document: str) -> tuple[str, ...]:
    pieces = (
        clip(piece.strip(), _LONGEST_SENTENCE) for piece in _BREAK.split(document)
    )
    return tuple(dict.fromkeys(piece for piece in pieces if _WORD.search(piece)))


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:  # the 31st of June
        return False
    return True


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    start = text.find("{")
    for _ in range(_SCHEMA_TRIES):
        if start < 0:
            return
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)
