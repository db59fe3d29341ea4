"""Remove reasoning and the marks of a chat template from the text of a reply."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@lru_cache(64)
def _tag(name: str) -> _Form:
    opening = rf"<{name}(?:\s[^<>]{{0,80}})?>"
    return _form(opening, rf"</{name}\s?>", own="think" in name)


_NAME = re.compile(
    r"</?([\w:-]{0,30}(?:think|thought|monologue)[\w:-]{0,30}|reason(?:ing)?(?:[_-]\w{1,20})?"
    r"|analysis"
    r"|scratch_?pad|reflection|rationale|cot|planning|deliberation|ponder)[\s>]",
    re.IGNORECASE,
)
"""A tag of reasoning by its name, such as seed:think, antThinking or inner_thoughts."""
_MOST_NAMES = 8
_BRACKETED = ("THINK", "THINKING", "THOUGHT", "REASONING", "ANALYSIS", "SCRATCHPAD")
_WORD = "(?:think(?:ing)?|thoughts?|reasoning)"
_FORMS = (
    *(_form(rf"\[{n}\]", rf"\[/{n}\]") for n in _BRACKETED),
    _form("◁think▷", "◁/think▷"),  # Kimi
    _form(r"<\|channel>\s*(?:thought|analysis)?", r"<channel\|>"),  # Gemma
    _form(r"<unused94>(?:thought)?", "<unused95>"),  # MedGemma
    _form(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    _form(  # Command, OpenThinker, Solar
        rf"<[|\uff5c](?:(?:begin|start)[_▁](?:of[_▁])?)?{_WORD}(?:[_▁]start)?[|\uff5c]>",
        rf"<[|\uff5c](?:(?:/|end[_▁](?:of[_▁])?){_WORD}|{_WORD}[_▁]end)[|\uff5c]>"
        r"|<\|end\|>\s*<\|begin\|>\s*assistant\s*<\|content\|>",
    ),
    _form(r"<\|im_start\|>think\b", r"<\|im_start\|>answer\b"),  # s1
    _form("Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),  # Apriel
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
    r"\s*analysis(?:(?=[\sA-Z\"'{\[]).*assistant\s?final|.*assistantfinal):?", re.DOTALL
)
_PLAIN_OPENED = re.compile(r"\s*analysis[A-Z][a-z']*\s")
_BEGINS = re.compile(
    r"\s*(?:(?:<\|im_start\|>(?!think\b)(?:\s*assistant)?|<\|start_header_id\|>\s*assistant\s*"
    r"<\|end_header_id\|>|<start_of_turn>(?:\s*model)?|<\|turn>(?:\s*model)?"
    r"|<\|(?:begin_of_text|assistant|START_RESPONSE|START_TEXT|CHATBOT_TOKEN"
    r"|START_OF_TURN_TOKEN|begin_of_solution|message|im_sep|eot_id|im_end|end)\|>"
    r"|<\|(?:start|begin)\|>(?:\s*assistant)?(?:\s*<\|content\|>)?|<\uff5cAssistant\uff5c>|<\uff5cbegin▁of▁sentence\uff5c>|<bos>"
    r"|<s>(?!(?s:.*)<s>)(?!(?s:.*)</s>\s*\S))\s*)+"
)
_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|call|eot|eos"
    r"|end_of_turn|endofturn|end_of_solution|stop|user|observation|im_start|start"
    r"|END_OF_TURN_TOKEN|END_RESPONSE|END_TEXT|start_header_id|pad|fim_pad)\|>"
    r"|<end_of_turn>|<start_of_turn>|<end_of_utterance>|<eos>|<turn\|>|<\|turn>"
    r"|<\uff5cend▁of▁sentence\uff5c>|<\uff5cUser\uff5c>|\[\|endofturn\|\]|</s>\s*(?:<s>|\[INST\])"
    r"|\[END FINAL RESPONSE\]"
)
_LAST = re.compile(
    r"(?:</s>|\[EOS\]|\[/?INST\]|\[e~\[|<pad>|<(?i:eo[dpst])>"
    r"|<[|\uff5c][\w.:▁-]{1,40}[|\uff5c]>)\s*\Z"
)
"""What may end a text without being part of it: any special token."""
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")
_ANSWER = re.compile(
    r"\s*<(answer|response|output|final|final_answer)>(.*)</\1>\s*\Z",
    re.DOTALL | re.IGNORECASE,
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
    final = _final_channel(text[_behind(_BEGINS, text) :])
    answer = None if final is None else _without_blocks(final)
    if answer is None:
        return None
    if answer != text and (wrapped := _ANSWER.match(answer)):
        answer = wrapped[2].strip()
    return _without_end(answer)


def _behind(pattern: re.Pattern[str], text: str, at: int = 0) -> int:
    """Return where a pattern ends that may stand at a place."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _final_channel(text: str) -> str | None:
    """Read the channels of gpt-oss: the final one is the answer."""
    if plain := _PLAIN_FINAL.match(text):
        return text[plain.end() :].lstrip()
    if _PLAIN_OPENED.match(text):
        return None
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
    names = dict.fromkeys(name[1].lower() for name in _NAME.finditer(text))
    forms = [*map(_tag, islice(names, _MOST_NAMES)), *_FORMS]
    while (form := _opened(text, at, forms)) is not None:
        closings = list(form.closing.finditer(text, at))
        if not closings:
            return None
        real = [mark for mark in closings if not _is_quoted(text, mark)]
        at = _behind(_BEGINS, text, (real or closings)[0].end())
    text = text[at:].lstrip() if at else text
    for form in forms:
        # a chat template may have written the opening mark
        if (end := _lone_closing(text, form)) is not None:
            return _without_blocks(text[end:].lstrip())
    for form in forms:
        text = _without_inner(text, form)
    return text


