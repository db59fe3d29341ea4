"""Decision endpoints: typed questions about a text, a probability for each answer.

OpenAI's form (``/v1/decisions``; types of its client, 2026-11) and TypeSafe's
(``/v1/systemone``). No text is written: only closed questions can be asked.
"""

from __future__ import annotations

import re
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from pandas_llm._inputs import of_pairs
from pandas_llm.errors import MalformedReplyError
from pandas_llm.providers.answers import bodies
from pandas_llm.providers.answers.headers import LIMITS
from pandas_llm.providers.dialect import Dialect
from pandas_llm.providers.registry import Preset
from pandas_llm.providers.vendors import openai
from pandas_llm.types import Choice, Odds, Reply, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.providers.answers.headers import Limits
    from pandas_llm.providers.dialect import Body
    from pandas_llm.types import Capabilities, HTTPResponse, Question, Request

_TOLD = ("id", "object", "created", "created_at", "model", "usage")
"""Fields that tell nothing about an answer, or what other columns tell."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_YES = {"predicate": "probability", "noul": "noul"}
"""The field of an answer to yes or no, in each form."""


class Decisions(Dialect):
    """OpenAI's form, also of SGLang, vLLM, LiteLLM and OpenRouter."""

    path = "/decisions"
    decides = True
    limits: Limits | None = LIMITS
    lacking = ("temperature", "top_p", "seed", "stop", "reasoning_effort")
    most_questions: ClassVar[int] = 400
    most_labels: ClassVar[int] = 255

    def body(self, request: Request, capabilities: Capabilities, n: int) -> bytes:
        return orjson.dumps({**self.asked(request), **request.spec.extra})

    def asked(self, request: Request) -> Body:
        """Write the text and the questions about it."""
        turns = [{"role": role, "content": text} for role, text in turns_of(request)]
        text: Any = turns if len(turns) > 1 else request.prompt
        names = names_of(request.spec.questions)
        questions = list(map(_question, request.spec.questions, names))
        return {"model": self.model, "input": text, "questions": questions}

    def parse(self, response: HTTPResponse) -> Reply:
        """Read the answers; one that was declined is an empty one."""
        data = self.answer(response)
        asked = response.asked.spec.questions if response.asked else ()
        said = self.answers(data["answers"], asked)
        answers = tuple(_checked(q, one) for q, one in zip(asked, said, strict=True))
        values = {
            question.name: max(answer, key=itemgetter(1))[0] if answer else None
            for question, answer in zip(asked, answers, strict=True)
        }
        odds, raw = Odds("decisions", answers), bodies.beside(response, _TOLD, data)
        choice = Choice(orjson.dumps(values).decode(), "stop", odds=odds, raw=raw)
        return self.reply((choice,), response, data)

    def answers(self, said: Any, asked: Sequence[Question]) -> Any:
        """Return the answer to each question, in the order asked."""
        return said

    def usage(self, data: Any) -> Used:
        return Used(bodies.tokens(data["usage"], bodies.INPUT_OUTPUT))


class SystemOne(Decisions):
    """TypeSafe's form, also of Perplexity, Fireworks, Databricks and others."""

    path = "/systemone"

    def asked(self, request: Request) -> Body:
        told = bool(request.before)  # who says what matters in a conversation
        state = "\n\n".join(
            f"{role}: {text}" if told else text for role, text in turns_of(request)
        )
        asked = request.spec.questions
        questions = dict(zip(names_of(asked), map(_named, asked), strict=True))
        return {"model": self.model, "state": state, "questions": questions}

    def answers(self, said: Any, asked: Sequence[Question]) -> Any:
        """Find the answers by name; one that lacks was declined."""
        return [said.get(name) or {"type": "refusal"} for name in names_of(asked)]


