"""Models that are files on this machine: GGUF by llama.cpp, and tiny in a thread."""

from pandas_llm._local.files import LOCAL, decide, local_endpoint
from pandas_llm._local.llama import served

__all__ = ["LOCAL", "decide", "local_endpoint", "served"]
