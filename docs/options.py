"""Write the table of options into the README: ``python docs/options.py``."""

import re
import sys
from pathlib import Path

from pandas_llm import options

README = Path(__file__).parent.parent / "README.md"
BETWEEN = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- /options -->)", re.DOTALL)

path = Path(sys.argv[1]) if len(sys.argv) > 1 else README
path.write_text(BETWEEN.sub(lambda _: options.reference(), path.read_text()))