def _opened(text: str, at: int, forms: Sequence[_Form]) -> _Form | None:
    """Return the form in which a text begins with reasoning."""
    at = _behind(_BLANKS, text, at)
    return next((form for form in forms if form.opening.match(text, at)), None)


def _lone_closing(text: str, form: _Form) -> int | None:
    """Return where reasoning without an opening mark ends."""
    if form.closing.search(text) is None:  # as nearly always
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
    if form.opening.search(text) is None:  # as nearly always
        return text
    if not form.own and any(
        not form.closing.fullmatch(tag[0]) for tag in _MARKUP.finditer(text)
    ):
        return text  # it is markup that was asked for
    context = _Context(text)
    parts, at = [], 0
    closings = list(context.real(form.closing))
    for opening in context.real(form.opening):
        line = text[max(at, opening.start() - _NEAR) : opening.start()]
        at_start = not line.rpartition("\n")[2].strip()
        if opening.start() < at or not (form.own or at_start):
            continue
        behind = bisect_left(closings, opening.end(), key=re.Match.start)
        if behind == len(closings) and not (at_start and form.own):
            break
        parts.append(text[at : opening.start()])
        at = closings[behind].end() if behind < len(closings) else len(text)
    rest = text[at:]
    if parts and not rest.strip():  # at the end: so is the blank before it
        return "".join(parts).rstrip()
    return "".join([*parts, rest])


def _without_end(text: str) -> str:
    """Cut a text where its turn ends."""
    text = _BOX.sub("", text)
    if end := next(_Context(text).real(_ENDS), None):
        text = text[: end.start()].rstrip()
    while "<s>" not in text and (last := _LAST.search(text, max(0, len(text) - _NEAR))):
        if last[0][1] in "|\uff5c" and _is_spoken(text, last):
            break
        text = text[: last.start()].rstrip()
    return text


class _Context:
    """Where a text only speaks of marks: in fences, valid JSON, quotes, sentences."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """The fences and the valid JSON, looked for at the first mark."""
        spans = [match.span() for match in _FENCED.finditer(self._text)]
        decoder = json.JSONDecoder(strict=False)
        at = 0
        for opening in islice(_OBJECT.finditer(self._text), _MOST_OBJECTS):
            if opening.start() >= at:
                with suppress(ValueError, RecursionError):
                    _, at = decoder.raw_decode(self._text, opening.start())
                    spans.append((opening.start(), at))
        return sorted(spans)

    def real(self, marks: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Yield the marks that the text does not only speak of."""
        return (mark for mark in marks.finditer(self._text) if not self.speaks_of(mark))

    def speaks_of(self, mark: re.Match[str]) -> bool:
        """Return whether the text only speaks of a mark."""
        at = bisect_right(self._spans, mark.start(), key=itemgetter(0)) - 1
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
