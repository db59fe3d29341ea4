"""How a row is asked again, or by the words of its labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pandas_llm._replies.blanks import is_blank
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm._replies.words import Words
from pandas_llm.errors import UnfoundedError
from pandas_llm.types import Choice, Odds, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.errors import OutputError
    from pandas_llm.types import Reply, Request

MOST_TOKENS = 20
"""Tokens that OpenAI reports at each place, at most."""


def word_requests(request: Request) -> list[Request]:
    """Return the requests whose first tokens tell the probabilities of the labels.

    One a question. The labels of a single one are named in the system message; of
    several they stand at the end of the prompt, so that its beginning is the same.
    """
    spec = request.spec
    asked = []
    for question in spec.questions:
        words = Words(question, codes=spec.odds == "codes" or None)
        alone = replace(
            spec,
            questions=(question,),
            schema=None,
            constrained=None,
            max_tokens=words.most,
            top_logprobs=MOST_TOKENS,
        )
        if len(spec.questions) == 1:
            system = "\n\n".join(filter(None, (request.system, words.note)))
            asked.append(request._replace(spec=alone, system=system))
        else:
            prompt = f"{request.prompt}\n\n{question.instructions}\n{words.note}"
            asked.append(request._replace(spec=alone, prompt=prompt))
    return asked


def one_reply(replies: Sequence[Reply], text: Reply | None) -> Reply | None:
    """Return the replies to `word_requests` as one; None where one tells nothing.

    `text` is the reply to what else the row is asked.
    """
    places: list[tuple[tuple[str, float], ...]] = []
    for at, reply in enumerate(replies):
        odds = reply.choices[0].odds if reply.choices else None
        if odds is None:
            return None
        places += [()] * (at > 0) + list(odds.answers)
    last = text or replies[-1]
    asked = [*replies, text] if text else replies
    tokens = [reply.tokens for reply in asked]
    total = Tokens(*(sum(each) for each in zip(*filter(None, tokens), strict=True)))
    choice = last.choices[0]._replace(odds=Odds("logprobs", tuple(places)))
    if len(asked) > 1:
        raws = [reply.choices[0].raw for reply in asked]
        choice = choice._replace(raw=Choice.listed(raws))
    return last._replace(choices=(choice,), tokens=total, cost=None)


def asked_again(request: Request, error: OutputError) -> Request:
    """Ask again, with the answer that was not understood and the reason."""
    form = "JSON in the form" if request.spec.schema else "the text"
    reason = (
        f"That answer cannot be used: {error}. Answer again, with {form} asked for and "
        "nothing else."
    )
    if error.kind == UnfoundedError.kind:
        reason += " Copy each quote from the text, exactly as it stands there."
    answer = without_thinking(error.text) or ""
    if is_blank(answer):
        # no vendor takes an empty turn, and some none that do not alternate
        return request._replace(prompt=f"{request.prompt}\n\n{reason}".lstrip())
    return request._replace(followup=(("assistant", answer), ("user", reason)))
