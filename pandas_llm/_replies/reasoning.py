"""Remove reasoning and the marks of a chat template from the text of a reply."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = ("analysis", "Here")
"""Beginnings of reasoning without marks: gpt-oss without its tokens, Granite."""


class _Form(NamedTuple):
    """One way in which reasoning is set off from the answer."""

    opening: re.Pattern[str]
    closing: re.Pattern[str]
    own: bool
    """Whether only reasoning has this form; other names may be XML."""


def _form(opening: str, closing: str, *, own: bool = True) -> _Form:
    flags = re.IGNORECASE
    return _Form(re.compile(opening, flags), re.compile(closing, flags), own)


def _tag(name: str, *, own: bool) -> _Form:
    return _form(rf"<{name}(?:\s[^<>]{{0,80}})?>", rf"</{name}\s?>", own=own)


_OWN = ("think", "thinking", "seed:think", "seed:thinking", "mm:think", "longcat_think")
_SHARED = (
    *("thought", "thoughts", "reasoning", "analysis", "scratchpad", "reflection"),
    *("rationale", "inner_monologue", "chain_of_thought", "cot", "reason"),
)
_BRACKETED = ("THINK", "THINKING", "THOUGHT", "REASONING", "ANALYSIS", "SCRATCHPAD")
_FORMS = (
    *(_tag(name, own=True) for name in _OWN),
    *(_tag(name, own=False) for name in _SHARED),
    *(_form(rf"\[{n}\]", rf"\[/{n}\]") for n in _BRACKETED),
    _form("◁think▷", "◁/think▷"),  # Kimi
    _form(r"<\|channel>\s*(?:thought|analysis)?", r"<channel\|>"),  # Gemma
    _form(r"<unused94>(?:thought)?", "<unused95>"),  # MedGemma
    _form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command
    _form(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    _form(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # OpenThinker
    _form(r"<\|think(?:ing)?\|>", r"<\|/think(?:ing)?\|>"),
    _form(r'<details type="reasoning"[^<>]{0,80}>', "</details>"),  # Open WebUI
    _form(
        r"(?:Here's|Here is) my thought process:", r"(?:Here's|Here is) my response:"
    ),
)

_FINAL = re.compile(
    r"<\|channel\|>\s*final\b(?:[^<\n]{0,40}(?:<\|constrain\|>)?[^<\n]{0,40})"
    r"<\|message\|>"
)
_CHANNEL = re.compile(r"\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*\w+")
_PLAIN_FINAL = re.compile(
    r"\s*analysis(?=[\sA-Z\"'{\[]).*assistant\s?final:?", re.DOTALL
)
_BEGINS = re.compile(
    r"\s*(?:(?:<\|im_start\|>(?:\s*assistant)?|<\|start_header_id\|>\s*assistant\s*"
    r"<\|end_header_id\|>|<start_of_turn>(?:\s*model)?|<\|turn>(?:\s*model)?"
    r"|<\|(?:begin_of_text|assistant|START_RESPONSE|START_TEXT|CHATBOT_TOKEN"
    r"|START_OF_TURN_TOKEN|begin_of_solution|message|im_sep|eot_id|im_end|end)\|>"
    r"|<\|start\|>(?:\s*assistant)?|<\uff5cAssistant\uff5c>|<\uff5cbegin▁of▁sentence\uff5c>|<bos>"
    r"|<s>(?!(?s:.*)<s>)(?!(?s:.*)</s>\s*\S))\s*)+"
)
_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|call|eot|eos"
    r"|end_of_turn|endofturn|end_of_solution|stop|user|observation|im_start|start"
    r"|END_OF_TURN_TOKEN|END_RESPONSE|END_TEXT|start_header_id|pad|fim_pad)\|>"
    r"|<end_of_turn>|<start_of_turn>|<end_of_utterance>|<eos>|<turn\|>|<\|turn>"
    r"|<\uff5cend▁of▁sentence\uff5c>|<\uff5cUser\uff5c>|\[\|endofturn\|\]|</s>\s*(?:<s>|\[INST\])"
)
_LAST = re.compile(r"(?:</s>|\[EOS\]|<pad>|<EOT>|<\|end_of_box\|>)\s*\Z")
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")
_ANSWER = re.compile(
    r"\s*<(answer|response|output|final|final_answer)>(.*)</\1>\s*\Z", re.DOTALL
)
_MARKUP = re.compile(r"</[a-zA-Z][\w:-]*>")
_FENCED = re.compile(
    r"^[ \t]*```[^\n]*\n(?:(?![ \t]*```).*\n)*?[ \t]*```[ \t]*$", re.MULTILINE
)
_OBJECT = re.compile(r'[{\[](?=\s*["{\[])')
_BLANKS = re.compile(r"\s*")
_MOST_OBJECTS = 16
_NEAR = 200  # letters around a mark that show whether the text speaks of it
_QUOTES = dict(zip("\"'`(“\u2018«", "\"'`)”\u2019»", strict=True))
_SENTENCE_ENDS = ".!?…:;)}]>\"'`*"


def without_thinking(text: str) -> str | None:
    """Return a text without its thinking and its turn's end; None if nothing is left.

    Marks that the text speaks of stay: in code, quotes, valid JSON or a sentence.

    Examples
    --------
    >>> without_thinking("<think>Let me see.</think>Yes.")
    'Yes.'
    >>> without_thinking("Let me see.</think>Yes.<|im_end|>")
    'Yes.'
    >>> without_thinking("The `</think>` tag ends it.")
    'The `</think>` tag ends it.'
    """
    if not any(mark in text for mark in "<[◁") and not text.lstrip().startswith(_PLAIN):
        return text
    answer = _final_channel(text[_behind(_BEGINS, text) :])
    if answer is None:
        return None
    answer = _without_blocks(answer)
    if answer is not None and answer != text and (wrapped := _ANSWER.match(answer)):
        answer = wrapped[2].strip()
    return None if answer is None else _without_end(answer)


def _behind(pattern: re.Pattern[str], text: str, at: int = 0) -> int:
    """Return where a pattern ends that may stand at a place."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _final_channel(text: str) -> str | None:
    """Read the channels of gpt-oss: the final one is the answer."""
    if plain := _PLAIN_FINAL.match(text):
        return text[plain.end() :].lstrip()
    if "<|channel|>" not in text:
        return text
    if finals := list(_Context(text).real(_FINAL)):
        return text[finals[-1].end() :]
    if not _CHANNEL.match(text):
        return text
    _, end, rest = text.rpartition("<|end|>")
    rest = rest[_behind(_BEGINS, rest) :]
    return rest if end and rest.strip() and not _CHANNEL.match(rest) else None


