"""Write what the code of a page prints below it: ``python docs/outputs.py [PAGE …]``.

Blocks ```` ```python ```` of a page run from top to bottom; what one prints stands in
the block ```` ```text output ```` after it, where ``...`` stands for anything.
Blocks ```` ```python notest ```` are left alone.
"""

import contextlib
import doctest
import io
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text output\n(?P<shown>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


def pages() -> list[Path]:
    """Return README.md and all pages of the docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def printed(code: str, names: dict[str, object], page: str) -> str:
    """Return what a block prints, without blanks at the ends of lines."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own pages
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def same(shown: str, found: str) -> bool:
    """Return whether a page shows what its code printed."""
    return doctest.OutputChecker().check_output(shown, found, doctest.ELLIPSIS)


def rewritten(text: str, page: str) -> str:
    """Return a page with what its code prints, where that is not yet shown."""
    names: dict[str, object] = {"__name__": "__main__"}

    def block(found: re.Match[str]) -> str:
        code, shown = found["code"], found["shown"] or ""
        out = printed(code, names, page)
        if same(shown, out):
            return found[0]
        return f"```python\n{code}```\n" + f"\n```text output\n{out}```\n" * bool(out)

    return CODE.sub(block, text)


def main(paths: list[Path]) -> None:
    """Bring pages up to date."""
    from pandas_llm import options

    for path in map(Path.resolve, paths):
        with options.option_context(), tempfile.TemporaryDirectory() as folder:
            # as for a newcomer: nothing is answered yet
            os.environ["PANDAS_LLM_CACHE"] = str(Path(folder, "kept.sqlite"))
            with contextlib.chdir(folder):  # files that a page writes
                text = rewritten(path.read_text(), path.name)
            path.write_text(text)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or pages())
