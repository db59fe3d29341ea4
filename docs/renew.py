"""Run notebooks and keep what they show: ``python docs/renew.py [NOTEBOOK …]``."""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
CHANGING = [
    (re.compile(r"[0-9a-f]{8,}"), "#"),
    (re.compile(r"\d[\d.,:]*"), "#"),
    (re.compile(r" +"), " "),
]
"""Numbers, times and names of jobs: not the same in two runs."""


def run(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a run of now, without widgets."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources=place
    )
    with tempfile.TemporaryDirectory() as folder:  # nothing is answered yet
        kept = str(Path(folder, "kept.sqlite"))
        client.execute(env={**os.environ, "PANDAS_LLM_CACHE": kept})
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not is_widget(one)]
    return notebook


def is_widget(output: nbformat.NotebookNode) -> bool:
    """Return whether an output needs a kernel to be seen."""
    return any("widget" in kind for kind in output.get("data", {}))


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the text that each cell shows, without what differs between runs.

    The last state of a bar is left out: a run that was quick has drawn none.
    """
    return [
        steady(
            "".join(
                output.get("text") or output.get("data", {}).get("text/plain", "")
                for output in cell.outputs
                if "<progress" not in output.get("data", {}).get("text/html", "")
            )
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def steady(text: str) -> str:
    """Return a text without numbers and times."""
    for pattern, instead in CHANGING:
        text = pattern.sub(instead, text)
    return text.strip()


def main(paths: list[Path]) -> None:
    """Bring notebooks up to date."""
    for path in paths:
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")))
