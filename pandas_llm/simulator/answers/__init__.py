"""What the simulated model says: texts and vectors made from the prompt's own words."""

from pandas_llm.simulator.answers.attached import (
    AUDIO,
    DOCUMENTS,
    IMAGES,
    ImageError,
    look_at,
    look_at_url,
)
from pandas_llm.simulator.answers.odds import allowed_words, as_tokens, shares
from pandas_llm.simulator.answers.prompt import last_user_text, message_text
from pandas_llm.simulator.answers.schema import SchemaError
from pandas_llm.simulator.answers.texts import (
    answer,
    count_message_tokens,
    count_tokens,
    cut_to_tokens,
)
from pandas_llm.simulator.answers.values import MARK, unit_hash
from pandas_llm.simulator.answers.vectors import embed, packed

__all__ = [
    "AUDIO",
    "DOCUMENTS",
    "IMAGES",
    "MARK",
    "ImageError",
    "SchemaError",
    "allowed_words",
    "answer",
    "as_tokens",
    "count_message_tokens",
    "count_tokens",
    "cut_to_tokens",
    "embed",
    "last_user_text",
    "look_at",
    "look_at_url",
    "message_text",
    "packed",
    "shares",
    "unit_hash",
]
