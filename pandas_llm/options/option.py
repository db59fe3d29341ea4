"""An option: its sentence, rule and default, kept beside its name and type."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.options.foreign import instead_of
from pandas_llm.options.rules import Rule, arms, rule_of
from pandas_llm.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Option:
    """An option; where it is declared, a sentence stands beside its type."""

    default: Any = None
    variable: bool = True
    """Whether ``PANDAS_LLM_NAME`` sets it."""
    flag: bool = True
    """Whether the command line has it."""
    secret: bool = False
    """Whether its value is hidden."""
    says: str = ""
    """One sentence for people; like type and rule from where it is declared."""
    type: Any = None
    rule: Rule | None = None
    """What it may be; None where that is checked by those who use it."""

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if self.rule is None or (value is None and self.default is None):
            return True
        return self.rule.holds(value)

    def plain(self, value: Any) -> Any:
        """Return a value as the package works with it."""
        return value if self.rule is None or value is None else self.rule.plain(value)

    @property
    def arms(self) -> list[Any]:
        """The types that its type is made of, without None."""
        return [arm for arm in arms(self.type) if arm is not NoneType]

    @property
    def words(self) -> str:
        """What it may be."""
        words = self.rule.words if self.rule else "anything"
        if self.default is not None or "None" in words:
            return words
        return f"{words.replace(' or ', ', ')} or None"

    @property
    def shown(self) -> str:
        """Its default, as it is written in Python."""
        default = self.default
        return f"{default:g}" if isinstance(default, float) else repr(default)


def listed(table: type) -> dict[str, Option]:
    """Return the options that a TypedDict declares, those of its bases first.

    Its module evaluates annotations: no ``from __future__ import annotations``.

    >>> from typing import Annotated, TypedDict
    >>> red = Annotated[float, "How much red.", Option(0.5)]
    >>> Colours = TypedDict("Colours", {"red": red})
    >>> listed(Colours)["red"].default, listed(Colours)["red"].type
    (0.5, <class 'float'>)
    """
    options = {}
    for name, annotation in table.__annotations__.items():
        kind, facts = annotation.__origin__, annotation.__metadata__
        (says,) = (fact for fact in facts if isinstance(fact, str))
        option = next((fact for fact in facts if isinstance(fact, Option)), Option())
        rules = (fact for fact in facts if isinstance(fact, Rule))
        rule = next(rules, rule_of(kind))
        options[name] = replace(option, says=says, type=kind, rule=rule)
    return options


def check_against(
    options: Mapping[str, Option],
    values: Mapping[str, Any],
    called: Callable[[str], str] = str,
) -> None:
    """Raise for a name that is not an option, or a value that cannot be.

    `called` returns what an option is called where its value comes from.
    """
    for name, value in values.items():
        if name not in options:
            if (instead := instead_of(name, value, options)) is not None:
                raise InvalidTypeError(f"{name!r} is not an option here: {instead}")
            near = difflib.get_close_matches(name, options, n=1)
            every = "; pandas_llm.get_options() has those of all verbs"
            hint = f"; did you mean {near[0]!r}?" if near else every
            raise InvalidTypeError(f"{name!r} is not an option{hint}")
        if not options[name].allows(value):
            raise _not_allowed(called(name), value, options[name].words)


def check_value(name: str, value: Any, rule: Rule) -> None:
    """Raise for a parameter of a verb that its rule does not allow."""
    if not rule.holds(value):
        raise _not_allowed(name, value, rule.words)


def _not_allowed(name: str, value: Any, words: str) -> InvalidValueError:
    return InvalidValueError(f"{name} must be {words}, not {brief(value)}")