def _without_blocks(text: str) -> str | None:
    """Remove all reasoning that marks set off; None when it never ends."""
    at = _behind(_BEGINS, text)
    while (form := _opened(text, at)) is not None:
        closing = _closing(text, form, at)
        if closing is None:
            return None
        at = _behind(_BEGINS, text, closing)
    text = text[at:].lstrip() if at else text
    for form in _FORMS:
        # a chat template may have written the opening mark
        if (end := _lone_closing(text, form)) is not None:
            return _without_blocks(text[end:].lstrip())
    for form in _FORMS:
        text = _without_inner(text, form)
    return text


def _opened(text: str, at: int) -> _Form | None:
    """Return the form in which a text begins with reasoning."""
    at = _behind(_BLANKS, text, at)
    return next((form for form in _FORMS if form.opening.match(text, at)), None)


def _closing(text: str, form: _Form, at: int) -> int | None:
    """Return where reasoning at the beginning ends."""
    marks = list(form.closing.finditer(text, at))
    real = [mark for mark in marks if not _is_quoted(text, mark)]
    return (real or marks)[0].end() if marks else None


def _lone_closing(text: str, form: _Form) -> int | None:
    """Return where reasoning without an opening mark ends."""
    if form.closing.search(text) is None:
        return None
    context = _Context(text)
    opening = form.opening.search(text)
    before = len(text) if opening is None else opening.start()
    end = None
    for mark in form.closing.finditer(text):
        if mark.start() > before and end is None:
            return None
        if not context.speaks_of(mark):
            end = mark.end()
    return end


