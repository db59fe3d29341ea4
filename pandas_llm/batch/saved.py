"""A task as JSON and back: what a batch job's file holds of the call that made it.

The keys are kept as the schema and the columns that followed from them. Reading
builds types from these; nothing in the file is imported or called. A person's model
is taken again only where this process has it already: its module is looked up among
the imported ones, its name without asking the module for it, and it must ask for the
very schema that was sent. So a file from a stranger can at most name a model that
its reader has defined, for the replies that the model was made for. Nor is it trusted
with the reader's key: `confirmed` checks where a loaded job may be asked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import annotated_types
import orjson
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from pandas_llm import options
from pandas_llm._client import resolve_endpoint, transferable, without_secrets
from pandas_llm._keys import UNIONS, Quoted, kept_columns, keys_of, strict_model
from pandas_llm._run import Shape, Task, examples_of, make_task, output_of, parsed_keys
from pandas_llm.errors import (
    ConfigurationError,
    InvalidValueError,
    LLMError,
    LLMWarning,
    warn,
)
from pandas_llm.options import Settings
from pandas_llm.providers import ODD, preset
from pandas_llm.redaction import parted, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pandas_llm._run import Verb

_VERSION = 1
_DAMAGED = (*ODD, RecursionError, PydanticUserError, SchemaError, LLMError)


def write(task: Task) -> bytes:
    """Return a task as JSON, without any key; refuse what JSON cannot hold."""
    job = {
        "version": _VERSION,
        "template": task.template,
        "verb": task.verb,
        "shape": asdict(task.shape),
        "options": _options(task),
        "output": _output(task),
    }
    return json.dumps(job, default=_plain).encode()


def read(written: bytes, path: Path, keys: Any = None) -> Task:
    """Build the task that `write` wrote; `keys` add what no schema can say."""
    try:
        job = json.loads(written)
        if job["version"] != _VERSION:
            raise ValueError(f"its form is {job['version']!r}, not {_VERSION}")
        options.check_options(job["options"])
        own = {"cache": path, "trace": options.resolve({}).trace}
        settings = Settings(**{**job["options"], **own})
        shape, output = Shape(**job["shape"]), job["output"]
        template, verb = job["template"], job["verb"]
        if keys is None:
            return _rebuilt(template, verb, shape, settings, output)
    except _DAMAGED as error:
        raise LLMError(f"the job cannot be read: {error!r}") from error
    task = make_task(template, keys, verb, shape, settings)
    if output is None or not _asks(task, output["schema"]):
        msg = "keys are not those that the job was submitted with: they ask for another"
        raise InvalidValueError(f"{msg} schema than the one that was sent")
    return task


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
    or_set = f", or set {known.address}" if known and known.address else ""
    raise ConfigurationError(
        f"the job's file names the address {shown(sent_to)}, which is neither "
        f"{here.provider}'s own nor set in this process: it would be sent your API "
        "key and your rows. If you know the address, confirm it: "
        f"base_url={shown(_bare(sent_to))!r}{or_set}"
    )


def _bare(url: str) -> str:
    """Return an address without login and parameters."""
    return parted(url)[1].partition("?")[0].rstrip("/")


# -- options --------------------------------------------------------------------


def _options(task: Task) -> dict[str, Any]:
    """Return the options as JSON holds them; functions stay behind, as keys do."""
    settings = without_secrets(task.settings)
    values = transferable(settings)
    del values["cache"]  # the file that this goes into
    del values["trace"]  # of this process
    if task.embeds is not None:
        values["max_tokens"] = None  # no option of vectors
    # as they go into requests, or these would be others where the job is read
    if not isinstance(settings.examples, str):
        values["examples"] = examples_of(settings, task.verb)
    values["extra"] = orjson.loads(orjson.dumps(dict(settings.extra or {})))
    values["values"] = {name: str(v) for name, v in (settings.values or {}).items()}
    values = {name: None if callable(v) else v for name, v in values.items()}
    for name, value in values.items():
        try:
            json.dumps(value, default=_plain)
        except (TypeError, ValueError) as error:
            msg = f"{name} cannot be kept with a batch job, JSON does not hold it"
            raise ConfigurationError(f"{msg}: {error}") from error
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return list(value)
    raise TypeError(f"{value!r} is not plain data")


# -- keys -----------------------------------------------------------------------


def _output(task: Task) -> dict[str, Any] | None:
    """Return the schema and the columns of the keys; None for a verb without."""
    keys = parsed_keys(task.verb, task.keys, task.shape)
    if keys is None:
        return None
    beyond = [*_beyond(task.keys)]
    models = [one for one in beyond if _is_model(one)]
    return {
        "schema": task.output.schema,
        "record": keys.model.model_json_schema(),
        "columns": kept_columns(keys, flatten=task.shape.flatten),
        "is_model": _is_model(task.keys),
        "models": {m.__name__: f"{m.__module__}:{m.__qualname__}" for m in models},
        "checks": len(models) < len(beyond),
    }


def _rebuilt(
    template: str | None,
    verb: Verb,
    shape: Shape,
    settings: Settings,
    output: Mapping[str, Any] | None,
) -> Task:
    """Build a task from what the file holds alone."""
    if output is None:
        return make_task(template, None, verb, shape, settings)
    schema, record, names = output["schema"], output["record"], output["models"]
    models = {name: model for name in names if (model := _imported(names[name]))}
    if output["is_model"]:
        for model in models.values():
            with suppress(TypeError, ValueError):  # it may be another by now
                task = make_task(template, model, verb, shape, settings)
                if _asks(task, schema):
                    return task
        models = {}
    # a record is read by models, or by their schemas
    elif len(models) < len(names) or not all(
        _is_same(name, model, record) for name, model in models.items()
    ):
        models = {}
    if output["checks"] or len(models) < len(names):
        _warn(names)
    coerce = not output["is_model"]
    keys = keys_of(record, output["columns"], models, coerce=coerce)
    known = output_of(verb, keys, shape, schema)
    return Task(template, verb, shape, settings, known, None)


def _warn(names: Mapping[str, str]) -> None:
    listed = ", ".join(place.replace(":", ".") for place in names.values())
    what = f"the model {listed}" if listed else "checks of their own"
    way = " or import the model first" if listed else ""
    warn(
        f"the job's keys have {what}, which its file does not hold: replies are "
        f"checked by their JSON schema alone. Pass keys= as in the call{way}",
        LLMWarning,
    )


def _asks(task: Task, schema: Any) -> bool:
    """Return whether a task asks for the schema that was sent."""
    return bool(json.loads(json.dumps(task.output.schema)) == schema)


def _is_same(name: str, model: type[BaseModel], record: Mapping[str, Any]) -> bool:
    """Return whether a model asks for what the record says of it."""
    with suppress(TypeError, ValueError):  # it may be another by now
        model = strict_model(model, "keys", {})
    here = json.loads(json.dumps(model.model_json_schema()))
    parts = here.pop("$defs", {})
    parts.setdefault(name, here)  # it is there if it is within itself
    recorded = record.get("$defs", {})
    return all(recorded.get(part) == schema for part, schema in parts.items())


def _imported(place: str) -> type[BaseModel] | None:
    """Look a model up among what is imported; no module is asked for anything."""
    module, _, path = place.partition(":")
    value: Any = sys.modules.get(module)
    for name in path.split("."):
        value = getattr(value, "__dict__", {}).get(name)
    return value if _is_model(value) else None


def _is_model(keys: Any) -> bool:
    return isinstance(keys, type) and issubclass(keys, BaseModel)


# -- what a schema does not hold ------------------------------------------------


def _beyond(keys: Any) -> Iterator[Any]:
    """Yield the models among keys, and checks that no schema holds."""
    origin, args = get_origin(keys), get_args(keys)
    parts: Iterable[Any] = ()
    if isinstance(keys, Mapping):
        parts = keys.values()
    elif origin is Annotated:
        parts = args[:1]
        yield from (check for check in args[1:] if not _in_schema(check, args[0]))
    elif origin in (list, Quoted, *UNIONS):
        parts = args
    elif _is_model(keys):
        yield keys
    for part in parts:
        yield from _beyond(part)


def _in_schema(constraint: Any, annotation: Any) -> bool:
    """Return whether a schema says all that a constraint means."""
    if isinstance(constraint, str):
        return True
    if isinstance(constraint, FieldInfo):
        extras = (constraint.discriminator, constraint.json_schema_extra)
        own = extras != (None, None) or constraint.default_factory is not None
        return not own and all(_in_schema(c, annotation) for c in constraint.metadata)
    if isinstance(constraint, annotated_types.GroupedMetadata):
        return all(_in_schema(part, annotation) for part in constraint)
    alone = get_origin(annotation) not in UNIONS  # whose parts would have to say it
    return alone and _schema(Annotated[annotation, constraint]) != _schema(annotation)


def _schema(annotation: Any) -> dict[str, Any]:
    return TypeAdapter(annotation).json_schema()
