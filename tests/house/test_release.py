"""What a release is made of: version, workflows, forms, and the wheel itself."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GITHUB = ROOT / ".github"
FLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = [GITHUB / "ISSUE_TEMPLATE" / name for name in ("bug.yml", "idea.yml")]
PARTS = re.compile(r"\.ci/\w+")
INSTALLS = re.compile(r"python -m pip install -q (-e )?'[^']+'")


def flow(path):
    """Return a workflow; YAML 1.1 reads its key `on` as true."""
    found = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def steps(found):
    return [step for job in found["jobs"].values() for step in job["steps"]]


# -- the version --------------------------------------------------------------------


def test_the_version_stands_in_one_place_and_the_changelog_opens_with_it():
    said = subprocess.run(
        [sys.executable, ROOT / ".ci" / "version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.strip() == PROJECT["version"]
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[:2] == ["Unreleased", PROJECT["version"]]
    inside = (ROOT / "pandas_llm").rglob("*.py")
    assert not [p for p in inside if f'"{PROJECT["version"]}"' in p.read_text()]


def test_an_upgrade_reads_first_what_changed_for_it():
    text = (ROOT / "CHANGELOG.md").read_text()
    head = text.partition(f"\n## {PROJECT['version']}\n")[2].partition("### Added")[0]
    assert "\n### Changed\n" in head
    for word in (
        *("Confidence", "Empty replies", "Kinds of failure"),
        *("Patience", "Unique", "Jobs"),
    ):
        assert f"\n- {word}:" in head, word


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert [author["name"] for author in cited["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


# -- workflows ----------------------------------------------------------------------


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_what_it_needs_and_calls_the_checks(path):
    found = flow(path)
    assert found.keys() <= {"name", "on", "permissions", "concurrency", "jobs"}
    assert found["name"] == path.stem
    assert found["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text()
    called = []
    for name, job in found["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        assert job["runs-on"], name
        for needed in [job["needs"]] if "needs" in job else []:
            assert needed in found["jobs"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[\w/.]+", step["uses"])
                continue
            parts = PARTS.findall(step["run"])
            # what is done is in .ci/, where it can be run by hand
            assert parts or INSTALLS.fullmatch(step["run"]), step["run"]
            called += parts
    assert called
    for part in called:
        file = ROOT / part
        assert file.is_file(), part
        assert os.access(file, os.X_OK) or "python " + part in path.read_text()


@pytest.mark.parametrize("name", ["quick", "docs", "wheel"])
def test_the_parts_of_the_checks_are_parts_of_the_whole(name):
    assert f".ci/{name} " in (ROOT / ".ci" / "run").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="bash of POSIX")
@pytest.mark.parametrize("name", ["run", "quick", "docs", "wheel"])
def test_the_checks_are_bash_that_can_be_read(name):
    subprocess.run(["bash", "-n", ROOT / ".ci" / name], check=True)


def test_the_quick_part_names_files_that_are_there():
    text = (ROOT / ".ci" / "quick").read_text().replace("\\\n", " ")
    command = next(line for line in text.splitlines() if line.startswith("exec"))
    words = command.partition("no:cacheprovider")[2]
    listed = subprocess.run(
        ["bash", "-c", f"ls -d {words}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert "tests/verbs/test_kinds.py" in listed.stdout.split()


def test_every_python_system_and_pandas_is_tested():
    matrix = flow(GITHUB / "workflows" / "tests.yml")["jobs"]["quick"]["strategy"]
    matrix = matrix["matrix"]
    told = [line for line in PROJECT["classifiers"] if ":: 3." in line]
    assert matrix["python"] == [line.rpartition(" ")[2] for line in told]
    assert {one.partition("-")[0] for one in matrix["os"]} == {
        *("ubuntu", "macos", "windows")
    }
    (pandas,) = [d for d in PROJECT["dependencies"] if d.startswith("pandas")]
    assert matrix["pandas"] == [f"{pandas.removeprefix('pandas>=')}.*", "newest"]


def test_only_a_tag_publishes_and_only_after_all_checks():
    found = flow(GITHUB / "workflows" / "release.yml")
    assert found["on"] == {"push": {"tags": ["v*"]}}
    build, publish = found["jobs"]["build"], found["jobs"]["publish"]
    assert "permissions" not in build
    assert [step["run"] for step in build["steps"] if "run" in step] == [
        'test "$GITHUB_REF_NAME" = "v$(python .ci/version)"',
        *(".ci/run", ".ci/wheel python dist"),
    ]
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "release"
    assert all("run" not in step for step in publish["steps"])  # nothing beside it


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_the_fields_of_githubs(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert {one["type"] for one in fields} <= {"textarea", "input", "dropdown"}
    ids = [one["id"] for one in fields]
    assert len(ids) == len(set(ids)) > 0
    assert all(one["attributes"]["label"] for one in fields)


def test_hooks_run_what_the_page_for_contributors_runs():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    commands = {hook["id"]: hook["entry"] for hook in local["hooks"]}
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for tool in ("ruff check", "ruff format", "mypy"):
        assert f".venv/bin/{tool}" in page
        assert any(tool in command for command in commands.values())
    for file in re.findall(r"tests/\S+", commands["house"]):
        assert (ROOT / file).is_file()


# -- the wheel ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel; in the environment at hand where that has what is needed."""
    folder = tmp_path_factory.mktemp("dist")
    alone = importlib.util.find_spec("hatchling") is not None
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder]
    more = ["--no-build-isolation"] if alone else []
    done = subprocess.run(
        [*command, *more, ROOT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(wheel.namelist())
    info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    assert info == f"pandas_llm_accessor-{PROJECT['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"pandas_llm", info}
    package = ROOT / "pandas_llm"
    files = {
        file.relative_to(ROOT).as_posix()
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names if name.startswith("pandas_llm/")} == files
    assert "pandas_llm/py.typed" in names
    assert not [name for name in names if "test" in name.rpartition("/")[2]]
    assert f"{info}/licenses/LICENSE" in names
    scripts = wheel.read(f"{info}/entry_points.txt").decode()
    assert "pandas-llm = pandas_llm.__main__:main" in scripts


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheels_metadata_are_those_of_the_project(wheel):
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    told = message_from_string(wheel.read(name).decode())
    assert told["Name"] == PROJECT["name"]
    assert told["Version"] == PROJECT["version"]
    assert told["License-Expression"] == PROJECT["license"]
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_all("Classifier") == PROJECT["classifiers"]
    extras = told.get_all("Provides-Extra")
    assert set(extras) == set(PROJECT["optional-dependencies"])
    plain = [d for d in told.get_all("Requires-Dist") if "extra ==" not in d]
    assert {re.split(r"[<>=]", d)[0] for d in plain} == {
        re.split(r"[<>=]", d)[0] for d in PROJECT["dependencies"]
    }
    assert told.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_the_readme_renders_where_packages_are_shown():
    if importlib.util.find_spec("readme_renderer") is None:
        assert not os.environ.get("CI"), "CI lacks readme-renderer"
        pytest.skip("needs readme-renderer[md]")
    from readme_renderer import markdown

    text = (ROOT / "README.md").read_text()
    page = markdown.render(text)
    assert page is not None
    title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
    assert title.replace("_", "") in re.sub(r"<[^>]+>|_", "", page)
    assert page.count("<table") >= text.count("\n|---") > 0
