"""`Quoted`: a value that comes with the words of the text that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias, NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Optional,
    TypeVar,
    get_args,
    get_origin,
)

from pydantic import BeforeValidator, create_model

from pandas_llm._keys.columns import Column, Kind, Quotation, is_optional, mentions
from pandas_llm._keys.fields import UNIONS, resolve
from pandas_llm.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_llm._keys.fields import Models

T = TypeVar("T")


class Quoted(Generic[T]):
    """A value with the words of the row's text that it stands on: a type for `keys`.

    ``keys={"date": Quoted[date]}`` makes the columns ``date``, ``date_quote``,
    ``date_start`` and ``date_end``, and ``date_column`` where the template names
    several columns. The quote is the cell's own, ``cell[start:end] == quote``, with
    offsets in code points, as Python counts them. ``Optional[Quoted[…]]`` may be
    missing; ``list[Quoted[…]]`` makes columns of lists.

    Words that are not in the text are asked for again; if they still are not, all
    columns of the key are NA and the row's remark is ``unfounded``.

    Examples
    --------
    >>> from datetime import date
    >>> import pandas as pd
    >>> import pandas_llm
    >>> from pandas_llm import Quoted
    >>> df = pd.DataFrame({"text": ["It opened on 1889-03-31 in Paris."]})
    >>> out = df.llm.extract(
    ...     "When did it open? ${text}", {"opened": Quoted[date]}, model="sim"
    ... )
    >>> out[["opened_quote", "opened_start", "opened_end"]].values.tolist()
    [['1889-03-31', 13, 23]]
    """

    def __class_getitem__(cls, kind: Any) -> GenericAlias:
        """Return the type of a value with its words."""
        if isinstance(kind, list):
            kind = Literal[tuple(kind)]
        return GenericAlias(cls, (kind,))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        """Refuse to be a field of a model, whose values have no columns."""
        raise InvalidTypeError(
            "Quoted[…] is the type of a key, not of a model's field: write "
            "keys={'date': Quoted[date]}"
        )


def resolve_key(annotation: Any, where: str, models: Models) -> Any:
    """Resolve the type of a key, which may be `Quoted`, optional, or a list of it."""
    if not mentions(annotation, Quoted):
        return resolve(annotation, where, models)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Quoted:
        return _asked(args[0], where, models)
    if origin is Annotated:
        return Annotated[(resolve_key(args[0], where, models), *args[1:])]
    if origin is list and get_origin(args[0]) is Quoted:
        return list[resolve_key(args[0], where, models)]  # type: ignore[misc]
    rest = [part for part in args if part is not NoneType]
    if origin in UNIONS and len(rest) == 1:
        inner: Any = Optional[resolve_key(rest[0], where, models)]  # noqa: UP045
        return Annotated[inner, BeforeValidator(_nothing)]
    raise InvalidTypeError(
        f"{where}: Quoted[…] stands alone, in Optional[…] or in list[…], and has one "
        f"type, such as Quoted[str], not {annotation!r}"
    )


def _nothing(value: Any) -> Any:
    """Read no value without words as null; models write both."""
    is_empty = isinstance(value, dict) and not any(value.values())
    return None if is_empty and value.get("value", 0) is None else value


def refuse_quoted(keys: Any, verb: str, what: str) -> None:
    """Raise for `Quoted` in the keys of a verb whose answers are of no single cell."""
    kinds = keys.values() if isinstance(keys, Mapping) else [keys]
    if any(mentions(kind, Quoted) for kind in kinds):
        raise InvalidTypeError(
            f"{verb} returns {what}, which no cell is quoted for: use extract with "
            "keys={'label': Quoted[Literal['a', 'b']]}"
        )


def _asked(kind: Any, where: str, models: Models) -> type[Quotation]:
    """Build the model of a value and its words."""
    if mentions(kind, Quoted) or is_optional(kind):
        inner = "Optional[Quoted[…]]" if is_optional(kind) else "one Quoted[…]"
        raise InvalidTypeError(f"{where}: write {inner}, not Quoted[{kind!r}]")
    value: Any = (resolve(kind, where, models), ...)
    return create_model("Quotation", __base__=Quotation, value=value)


def with_places(column: Column, *, several: bool) -> Iterator[Column]:
    """Yield a key's columns: of a quoted one its words and their place as well.

    With `several`, the words may be in one of several columns of the row.
    """
    yield column
    kinds: dict[str, Kind] = {"quote": "str", "start": "int", "end": "int"}
    kinds |= {"column": "str"} if several else {}
    for end, kind in kinds.items() if column.quoted else ():
        name = f"{column.name}_{end}"
        if column.quoted == "many":
            yield Column(name, "object", exact=[kind])
        else:
            yield Column(name, kind)


def check_own(columns: Sequence[Column]) -> None:
    """Refuse a key that is named like a column of a quoted one."""
    own = {column.name for column in columns}
    for column in columns:
        _, *more = with_places(column, several=False)
        for name in [one.name for one in more if one.name in own]:
            raise InvalidValueError(
                f"keys[{name!r}]: keys[{column.name!r}] is Quoted and has a column of "
                "that name: rename one of them"
            )
