"""Providers: pure translation between requests and a vendor's wire format.

A provider does no I/O: it builds an `HTTPRequest` and reads an `HTTPResponse`.
`vendors` has a module for each dialect, with its batch endpoint, `batches` its form;
`answers` has what all of them read alike, `failures` what an error means and what is
tried after it.

To add a provider here, write a module beside `vendors/openai.py`: a class that has the
members of `Provider`, and a mapping `PRESETS` from names to `Preset`; nothing else
names it. Another package adds one by the entry point ``pandas_llm.providers``: the name
that people write before the slash, and a `Preset`.
"""

from __future__ import annotations

from pandas_llm.providers.answers.bodies import ODD
from pandas_llm.providers.batches import (
    Batches,
    Listed,
    Page,
    Result,
    Snapshot,
    batches_of,
    no_batches,
)
from pandas_llm.providers.dialect import Bundling
from pandas_llm.providers.embeddings import Embeddings
from pandas_llm.providers.failures import excerpt
from pandas_llm.providers.failures.negotiation import allowance, repeats_roles, standard
from pandas_llm.providers.listing import (
    models_of,
    models_url,
    nearest,
    not_openais,
    slots_of,
)
from pandas_llm.providers.registry import (
    Preset,
    Provider,
    connect,
    least_prefix,
    local,
    preset,
    presets,
    read_reply,
    spoken,
    succeeded,
)

__all__ = [
    "ODD",
    "Batches",
    "Bundling",
    "Embeddings",
    "Listed",
    "Page",
    "Preset",
    "Provider",
    "Result",
    "Snapshot",
    "allowance",
    "batches_of",
    "connect",
    "excerpt",
    "least_prefix",
    "local",
    "models_of",
    "models_url",
    "nearest",
    "no_batches",
    "not_openais",
    "preset",
    "presets",
    "read_reply",
    "repeats_roles",
    "slots_of",
    "spoken",
    "standard",
    "succeeded",
]
