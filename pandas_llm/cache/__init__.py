"""Replies on disk, so that none is paid for twice; `info` and `clear` are for people.

`fingerprint` decides which requests are equal.
"""

from __future__ import annotations

from pandas_llm.cache import sqlite
from pandas_llm.cache.contents import CacheInfo, clear, info
from pandas_llm.cache.fingerprint import Fingerprint, begun_key, elsewhere_key
from pandas_llm.cache.replies import Cache, location, open_cache, why_unusable

__all__ = [
    "Cache",
    "CacheInfo",
    "Fingerprint",
    "begun_key",
    "clear",
    "elsewhere_key",
    "info",
    "location",
    "open_cache",
    "sqlite",
    "why_unusable",
]
