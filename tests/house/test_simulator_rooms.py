"""The simulator's rooms: who may import whom, and only through the doors."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import combinations
from pathlib import Path

import pytest

import pandas_llm

HOUSE = "pandas_llm.simulator"
ROOMS = ["server", "dialects", "conditions", "answers"]
"""From the top down: a room imports only those after it."""
DOORS = [f"{HOUSE}.{room}" for room in ROOMS]
MOST_FILES = 14  # a file a vendor


def find_modules():
    """Return the dotted names of the simulator's modules, and their syntax trees."""
    package = Path(pandas_llm.__file__).parent
    found = {}
    for path in sorted((package / "simulator").rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = find_modules()


def imported(tree):
    """Return what a module imports from the package, also for types and in functions.

    Pairs: a module, and the name taken from it; None where the whole module is.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            pairs = [
                (full, None) if full in MODULES else (node.module, alias.name)
                for full, alias in zip(whole, node.names, strict=True)
            ]
        else:
            continue
        yield from (pair for pair in pairs if pair[0].split(".")[0] == "pandas_llm")


def room_of(name):
    """Return the room a module is in, None for the simulator's own door."""
    return name.removeprefix(HOUSE).strip(".").split(".")[0] or None


def problems(name, tree):
    """Return what is wrong with the imports of a module."""
    own = room_of(name)
    below = ROOMS if own is None else ROOMS[ROOMS.index(own) + 1 :]
    for module, taken in imported(tree):
        if module not in MODULES:
            yield f"{module} is not the simulator's"
        elif own is None and module in DOORS and taken is None:
            continue  # a door that is entered at first use
        elif room_of(module) == own:
            if module == name or module in DOORS:
                yield f"{module} is the room's own door"
        elif room_of(module) not in below:
            yield f"{module} is above {own}"
        elif module not in DOORS:
            yield f"{module} is past the door"
        elif taken not in import_module(module).__all__:
            yield f"{taken} is not among what {module} gives"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_in_a_room_and_imports_through_doors_below(name):
    assert name in (HOUSE, *DOORS) or name.rpartition(".")[0] in DOORS
    assert list(problems(name, MODULES[name])) == []


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("answers.texts", f"from {HOUSE}.conditions import Settings", "above"),
        ("answers.texts", f"from {HOUSE} import Settings", "above"),
        ("server.app", f"from {HOUSE}.dialects.gemini import named", "past the door"),
        ("server.app", f"from {HOUSE}.dialects import gemini", "past the door"),
        ("server.app", f"import {HOUSE}.dialects.gemini", "past the door"),
        ("server.app", f"from {HOUSE}.dialects import OPENAI", "not among"),
        ("server.app", f"import {HOUSE}.dialects", "not among"),
        ("server.app", f"from {HOUSE}.server import serve", "own door"),
        ("server.app", "from pandas_llm.types import Request", "not the simulator's"),
        ("server.app", "from pandas_llm import errors", "not the simulator's"),
        ("server.app", "if TYPE_CHECKING:\n    import pandas_llm", "not the simulator"),
    ],
)
def test_an_import_out_of_order_is_found(name, line, problem):
    (found,) = problems(f"{HOUSE}.{name}", ast.parse(line))
    assert problem in found


def test_modules_import_each_other_in_no_circle():
    graph = {
        name: {module for module, _ in imported(tree)} for name, tree in MODULES.items()
    }
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


def test_a_door_gives_what_is_used_and_no_more():
    used = {
        (module, taken)
        for name, tree in MODULES.items()
        for module, taken in imported(tree)
        if module in DOORS and room_of(module) != room_of(name)
    }
    given = {(door, name) for door in DOORS for name in import_module(door).__all__}
    assert given == used - {(f"{HOUSE}.server", None)}
    for door, name in given:
        assert hasattr(import_module(door), name)


def test_rooms_are_small_and_names_are_not_mistaken_for_others():
    counts = Counter(map(room_of, MODULES.keys() - {HOUSE, *DOORS}))
    assert counts.keys() == set(ROOMS)
    assert max(counts.values()) <= MOST_FILES
    names = [name.rpartition(".")[2] for name in MODULES]
    assert len(names) == len(set(names))
    assert not [pair for pair in combinations(names, 2) if one_letter_apart(*pair)]


def one_letter_apart(one, other):
    """Return whether a letter added or changed makes one name the other."""
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        return sum(a != b for a, b in zip(short, long, strict=True)) == 1
    return short in (long[:at] + long[at + 1 :] for at in range(len(long)))
