"""Where a loaded job may be asked: its file is not trusted with the reader's key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pandas_llm import options
from pandas_llm._client import resolve_endpoint
from pandas_llm.errors import ConfigurationError, InvalidValueError
from pandas_llm.providers import preset
from pandas_llm.redaction import parted, shown

if TYPE_CHECKING:
    from pandas_llm._run import Task


def confirmed(task: Task, base_url: str | None) -> Task:
    """Return a loaded task, if the address in its file is the reader's own."""
    settings = task.settings
    sent_to = settings.base_url
    if base_url is not None:
        if sent_to is not None and _bare(sent_to) != _bare(base_url):
            msg = f"the job was sent to {shown(sent_to)}, not to base_url={base_url!r}"
            raise InvalidValueError(shown(msg))
        return replace(task, settings=replace(settings, base_url=base_url))
    if sent_to is None:
        return task
    here = resolve_endpoint(replace(settings, base_url=None, replay=True))
    known = preset(here.provider)
    own = (here.base_url, known and known.base_url, options.get_options()["base_url"])
    if _bare(sent_to) in {_bare(place) for place in own if place}:
        return task
    variable = known.address if known is not None else None
    or_set = f", or set {variable}" if variable else ""
    raise ConfigurationError(
        f"the job's file names the address {shown(sent_to)}, which is neither "
        f"{here.provider}'s own nor set in this process: it would be sent your API "
        "key and your rows. If you know the address, confirm it: "
        f"base_url={shown(_bare(sent_to))!r}{or_set}"
    )


def _bare(url: str) -> str:
    """Return an address without login and parameters."""
    return parted(url)[1].partition("?")[0].rstrip("/")
