"""A plan on every partition, and each process its part of the account's limits.

`dask` and `spark` need their extras, so each is imported by itself.
"""

from __future__ import annotations

__all__ = ["dask", "spark"]
