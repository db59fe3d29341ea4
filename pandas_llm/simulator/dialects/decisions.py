"""Closed questions with a probability for each answer: two forms of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import count_tokens, message_text, shares
from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Written
from pandas_llm.simulator.dialects.openai import OPENAI
from pandas_llm.simulator.dialects.replies import check_fields, check_length, read_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.simulator.conditions import Settings

_MOST = 400


@dataclass(frozen=True, slots=True)
class Decision:
    """Questions about a text that were found in order."""

    model: str
    prompt: str
    questions: Sequence[Mapping[str, Any]]
    prompt_tokens: int
    named: bool = False
    """Whether answers are found by name, as TypeSafe's are."""

    @property
    def reserved(self) -> int:
        """The tokens of the text."""
        return self.prompt_tokens


def _read(incoming: Incoming, settings: Settings) -> Decision:
    """Return a request in OpenAI's form, or refuse it."""
    fields = incoming.fields
    model = read_model(fields.get("model"), settings)
    check_fields(fields, settings)
    text = fields.get("input")
    if isinstance(text, list):
        text = "\n".join(message_text(message) for message in text)
    return _decision(model, text, fields.get("questions"), settings)


def _read_named(incoming: Incoming, settings: Settings) -> Decision:
    """Return a request in TypeSafe's form, or refuse it."""
    fields = incoming.fields
    model = read_model(fields.get("model") or "sim", settings)
    asked = fields.get("questions")
    if not isinstance(asked, dict):
        refuse("'questions' must be an object.", "invalid_type", "questions")
    listed = [{"name": name, **question} for name, question in asked.items()]
    return _decision(model, fields.get("state"), listed, settings, named=True)


def _decision(
    model: str, text: Any, asked: Any, settings: Settings, *, named: bool = False
) -> Decision:
    if not isinstance(text, str) or not text:
        refuse("Missing required parameter: 'input'.", "missing_required_parameter")
    if not isinstance(asked, list) or not 1 <= len(asked) <= _MOST:
        refuse(f"'questions' must be 1 to {_MOST}.", "invalid_type", "questions")
    tokens = count_tokens(text) + sum(count_tokens(str(one)) for one in asked)
    tokens = check_length(tokens, settings, "input")
    return Decision(model, text, asked, tokens, named)


def _write(
    asked: Decision, settings: Settings, number: int, fault: str | None
) -> Written:
    answers = [_answer(one, asked, settings) for one in asked.questions]
    if fault == "refusal":
        answers[0] = {"type": "refusal", "name": asked.questions[0]["name"]}
    if fault in ("no_choices", "no_message"):
        answers = []
    usage = {"prompt_tokens": asked.prompt_tokens, "completion_tokens": len(answers)}
    reply: dict[str, Any] = {
        "id": f"decision-sim-{number:08}",
        "object": "decision",
        "model": asked.model,
        "answers": answers,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "total_tokens": sum(usage.values()),
        },
    }
    if asked.named:
        reply["answers"] = {
            one["name"]: answer
            for one, answer in zip(asked.questions, answers, strict=False)
        }
    if fault in ("bad_output", "wrong_schema"):
        reply["answers"] = "none"
    return reply, usage


def _answer(
    question: Mapping[str, Any], asked: Decision, settings: Settings
) -> dict[str, Any]:
    """Answer one question in the form that it was asked in."""
    kind = question.get("type")
    about = (
        f"{settings.seed}/{asked.model}/{asked.prompt}/{question.get('instructions')}"
    )
    name = {} if asked.named else {"name": question.get("name")}
    if kind in ("predicate", "noul"):
        word = "noul" if kind == "noul" else "probability"
        return {"type": kind, **name, word: shares(["yes", "no"], about)[0]}
    if kind not in ("choice", "score"):
        refuse(f"Invalid question type: {kind!r}.", "invalid_type", "questions")
    if asked.named:
        labels = list(question.get("criteria") or ())
    else:
        field, word = ("levels", "label") if kind == "score" else ("choices", "value")
        labels = [one[word] for one in question.get(field) or ()]
    if not labels:
        refuse("A question needs choices.", "invalid_type", "questions")
    chances = shares(labels, about)
    best = max(range(len(labels)), key=chances.__getitem__)
    common = {"type": kind, **name, kind: labels[best], "confidence": chances[best]}
    if asked.named:
        keys = map(str, range(len(labels))) if kind == "score" else labels
        return {**common, "probabilities": dict(zip(keys, chances, strict=True))}
    pairs = [
        {word: one, "probability": p} for one, p in zip(labels, chances, strict=True)
    ]
    return {**common, "probabilities": pairs}


DECISIONS = Dialect(OPENAI, ("/v1/decisions",), _read, _write)
SYSTEMONE = Dialect(OPENAI, ("/v1/systemone",), _read_named, _write)
