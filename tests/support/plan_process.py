"""What a worker of an engine does with a plan, in an interpreter of its own."""

from __future__ import annotations

import os
import pickle

from pydantic import BaseModel

KEY = "sk-found-in-the-worker"


class Person(BaseModel):
    """Keys that are found by their name."""

    name: str
    born: int


def worker_key() -> str:
    """Return a key that only the worker's environment holds."""
    return os.environ["WORKERS_KEY"]


def prepare(environment: dict[str, str]) -> None:
    """Make a worker: another environment than the test's, other options set."""
    os.environ.update(environment)
    import pandas_llm

    pandas_llm.set_options(temperature=0.9, n=3)


def described(pickled: bytes, data: object) -> dict:
    """Return what a plan is on arrival."""
    plan = pickle.loads(pickled)
    return {
        "template": plan.template,
        "keys": plan.keys,
        "verb": plan.verb,
        "settings": plan._task.settings,
        "shape": plan._task.shape,
        "schema": plan._task.output.schema,
        "meta": plan.meta(data),
        "again": pickle.dumps(plan),
    }


def called(pickled: bytes, data: object) -> object:
    """Call a plan."""
    return pickle.loads(pickled)(data)


def process() -> int:
    """Return which process this is."""
    return os.getpid()
