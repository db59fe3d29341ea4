"""What people see, as a browser draws it: at both widths, in both schemes."""

from __future__ import annotations

import struct
import zlib

import pandas as pd
import pytest
from chromium import FRAMED, SIZES, look

import pandas_llm

LONG = "A long text that is to be wrapped. " * 20
HOSTILE = "<script>document.title='run'</script><img src=x onerror='document.title=1'>"
SEARCH = """(() => {
  const field = document.querySelector("input[type=search]");
  if (!field) return null;
  const shown = words => {
    field.value = words;
    field.dispatchEvent(new Event("input"));
    return [...document.querySelectorAll(".row")].filter(r => r.offsetHeight).length;
  };
  const counts = [shown("nowhere"), shown("rome FACTS"), shown("")];
  return [...counts, document.querySelectorAll(".row").length];
})()"""
SIDES = """(() => {
  const row = document.querySelector(".row");
  if (!row) return null;
  const [left, middle, right] = [...row.children].slice(1).map(
    one => one.getBoundingClientRect());
  return left.right <= middle.left && middle.right <= right.left;
})()"""
LINKS = """[...document.querySelectorAll("a")].map(one => one.getAttribute("href"))"""
COLOURS = """[getComputedStyle(document.body).color,
  matchMedia("(prefers-color-scheme: dark)").matches]"""
SCRIPTS = {
    "search": SEARCH,
    "sides": SIDES,
    "links": LINKS,
    "title": "document.title",
    "colours": COLOURS,
}


def png(width: int, height: int) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes([200, 90, 20]) * width for _ in range(height))
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def pages(simulator, on, tmp_path):
    """Make each thing that is looked at once."""
    texts = [LONG, HOSTILE, "Rome", "x" * 400, "It fails."]
    frame = pd.DataFrame({"text": texts, "photo": [png(900, 300)] * 5})
    server = simulator(fail_if={"It fails": "refusal"}, fault_plan={3: "500"})
    options = on(server, cache=tmp_path / "replies.sqlite", prices={"sim": (1, 2)})
    with pytest.warns(pandas_llm.LLMWarning):
        out = frame.llm.extract("Facts: ${text}", {"fact": str}, **options)
    out["fact_quote"] = [LONG[:40], None, "Rome", "x" * 300, None]
    keys = {"fact": str, "tone": ["good", "bad"], "year": int}
    preview = frame.llm.preview("Facts: ${text}", keys, system=LONG, images="photo")
    out.llm.report(tmp_path / "report.html", view=tmp_path / "rows.html")
    out.llm.view(path=tmp_path / "view.html")
    return {
        "preview": FRAMED.format(preview._repr_html_()),
        "accessor": FRAMED.format(frame.llm._repr_html_()),
        "result": FRAMED.format(out.llm._repr_html_()),
        "cell": FRAMED.format(out.llm.view()._repr_html_()),
        "view": (tmp_path / "view.html").read_text(encoding="utf-8"),
        "rows": (tmp_path / "rows.html").read_text(encoding="utf-8"),
        "report": (tmp_path / "report.html").read_text(encoding="utf-8"),
    }


@pytest.mark.slow
def test_nothing_is_cut_and_no_page_scrolls_sideways(pages, tmp_path):
    seen = look(pages, SCRIPTS, tmp_path)
    assert len(seen) == len(pages) * len(SIZES)
    for one in seen:
        where = (one["page"], one["width"], one["scheme"])
        assert one["faults"] == [], where
        assert one["title"] not in ("run", "1"), where  # a cell's script has run
        assert len(one["links"]) == (6 if one["page"] == "report" else 0), where
        for link in one["links"]:
            name, _, anchor = link.partition("#")
            assert f'id="{anchor}"' in pages[name.removesuffix(".html")], where
        colour, dark = one["colours"]
        assert dark == (one["scheme"] == "dark"), where
        light = sum(map(int, colour.strip("rgb()").split(","))) > 380
        assert light == dark, where  # letters stand out in either scheme
        if one["page"] == "view":
            assert one["search"] == [0, 1, 5, 5], where
            assert one["sides"] == (one["width"] > 700), where
    pictures = {(one["page"], one["width"]): one["picture"] for one in seen}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_a_page_that_is_too_wide_or_cuts_a_text_is_found(tmp_path):
    cut = (
        '<div style="overflow:hidden;width:40px;white-space:nowrap">cut off here</div>'
    )
    label = '<svg width="50"><text x="45" y="20">a label</text></svg>'
    pages = {
        "wide": FRAMED.format('<div style="width:2000px">wide</div>'),
        "cut": FRAMED.format(cut),
        "label": FRAMED.format(label),
    }
    for one in look(pages, {}, tmp_path):
        assert len(one["faults"]) == 1, one["page"]
