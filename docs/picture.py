"""Draw the picture of the README from a real run: ``python docs/picture.py``.

400 rows go to the simulator, which has a limit and fails now and then. The picture
shows what a terminal shows of it (the call, the bar in the middle and at the end, the
first rows of the table), and the report of that very run.
"""

import contextlib
import html
import io
import re
from pathlib import Path

import pandas as pd

import pandas_llm
from pandas_llm.simulator import Simulator

PICTURE = Path(__file__).parent / "picture.svg"
WIDTH, LINE, LEFT = 920, 19, 28
CALL = """\
>>> table = mails.llm.extract(
...     "Read this message: ${text}",
...     keys={"order": int, "mood": ["angry", "glad"]},
... )"""
SHOWN = 5
STYLE = """\
.paper { fill: #fff; stroke: #d5d9e0 } .terminal { fill: #f5f7fa; stroke: #d5d9e0 }
.ink, svg svg { fill: #1f2430; color: #1f2430 }
.call { fill: #1d5fa8 } .bar { fill: #1a7f4b }
.code { font-family: ui-monospace, Menlo, Consolas, monospace; white-space: pre }
.code, .said { font-size: 12.5px } .code.bar { font-size: 11.5px }
.said, .head { font-family: system-ui, sans-serif } .head { font-weight: 600 }
@media (prefers-color-scheme: dark) {
.paper { fill: #14171d; stroke: #3a404c } .terminal { fill: #1b1f27; stroke: #3a404c }
.ink, svg svg { fill: #e4e7ec; color: #e4e7ec }
.call { fill: #7db7f0 } .bar { fill: #6fce9c }
}"""


def run() -> tuple[list[str], list[str], str]:
    """Return the bar's lines, the table's lines and the report of a run."""
    what = ("Order {} came late.", "Order {} is perfect!", "Where is order {}?")
    mails = pd.DataFrame({"text": [what[n % 3].format(41 + n) for n in range(400)]})
    drawn = io.StringIO()
    settings = {"requests_per_minute": 6000, "burst": 40, "latency": 0.05}
    with (
        Simulator(**settings, faults={"500": 0.05}) as server,
        contextlib.redirect_stderr(drawn),
    ):
        table = mails.llm.extract(
            "Read this message: ${text}",
            keys={"order": int, "mood": ["angry", "glad"]},
            model="sim",
            base_url=server.base_url,
            prices={"sim": (0.5, 2.0)},
            cache=False,
            progress=True,
        )
    lines = [part.strip() for part in drawn.getvalue().split("\r") if part.strip()]
    middle = min(lines, key=lambda line: abs(int(line.split("%")[0]) - 60))
    rows = str(table.head(SHOWN)).splitlines()
    return [middle, lines[-1]], rows, table.llm.report()._repr_html_()


def texts(lines: list[str], top: float, style: str) -> str:
    """Return lines of text below one another."""
    return "".join(
        f'<text x="{LEFT}" y="{top + LINE * at}" class="{style}">'
        f"{html.escape(line)}</text>"
        for at, line in enumerate(lines)
    )


def totals(page: str) -> list[str]:
    """Return what the report's first table says, in two lines."""
    cells = re.findall(r"<tr><th[^>]*>(.*?)</th><td[^>]*>(.*?)</td></tr>", page)
    said = [f"{name}: {value}" for name, value in cells]
    half = (len(said) + 1) // 2
    return [" · ".join(said[:half]), " · ".join(said[half:])]


def draw() -> str:
    """Return the picture as SVG."""
    bars, rows, page = run()
    call = CALL.splitlines()
    plot = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    if plot is None:
        raise RuntimeError("the report has no plot")
    parts = []
    top = 42
    parts.append(texts(call, top, "code call"))
    top += LINE * len(call)
    parts.append(texts(bars, top, "code bar"))
    top += LINE * len(bars)
    parts.append(texts([">>> table"], top, "code call"))
    top += LINE
    parts.append(texts(rows, top, "code ink"))
    terminal = top + LINE * len(rows) - 4
    top = terminal + 44
    parts.append(texts(["Report of this run: table.llm.report()"], top, "head ink"))
    parts.append(texts(totals(page), top + LINE + 4, "said ink"))
    top += LINE * 3 + 6
    where = f'<svg x="{LEFT}" y="{top}" height="240" '
    parts.append(
        plot[0].replace("<svg ", where, 1).replace('width="720"', 'width="864"', 1)
    )
    end = top + 256
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end}" '
        f'width="{WIDTH}" role="img" aria-label="A run, its table and its report">'
        f"<style>{STYLE}</style>"
        f'<rect x="8" y="{terminal + 16}" width="{WIDTH - 16}" '
        f'height="{end - terminal - 24}" rx="8" class="paper"/>'
        f'<rect x="8" y="8" width="{WIDTH - 16}" height="{terminal}" rx="8" '
        f'class="terminal"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    pandas_llm.set_options(progress=False)
    PICTURE.write_text(draw(), encoding="utf-8")
