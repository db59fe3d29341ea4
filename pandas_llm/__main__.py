"""The command line: ``python -m pandas_llm``, and the script ``pandas-llm``."""

from __future__ import annotations

import sys

from pandas_llm._cli import main

if __name__ == "__main__":
    sys.exit(main())
