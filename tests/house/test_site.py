"""The built docs: nothing comes from elsewhere, no link is dead, nothing is left out.

``sphinx-build -W -c docs . site`` first; `PANDAS_LLM_SITE` names the folder.
"""

import inspect
import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import pandas_llm
from pandas_llm.accessor import LLMAccessor
from pandas_llm.options import OPTIONS

ROOT = Path(__file__).parents[2]
BUILT = os.environ.get("PANDAS_LLM_SITE")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BUILT, reason="NOT TESTED: PANDAS_LLM_SITE is not set"),
]
SITE = Path(BUILT or ".").resolve()
LOADED = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import[^;]*//")


class Page(HTMLParser):
    """What a page loads, where it leads, and which places it has."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.leads, self.places, self.words = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.places |= {told[name] for name in ("id", "name") if told.get(name)}
        if tag == "a" and "href" in told:
            self.leads.append(told["href"])
        elif tag == "link" and told.get("rel") not in {"next", "prev", "canonical"}:
            self.loads.append(told["href"])
        self.loads += [told[name] for name in ("src", "srcset", "data") if name in told]

    def handle_data(self, data):
        self.words.append(data)


read = cache(Page)
PAGES = sorted(SITE.rglob("*.html")) if BUILT else []
PAGES = [page for page in PAGES if "_static" not in page.parts]  # the theme's own


def test_nothing_is_fetched_from_elsewhere():
    assert len(PAGES) > 40
    for page in PAGES:
        for address in read(page).loads:
            assert not urlsplit(address).netloc, (page, address)
            file = (page.parent / unquote(urlsplit(address).path)).resolve()
            assert address.startswith("data:") or file.exists(), (page, address)
    for style in SITE.rglob("*.css"):
        assert not LOADED.search(style.read_text(encoding="utf-8")), style


def test_every_link_inside_leads_to_a_page_and_a_place():
    for page in PAGES:
        for link in read(page).leads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link:
                continue
            there = (
                (page.parent / unquote(parts.path)).resolve() if parts.path else page
            )
            assert there.exists(), (page, link)
            if parts.fragment and there.suffix == ".html":
                assert unquote(parts.fragment) in read(there).places, (page, link)


def test_the_search_knows_the_pages_and_needs_no_server():
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    for name in ("docs/how-to/over-the-table", "notebooks/01-quickstart"):
        assert f'"{name}"' in index


def test_the_reference_has_every_verb_function_and_option():
    verbs = read(SITE / "docs/reference/verbs.html").places
    public = {name for name in vars(LLMAccessor) if not name.startswith("_")}
    for name in public:
        if not inspect.iscoroutinefunction(getattr(LLMAccessor, name)):
            assert f"pandas_llm.accessor.LLMAccessor.{name}" in verbs
    reference = [read(page).places for page in SITE.glob("docs/reference/*.html")]
    places = {place for page in reference for place in page}
    for name in pandas_llm.__all__:
        thing = getattr(pandas_llm, name)
        if not inspect.iscoroutinefunction(thing):  # a twin has the words of its verb
            kind = "module-" * inspect.ismodule(thing)
            named = {f"{kind}pandas_llm.{name}", f"pandas_llm.errors.{name}"}
            assert places & named, name
    table = " ".join(read(SITE / "docs/reference/options.html").words)
    assert all(name in table for name in OPTIONS)


def test_rendered_notebooks_end_in_no_error():
    notebooks = sorted((SITE / "notebooks").glob("*.html"))
    assert len(notebooks) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for page in notebooks:
        text = "".join(read(page).words)
        assert "Traceback (most recent call last)" not in text, page
        assert "ModuleNotFoundError" not in text, page