class Tiny(SystemOne):
    """The tiny model that runs in this process: nothing is billed, nothing limited.

    Yes or no is asked as a choice: on 3,000 reviews that ranks better than as a "noul"
    (area under the curve .82 to .86 against .74 to .80).
    """

    limits = None

    def asked(self, request: Request) -> Body:
        spec = request.spec
        asked = tuple(q._replace(kind="choice") for q in spec.questions)
        return super().asked(request._replace(spec=replace(spec, questions=asked)))

    def usage(self, data: Any) -> Used:
        return Used(Tokens())


def turns_of(request: Request) -> list[tuple[str, str]]:
    """Return the system text, the examples and the row's turns, with their roles."""
    first = [("system", request.system)] if request.system else []
    examples = of_pairs(request.spec.examples)
    return [*first, *examples, *request.before, ("user", request.prompt)]


def names_of(questions: Sequence[Question]) -> list[str]:
    """Return a name for each question that any server takes.

    >>> from pandas_llm.types import Question
    >>> asked = [Question(name, "", (), ()) for name in ("mood", "is it spam?")]
    >>> names_of(asked)
    ['mood', 'question_1']
    """
    return [
        question.name if _NAME.fullmatch(question.name) else f"question_{at}"
        for at, question in enumerate(questions)
    ]


def _meanings(question: Question) -> dict[str, str]:
    """Return what each label means; nothing where none is described."""
    described = question.descriptions or ("",) * len(question.labels)
    return dict(zip(question.labels, described, strict=True))


def _question(question: Question, name: str) -> dict[str, Any]:
    """Write a question in OpenAI's form."""
    about = {"type": question.kind, "name": name, "instructions": question.instructions}
    if question.kind == "predicate":
        return about
    is_score = question.kind == "score"
    field, word = ("levels", "label") if is_score else ("choices", "value")
    labels = [
        {word: label, "description": meaning} if meaning else {word: label}
        for label, meaning in _meanings(question).items()
    ]
    return {**about, field: labels}


def _named(question: Question) -> dict[str, Any]:
    """Write a question in TypeSafe's form, where a predicate is a "noul"."""
    about = {"instructions": question.instructions}
    if question.kind == "predicate":
        return {"type": "noul", **about}
    criteria: Any = _meanings(question)
    if question.kind == "score":
        criteria = [f"{k}: {v}" if v else k for k, v in criteria.items()]
    return {"type": question.kind, **about, "criteria": criteria}


def _probabilities(question: Question, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Read each label's probability in either form; none where one was declined."""
    kind = answer["type"]
    if kind == "refusal":
        return {}
    if kind in _YES:
        yes = answer[_YES[kind]]
        return dict(zip(question.labels, (yes, 1 - yes), strict=True))
    said = answer["probabilities"]
    if isinstance(said, list):
        word = "label" if kind == "score" else "value"
        return {str(one[word]): one["probability"] for one in said}
    if kind == "score":  # levels are named by their numbers
        return {label: said[str(at)] for at, label in enumerate(question.labels)}
    return dict(said)


def _checked(
    question: Question, said: Mapping[str, Any]
) -> tuple[tuple[str, float], ...]:
    """Read an answer; refuse anything but probabilities of the labels."""
    answer = _probabilities(question, said)
    good = all(
        type(one) in (int, float) and 0 <= one <= 1 + 1e-6 for one in answer.values()
    )
    if answer and not (good and any(map(answer.get, question.labels))):
        raise MalformedReplyError(
            f"the answer to {question.name!r} has invalid probabilities: {answer!r}"
        )
    return tuple((label, float(p)) for label, p in answer.items())


PRESETS: Mapping[str, Preset] = {
    "openai-decisions": openai.PRESETS["openai"]._replace(dialect=Decisions, keeps=()),
    "systemone": Preset(
        SystemOne, None, "SYSTEMONE_BASE_URL", "SYSTEMONE_API_KEY", needs_key=False
    ),
    "tiny": Preset(Tiny, None, needs_key=False),
}
