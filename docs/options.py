"""Write the table of options into its page: ``python docs/options.py``."""

import re
import sys
from pathlib import Path

from pandas_llm import options

PAGE = Path(__file__).parent / "reference" / "options.md"
BETWEEN = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- /options -->)", re.DOTALL)

path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
path.write_text(BETWEEN.sub(lambda _: options.reference(), path.read_text()))
