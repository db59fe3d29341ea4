"""Run language models over dataframes.

>>> import pandas as pd
>>> import pandas_llm
>>> docs = pd.DataFrame({"text": ["Washington was the first president."]})
>>> out = docs.llm.generate(
...     "Write question and answer pairs about: ${text}",
...     keys=["question", "answer"],
...     model="sim",
... )
>>> list(out.columns)
['text', 'question', 'answer']
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_llm._display import Usage
from pandas_llm._table_verbs import (
    agg,
    drop_duplicates,
    duplicated,
    estimate,
    merge,
    ngroup,
    nlargest,
    preview,
    search,
)
from pandas_llm._verbs import (
    classify,
    complete,
    embed,
    extract,
    filter,  # noqa: A004 - pandas' word; it hides a builtin in __all__
    generate,
    matches,
    twin,
)
from pandas_llm.accessor import GroupedAccessor, LLMAccessor
from pandas_llm.errors import (
    ConfigurationError,
    GenerationError,
    LLMError,
    LLMWarning,
    OutputError,
    ProviderError,
    TemplateError,
)

if TYPE_CHECKING:
    from pandas_llm import batch, cache, simulator
    from pandas_llm._display import Progress
    from pandas_llm._evaluation import compare, evaluate, share
    from pandas_llm._keys import Quoted
    from pandas_llm._run import last_usage
    from pandas_llm._verbs import chunk, to_chat_jsonl
    from pandas_llm.options import get_options, option_context, set_options
    from pandas_llm.plan import Plan

__all__ = [
    "ConfigurationError",
    "GenerationError",
    "LLMError",
    "LLMWarning",
    "OutputError",
    "Plan",
    "Progress",
    "ProviderError",
    "Quoted",
    "TemplateError",
    "Usage",
    "aagg",
    "aclassify",
    "acomplete",
    "adrop_duplicates",
    "aduplicated",
    "aembed",
    "aextract",
    "afilter",
    "agenerate",
    "agg",
    "amatches",
    "amerge",
    "angroup",
    "anlargest",
    "asearch",
    "batch",
    "cache",
    "chunk",
    "classify",
    "compare",
    "complete",
    "drop_duplicates",
    "duplicated",
    "embed",
    "estimate",
    "evaluate",
    "extract",
    "generate",
    "get_options",
    "last_usage",
    "matches",
    "merge",
    "ngroup",
    "nlargest",
    "option_context",
    "preview",
    "search",
    "set_options",
    "share",
    "simulator",
    "to_chat_jsonl",
]

_LAZY = {
    "Plan": "plan",
    "Progress": "_display",
    "Quoted": "_keys",
    "chunk": "_verbs",
    "compare": "_evaluation",
    "evaluate": "_evaluation",
    "get_options": "options",
    "last_usage": "_run",
    "option_context": "options",
    "set_options": "options",
    "share": "_evaluation",
    "to_chat_jsonl": "_verbs",
}

aclassify = twin(classify)
acomplete = twin(complete)
aembed = twin(embed)
aextract = twin(extract)
afilter = twin(filter)
agenerate = twin(generate)
amatches = twin(matches)
aagg = twin(agg)
adrop_duplicates = twin(drop_duplicates)
aduplicated = twin(duplicated)
amerge = twin(merge)
angroup = twin(ngroup)
anlargest = twin(nlargest)
asearch = twin(search)

logging.getLogger("pandas_llm").addHandler(logging.NullHandler())
pd.api.extensions.register_dataframe_accessor("llm")(LLMAccessor)
pd.api.extensions.register_series_accessor("llm")(LLMAccessor)
for _groups in (pd.api.typing.DataFrameGroupBy, pd.api.typing.SeriesGroupBy):
    setattr(_groups, "llm", GroupedAccessor())  # noqa: B010 - pandas has no register for them


def __getattr__(name: str) -> Any:
    """Import at first use: aiohttp and pydantic take half a second."""
    if name in ("batch", "cache", "simulator"):
        import_module("pandas_llm.options")  # which tells the cache where it is
        return import_module(f"pandas_llm.{name}")
    if name in _LAZY:
        return getattr(import_module(f"pandas_llm.{_LAZY[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("pandas-llm-accessor")
    msg = f"module 'pandas_llm' has no attribute {name!r}"
    if not name.startswith("_"):
        from pandas_llm.options import verb_instead_of

        ours = verb_instead_of(name, [*__all__, "filter"])
        msg += f": that is pandas_llm.{ours} here" if ours else ""
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """Show what is public, not what is imported here."""
    return sorted({*(name for name in globals() if name[:2] == "__"), *__all__})
