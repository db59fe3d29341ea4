"""Files that people want written: the ending says what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

_PAGE = "a page is HTML, which a browser prints as PDF"


def checked_path(path: str | PathLike[str], endings: Sequence[str], what: str) -> Path:
    """Return a file's path; raise for the ending of another kind of file."""
    place = Path(path).expanduser()
    if place.suffix and place.suffix.lower() not in endings:
        raise InvalidValueError(
            f"{path}: {what}, so the file must end in {' or '.join(endings)}, not "
            f"{place.suffix}"
        )
    return place


def page_path(path: str | PathLike[str]) -> Path:
    """Return the path of a page."""
    return checked_path(path, (".html", ".htm"), _PAGE)
