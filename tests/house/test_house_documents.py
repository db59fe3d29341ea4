"""What ARCHITECTURE.md, CONTRIBUTING.md and NOTES.md name is there, and every room.

A module, class or function that is renamed fails here until the pages know it.
"""

import ast
import builtins
import inspect
import keyword
import re
from pathlib import Path

import pytest
from test_architecture import APART, FLOORS
from test_simulator_rooms import ROOMS

from pandas_llm import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pandas_llm"
NOTES = "pandas_llm/_pacing/NOTES.md"
PAGES = ["ARCHITECTURE.md", "CONTRIBUTING.md", NOTES]
FILE = re.compile(r"[\w./-]*\w\.(?:py|md|json|toml)\b")
FOLDER = re.compile(r"`([\w./-]+/)`")
CLASS = re.compile(r"`@?([A-Z]\w*[a-z]\w*(?:\.\w+)*)(?:\(.*?\))?`")
NAME = re.compile(r"`@?([a-z_]\w*|_[A-Z_]+|[A-Z][A-Z_]+)(?:\(\))?`")
CODE = re.compile(r"^```python\n.*?^```", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"^## The rooms\n.*?^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
OF_OTHERS = {"Callable", "ParamSpec", "Retry-After", "NAME", "DataFrame", "Series"}
EXAMPLES = {"acme_llm.py", "NAME.json"}
NO_FILES = re.compile(r"\.venv/|XDG|CHANGELOG")


def text_of(page):
    return CODE.sub("", (ROOT / page).read_text())


def words_of(paths):
    """Return all names in the code of some modules, defined or used."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            for field in ("name", "id", "attr", "arg", "module"):
                if isinstance(named := getattr(node, field, None), str):
                    found.update(named.split("."))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # options, kinds, fields of a vendor
    return found


def defined():
    """Return the classes of the package, and for each the names in it."""
    classes = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                inner = classes.setdefault(node.name, set())
                for part in ast.walk(node):
                    for field in ("name", "id", "attr"):
                        inner.add(getattr(part, field, None))
    return classes


def places(page):
    """Return the folders from which a page may name a file."""
    return [ROOT, PACKAGE, (ROOT / page).parent]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_folder_that_is_named_exists(page):
    text = text_of(page)
    named = set(FILE.findall(text)) | set(FOLDER.findall(text))
    named = {
        n for n in named if not NO_FILES.match(n) and n.split("/")[-1] not in EXAMPLES
    }
    assert named
    missing = [n for n in named if not any((at / n).exists() for at in places(page))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_class_that_is_named_exists(page):
    classes = defined()
    for name in set(CLASS.findall(text_of(page))):
        first, _, rest = name.partition(".")
        if first in OF_OTHERS:
            continue
        assert first in classes, name
        assert not rest or rest in classes[first], name


@pytest.mark.parametrize("page", PAGES)
def test_every_name_that_is_quoted_is_one_of_the_code(page):
    known = words_of(
        [*PACKAGE.rglob("*.py"), ROOT / "tests/house/test_architecture.py"]
    )
    known |= {*dir(builtins), *keyword.kwlist} | OF_OTHERS
    known |= {path.stem for path in PACKAGE.rglob("*.py")}
    assert set(NAME.findall(text_of(page))) - known == set()


def test_a_files_neighbour_in_the_text_is_in_that_file():
    """As in "`decide` in `_client/verdict.py`"."""
    found = re.findall(r"`(\w+)` (?:in|of) `([\w/]+\.py)`", text_of("ARCHITECTURE.md"))
    assert found
    for name, file in found:
        assert name in words_of([PACKAGE / file]), (name, file)


def test_the_picture_has_every_room_with_its_purpose_from_the_street_down():
    (picture,) = PICTURE.findall(text_of("ARCHITECTURE.md"))
    rooms = dict(line.split(maxsplit=1) for line in picture.splitlines())
    for name in rooms:
        assert (PACKAGE / name).exists(), name
    rooms = {name.removesuffix("/").removesuffix(".py"): rooms[name] for name in rooms}
    surface = set(FLOORS[-1])
    inside = [room for floor in FLOORS[:-1] for room in floor]
    assert rooms.keys() - surface == {*inside, APART}
    assert all(len(purpose) > 20 for purpose in rooms.values())
    floor = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    order = [floor[room] for room in rooms if room != APART]
    assert order == sorted(order, reverse=True)


def test_the_simulators_rooms_are_named_from_the_top_down():
    text = text_of("ARCHITECTURE.md")
    at = [text.index(f"`simulator/{room}/` (") for room in ROOMS]
    assert at == sorted(at)


def test_the_notes_on_the_pace_speak_of_its_modules_and_constants():
    text = text_of(NOTES)
    table = re.findall(r"^\| `([\w/.]+)` \|", text, re.MULTILINE)
    assert {f"{path.name}" for path in (PACKAGE / "_pacing").glob("*.py")} - {
        *("__init__.py", "prices.py", "shares.py")
    } <= {Path(name).name for name in table}
    constants = set(re.findall(r"`(_?[A-Z][A-Z_]+)`", text))
    assert constants
    assert constants <= words_of((PACKAGE / "_pacing").glob("*.py"))


def test_the_page_of_errors_lists_every_kind_of_failure_and_no_other():
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    bases = (errors.LLMError, errors.RowError, errors.ProviderError)
    bases += (errors.AttachmentError,)
    kinds = {
        kind.kind
        for kind in classes
        if issubclass(kind, errors.LLMError) and kind not in bases
    }
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    table = page.split("| kind | what happened |")[1]
    named = re.findall(r"^\| `(\w+)` \|", table.split("\n\n")[0], re.MULTILINE)
    assert sorted(named) == sorted(kinds)


def test_the_changelog_has_one_section_of_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)", text, re.MULTILINE)[:1] == ["Unreleased"]
    assert text.count("## Unreleased") == 1
    newest = re.split(r"^## .*", text, flags=re.MULTILINE)[1]
    heads = re.findall(r"^### (.*)", newest, re.MULTILINE)
    assert heads == [h for h in ("Added", "Changed", "Fixed") if h in heads]
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(lines) == len(set(lines))