def _without_inner(text: str, form: _Form) -> str:
    """Remove reasoning in the middle or at the end of an answer."""
    if form.opening.search(text) is None:
        return text
    context = _Context(text)
    if not form.own and any(
        not form.closing.fullmatch(tag[0]) for tag in _MARKUP.finditer(text)
    ):
        return text  # it is markup that was asked for
    parts, at = [], 0
    closings = context.real(form.closing)
    closing = next(closings, None)
    for opening in context.real(form.opening):
        if opening.start() < at:
            continue
        while closing is not None and closing.start() < opening.end():
            closing = next(closings, None)
        line = text[max(at, opening.start() - _NEAR) : opening.start()]
        at_start = not line.rpartition("\n")[2].strip()
        if closing is None and not (at_start and form.own):
            break
        if not form.own and not at_start:
            continue
        parts.append(text[at : opening.start()])
        at = len(text) if closing is None else closing.end()
    rest = text[at:]
    if parts and not rest.strip():  # at the end: so is the blank before it
        return "".join(parts).rstrip()
    return "".join([*parts, rest])


def _without_end(text: str) -> str:
    """Cut a text where its turn ends."""
    text = _BOX.sub("", text)
    if _ENDS.search(text) and (end := next(_Context(text).real(_ENDS), None)):
        text = text[: end.start()].rstrip()
    while "<s>" not in text and (last := _LAST.search(text[-_NEAR:])):
        text = text[: len(text) - len(last[0])].rstrip()
    return text


class _Context:
    """Where a text only speaks of marks: in fences, valid JSON, quotes, sentences."""

    def __init__(self, text: str) -> None:
        self._text = text
        spans = [match.span() for match in _FENCED.finditer(text)]
        decoder = json.JSONDecoder(strict=False)
        at = 0
        for opening in islice(_OBJECT.finditer(text), _MOST_OBJECTS):
            if opening.start() < at:
                continue
            try:
                _, at = decoder.raw_decode(text, opening.start())
            except (ValueError, RecursionError):
                continue
            spans.append((opening.start(), at))
        self._spans = sorted(spans)
        self._starts = [start for start, _ in self._spans]

    def real(self, marks: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Yield the marks that the text does not only speak of."""
        return (mark for mark in marks.finditer(self._text) if not self.speaks_of(mark))

    def speaks_of(self, mark: re.Match[str]) -> bool:
        """Return whether the text only speaks of a mark."""
        at = bisect_right(self._starts, mark.start()) - 1
        within = at >= 0 and mark.start() < self._spans[at][1]
        return within or _is_quoted(self._text, mark) or _is_spoken(self._text, mark)


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Return whether a mark stands in quotes or in a line's code."""
    start, end = mark.span()
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if before and _QUOTES.get(before) == after:
        return True
    line = text[max(0, start - _NEAR) : start].rpartition("\n")[2]
    rest = text[end : end + _NEAR].partition("\n")[0]
    return line.count("`") % 2 == 1 and rest.count("`") % 2 == 1


def _is_spoken(text: str, mark: re.Match[str]) -> bool:
    """Return whether a mark is a word in a sentence: blanks around, a word before."""
    start, end = mark.span()
    before = text[max(0, start - _NEAR) : start]
    words = before.rstrip(" \t")
    after = text[end : end + 1]
    apart = len(words) < len(before) and (not after or after in " \t\n.,;:!?)")
    return apart and words[-1:] not in ("", "\n", *_SENTENCE_ENDS)
