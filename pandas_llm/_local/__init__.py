"""Models that are files on this machine: GGUF by llama.cpp, and tiny in a thread."""

from pandas_llm._local.files import LOCAL, ask_tiny, local_endpoint
from pandas_llm._local.llama import Llama, served

__all__ = ["LOCAL", "Llama", "ask_tiny", "local_endpoint", "served"]
