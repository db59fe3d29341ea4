"""A run through the provider's batch endpoint: half the price, within a day."""

from __future__ import annotations

from pandas_llm.batch.job import BatchJob, BatchStatus, asubmit, load, submit

__all__ = ["BatchJob", "BatchStatus", "asubmit", "load", "submit"]
