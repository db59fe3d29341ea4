"""A run through the provider's batch endpoint: half the price, within a day.

`upload` takes requests there and brings replies to the cache; `saved` and `state`
keep what another process needs to go on.
"""

from __future__ import annotations

from pandas_llm.batch.job import BatchJob, BatchStatus, asubmit, load, submit

__all__ = ["BatchJob", "BatchStatus", "asubmit", "load", "submit"]
