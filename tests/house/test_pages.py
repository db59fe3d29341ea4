"""README and docs: links, navigation, length, and the picture of a run."""

import re
from pathlib import Path
from urllib.parse import unquote

import outputs
import picture
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOUSE = ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]
PAGES = [*outputs.pages(), *(ROOT / name for name in HOUSE)]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
TREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.DOTALL | re.MULTILINE)
HEAD = re.compile(r"^#+ (.*)", re.MULTILINE)


def name_of(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    heads = HEAD.findall(FENCED.sub("", page.read_text()))
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_something_in_the_tree(page):
    links = LINK.findall(re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text())))
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = unquote(link).partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        assert there.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(there), link


def listed(page):
    """Return the pages below one, by its trees of contents."""
    for tree in TREE.findall(page.read_text()):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                there = (page.parent / line).resolve()
                found = [there.with_name(there.name + end) for end in (".md", ".ipynb")]
                (there,) = [one for one in found if one.exists()]
                yield there
                if there.suffix == ".md":
                    yield from listed(there)


def test_every_page_and_notebook_is_in_the_navigation_once():
    reached = list(listed(DOCS / "index.md"))
    assert len(reached) == len(set(reached))
    own = {*DOCS.rglob("*.md")} - {DOCS / "index.md"}
    notebooks = set((ROOT / "notebooks").glob("*.ipynb"))
    assert own | notebooks <= set(reached)
    assert {ROOT / name for name in HOUSE} <= set(reached)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_a_page_opens_with_its_name_and_what_one_can_do(page):
    title, blank, first, *_ = page.read_text().splitlines()
    assert title.startswith("# ")
    assert blank == ""
    assert first[:1].isalpha()


def test_the_readme_is_short_and_shows_first_what_it_does():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < 1800
    heads = re.findall(r"^## (.*)", text, re.MULTILINE)
    contents = next(line for line in text.splitlines() if "**On this page:**" in line)
    assert re.findall(r"\[(.*?)\]", contents) == heads
    first = text.partition("\n## ")[0]
    code, shown = re.search(outputs.CODE, first).groups()
    assert len(code.strip().splitlines()) <= 9  # with an empty one
    assert "order" in shown
    assert "](docs/picture.svg)" in first


@pytest.mark.slow
def test_the_picture_is_drawn_from_a_run():
    drawn, kept = picture.draw(), picture.PICTURE.read_text()
    for said in ("100%", "400/400", "rows: 400", "failed: 0", "rows a second"):
        assert said in drawn
        assert said in kept
    for kind in ("call", "ink"):  # what time does not change
        lines = re.findall(rf'class="code {kind}">(.*?)</text>', drawn)
        assert lines == re.findall(rf'class="code {kind}">(.*?)</text>', kept)
    codes = re.findall(r'class="code( bar)?.*?">(.*?)</text>', kept)
    room = picture.WIDTH - 2 * picture.LEFT
    assert all(len(line) * (7.0 if bar else 7.6) <= room for bar, line in codes)
