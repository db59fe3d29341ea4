"""One exchange over HTTP: routes, TLS and passwords, time limits, AWS's signatures.

It knows nothing of rows, and what an answer says is read elsewhere.
"""

from __future__ import annotations

from pandas_llm._http.aws import Signed, check_botocore, region_of
from pandas_llm._http.masking import masked, redacted, secrets
from pandas_llm._http.transport import Transport, open_connections

__all__ = [
    "Signed",
    "Transport",
    "check_botocore",
    "masked",
    "open_connections",
    "redacted",
    "region_of",
    "secrets",
]
