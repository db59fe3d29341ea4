"""How each vendor asks and is answered: addresses, fields, errors and headers."""

from pandas_llm.simulator.dialects.anthropic import MESSAGES
from pandas_llm.simulator.dialects.completions import CHAT_COMPLETIONS
from pandas_llm.simulator.dialects.converse import CONVERSE
from pandas_llm.simulator.dialects.decisions import DECISIONS, SYSTEMONE
from pandas_llm.simulator.dialects.embeddings import (
    OLLAMA_EMBED,
    OPENAI_EMBEDDINGS,
    TITAN_EMBED,
)
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Vendor, Work
from pandas_llm.simulator.dialects.gemini import GENERATE_CONTENT, named
from pandas_llm.simulator.dialects.gemini_embeddings import (
    BATCH_EMBED_CONTENTS,
    EMBED_CONTENT,
)
from pandas_llm.simulator.dialects.models import list_models, vendor_of
from pandas_llm.simulator.dialects.replies import Chat, beginnings, read_json
from pandas_llm.simulator.dialects.responses import RESPONSES

__all__ = [
    "DIALECTS",
    "Chat",
    "Dialect",
    "Incoming",
    "Vendor",
    "Work",
    "beginnings",
    "list_models",
    "named",
    "read_json",
    "vendor_of",
]

DIALECTS = (
    *(CHAT_COMPLETIONS, RESPONSES, OPENAI_EMBEDDINGS, MESSAGES, OLLAMA_EMBED),
    *(GENERATE_CONTENT, EMBED_CONTENT, BATCH_EMBED_CONTENTS),
    *(DECISIONS, SYSTEMONE, CONVERSE, TITAN_EMBED),
)
"""All endpoints that are served."""
