"""Files beside prompts: what is taken, what is sent, what each row's error says."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pypdf
import pytest
from attached import data_url, mp3, pdf, wav
from hypothesis import given
from hypothesis import strategies as st

import pandas_llm
from pandas_llm import providers
from pandas_llm._inputs import attachments, contents
from pandas_llm.cache.fingerprint import Fingerprint
from pandas_llm.errors import ConfigurationError, LLMError
from pandas_llm.types import Endpoint, Request, Spec

pytestmark = pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
PLACES = {
    "openai": "/v1",
    "azure": "",
    "openai-responses": "/v1",
    "anthropic": "/v1",
    "google": "/v1beta",
    "bedrock": "",
}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
TEXT = "Minutes of the meeting: nobody came. Zürich ☂\n"


@pytest.fixture(params=PLACES)
def provider(request) -> str:
    return request.param


def at(server, provider="openai", **more) -> dict[str, Any]:
    place = {"base_url": f"{server.origin}{PLACES[provider]}", "api_key": "k"}
    return {"model": f"{provider}/sim", "progress": False, **place, **more}


def asked(frame, server, provider="openai", **more) -> pd.DataFrame:
    more = {"files": "report", "error_column": "why", **more}
    return frame.llm.complete("Sum up ${name}", **at(server, provider, **more))


def framed(*cells: Any) -> pd.DataFrame:
    names = [f"row {at}" for at in range(len(cells))]
    return pd.DataFrame({"name": names, "report": pd.Series(cells, dtype=object)})


def sent(server) -> list[str]:
    return [orjson.dumps(seen["body"]).decode() for seen in server.requests()]


# -- what is sent ------------------------------------------------------------------


def test_files_arrive_in_every_dialect(simulator, provider, tmp_path):
    server = simulator(api_key="k")
    path = tmp_path / "secret client.pdf"
    path.write_bytes(pdf(1))
    cells = {
        "text": str(path),
        "path": path,
        "bytes": pdf(2),
        "view": memoryview(pdf(2, "b")),
        "data": data_url(pdf(3), "application/octet-stream"),
        "several": [pdf(4), pdf(5)],
        "array": np.array([pdf(6), str(path)], dtype=object),
        "none": None,
        "nothing": [],
    }
    frame = pd.DataFrame({"name": list(cells), "report": pd.Series(cells.values())})
    out = asked(frame, server, provider)
    assert out["why"].isna().all()
    assert out["completion"].isna().tolist() == [False] * 7 + [True] * 2
    said = out["completion"].iloc[:7]
    assert said.str.contains(r"\[application/pdf, \d+ bytes, ", regex=True).all()
    assert server.stats()["by_status"] == {"200": 7}
    bodies = "".join(sent(server))
    for content, times in {pdf(1): 3, pdf(2): 1, pdf(3): 1, pdf(5): 1}.items():
        assert bodies.count(base64.b64encode(content).decode()) == times
    assert "secret" not in bodies  # what is not in the key of a reply is not sent


@pytest.mark.parametrize(
    "provider", ["openai-responses", "anthropic", "google", "bedrock"]
)
def test_text_arrives_where_it_is_taken(simulator, provider, tmp_path):
    server = simulator()
    (tmp_path / "notes.md").write_text("\ufeff" + TEXT, encoding="utf-8")
    out = asked(framed(tmp_path / "notes.md", TEXT.encode()), server, provider)
    assert out["why"].isna().all()
    if provider == "anthropic":  # as the text that it is, without its mark
        body = server.requests()[0]["body"]
        document, words = body["messages"][0]["content"]
        media = {"type": "text", "media_type": "text/plain", "data": TEXT}
        assert document == {"type": "document", "source": media}
        assert words == {"type": "text", "text": "Sum up row 0"}
    else:
        assert out["completion"].str.contains("[text/plain, ", regex=False).all()


@pytest.mark.parametrize("provider", ["openai", "google"])
def test_audio_arrives_where_it_is_taken(simulator, provider):
    server = simulator()
    out = asked(framed(wav(), mp3(), mp3(tagged=True)), server, provider)
    assert out["why"].isna().all()
    for kind, text in zip(("wav", "mp3", "mp3"), out["completion"], strict=True):
        assert f"[audio/{kind}, " in text


@pytest.mark.parametrize("provider", ["openai-responses", "anthropic", "google"])
def test_addresses_are_given_to_the_provider(simulator, provider):
    url = "https://example.org/reports/2024.pdf?page=2"
    out = asked(framed(url), server := simulator(), provider)
    assert f"[file at {url}]" in out.loc[0, "completion"]
    assert server.stats()["requests"] == 1


def test_images_and_files_go_together_before_the_text(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "scan": [PNG], "report": [[pdf(), mp3()]]})
    asked(frame.assign(more=[pdf(2)]), server, images="scan", files=["report", "more"])
    (seen,) = server.requests()
    parts = [part["type"] for part in seen["body"]["messages"][0]["content"]]
    assert parts == ["image_url", "file", "input_audio", "file", "text"]


def test_second_tries_have_the_files_too(simulator, provider):
    server = simulator(fault_plan={0: "bad_output"})
    out = framed(pdf(7)).llm.extract(
        "See ${name}", ["title"], files="report", **at(server, provider)
    )
    assert out["title"].notna().all()
    encoded = base64.b64encode(pdf(7)).decode()
    assert [body.count(encoded) for body in sent(server)] == [1, 1]


def test_records_of_files_are_put_together_or_kept_apart(simulator):
    server = simulator()
    frame = framed(pdf(), pdf(2))
    for unique in (True, False):
        out = frame.llm.generate(
            "Facts of ${name}", ["fact"], files="report", unique=unique, **at(server)
        )
        assert set(out["name"]) == {"row 0", "row 1"}
        assert out["fact"].notna().all()


# -- what it is, by its content ----------------------------------------------------

KINDS = {
    "pdf": (pdf(), "application/pdf", "a PDF"),
    "pdf after a mark": (b"\xef\xbb\xbf\r\n" + pdf(), "application/pdf", "a PDF"),
    "text": (TEXT.encode(), "text/plain", "a text"),
    "html": (b"<!doctype html><p>x", "text/plain", "a text"),
    "csv": (b"a,b\r\n1,2\r\n", "text/plain", "a text"),
    "text about PDF": (b"A file begins with %PDF-1.7", "text/plain", "a text"),
    "text about BMW": (b"BMW builds cars", "text/plain", "a text"),
    "text about ID3": (b"ID3 tags are old", "text/plain", "a text"),
    "svg": (b"<svg xmlns='x'/>", "text/plain", "an SVG"),
    "wav": (wav(), "audio/wav", "a WAV"),
    "mp3": (mp3(), "audio/mp3", "an MP3"),
    "mp3 with a tag": (mp3(tagged=True), "audio/mp3", "an MP3"),
    "png": (PNG, "image/png", "a PNG"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg", "a JPEG"),
    "gif": (b"GIF89a\x01\0\x01\0\0", "image/gif", "a GIF"),
    "webp": (b"RIFF\x1a\0\0\0WEBPVP8L", "image/webp", "a WebP"),
    "bmp": (b"BM\x46\0\0\0\0\0\0\0", "", "a BMP"),
    "tiff": (b"II*\0aaaa", "", "a TIFF"),
    "docx": (b"PK\3\4\x14\0\6\0", "", "a ZIP (as DOCX, XLSX and PPTX are)"),
    "doc": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "",
        "an OLE file (as DOC and XLS are)",
    ),
    "rtf": (b"{\\rtf1 Hello}", "", "an RTF"),
    "utf-16": (TEXT.encode("utf-16"), "", "a text in UTF-16"),
    "gzip": (b"\x1f\x8b\x08\0\0", "", "a gzip"),
    "ogg": (b"OggS\0\2", "", "an Ogg"),
    "flac": (b"fLaC\0\0\0\x22", "", "a FLAC"),
    "m4a": (b"\0\0\0\x20ftypM4A ", "", "an M4A"),
    "mp4": (b"\0\0\0\x20ftypisom", "", "an MP4"),
    "heic": (b"\0\0\0\x18ftypheic", "", "an HEIC"),
    "aac": (b"\xff\xf1\x50\x80\0\0", "", ""),
    "latin-1": ("Zürich".encode("latin-1"), "", ""),
    "zeros": (bytes(64), "", ""),
    "blanks": (b" \n\t", "", ""),
    "nothing": (b"", "", ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_told_by_the_content(name):
    content, media_type, word = KINDS[name]
    assert contents.recognised(content) == (media_type, word)


@given(st.binary(max_size=200) | st.sampled_from([c for c, *_ in KINDS.values()]))
def test_any_bytes_are_of_some_kind(content):
    media_type, _ = contents.recognised(content)
    assert media_type in {kind for _, kind, _ in KINDS.values()}
    assert (contents.extent(content, media_type) or 1) > 0


@pytest.mark.parametrize("name", ["report.png", "report.pdf", "report.mp3", "report"])
def test_the_name_of_a_file_is_not_believed(simulator, tmp_path, name):
    (tmp_path / name).write_bytes(pdf())
    out = asked(framed(tmp_path / name), simulator())
    assert "[application/pdf," in out.loc[0, "completion"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("pages", [1, 2, 40])
def test_pages_are_counted_as_a_reader_counts_them(pages, packed):
    content = pdf(pages, packed=packed)
    assert len(pypdf.PdfReader(io.BytesIO(content)).pages) == pages
    assert contents.extent(content, "application/pdf") == pages


@pytest.mark.parametrize("before", [b"From: a\xff\n\n", b"\x1b%-12345X@PJL\n", b"\x01"])
def test_a_pdf_may_begin_behind_other_bytes_as_readers_take_it(before):
    content = before + pdf(2) + b"\n%%EOF\n"
    assert len(pypdf.PdfReader(io.BytesIO(content)).pages) == 2
    assert contents.recognised(content) == ("application/pdf", "a PDF")
    assert contents.recognised(b"It begins with %PDF-1.7")[1] == "a text"
    assert contents.recognised(b"PK\3\4 %PDF-1.7")[0] == ""


def test_pages_of_a_large_file_are_counted_about_as_fast_as_it_is_hashed():
    content = b"%PDF-1.7 /Type /Page " + random.Random(1).randbytes(3_000_000)

    def seconds(work):
        begun = time.process_time()
        work()
        return time.process_time() - begun

    def count():
        contents.extent(content, "application/pdf")

    def digest():
        hashlib.blake2b(content).digest()

    assert any(seconds(count) < 3 * seconds(digest) for _ in range(5))


def test_pages_that_cannot_be_counted_are_not_guessed():
    content = pdf(packed=True)
    at_ = content.index(b"stream\n") + len(b"stream\n")
    broken = content[:at_] + b"\0\0\0" + content[at_ + 3 :]
    assert contents.extent(broken, "application/pdf") is None
    assert contents.extent(b"%PDF-1.7 /ObjStm stream\n", "application/pdf") is None


def test_a_stream_is_not_unpacked_without_end(monkeypatch):
    monkeypatch.setattr(contents, "_UNPACKED", 10_000)
    content = pdf(500, packed=True)
    assert 1 < contents.extent(content, "application/pdf") < 100


@pytest.mark.parametrize("seconds", [0.5, 3, 60])
def test_seconds_are_counted(seconds):
    assert contents.extent(wav(seconds), "audio/wav") == pytest.approx(seconds, 0.02)
    for tagged in (False, True):
        sound = mp3(seconds, tagged=tagged)
        assert contents.extent(sound, "audio/mp3") == pytest.approx(seconds, 0.1)


# -- what is not -------------------------------------------------------------------

REFUSED = [
    ("gone.pdf", "there is no file 'gone.pdf' (from "),
    ("", "is not a file"),
    (".", "is not a file"),
    ("a\0b", "cannot be read: embedded null"),
    (b"", "the cell is empty; PDF, text in UTF-8, WAV and MP3 can be sent"),
    (b"  \n", "the cell is empty;"),
    (PNG, "the cell is a PNG; PDF"),
    (KINDS["docx"][0], "the cell is a ZIP (as DOCX, XLSX and PPTX are); PDF"),
    (KINDS["utf-16"][0], "the cell is a text in UTF-16;"),
    (KINDS["latin-1"][0], "the cell is of no kind that is known;"),
    ("data:application/pdf,abc", "is not a data URL such as data:…;base64,…"),
    ("data:application/pdf;base64,@@", "holds no base64"),
    (data_url(PNG, "application/pdf"), "is a PNG;"),
    ("s3://bucket/report.pdf", "only http, https and data URLs are sent"),
    (7, "a file must be a path, bytes or a URL, not int (7)"),
    ([pdf(), None], "not NoneType"),
    ([pdf(), "gone.pdf"], "there is no file"),
    ("\ud800.pdf", "\\ud800.pdf cannot be read: 'utf-8' codec"),
]


@pytest.mark.parametrize(("cell", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_file_is_its_rows_error(simulator, cell, words):
    server = simulator()
    out = asked(framed(pdf(), cell, pdf(2)), server)
    assert out["why"].isna().tolist() == [True, False, True]
    assert out.loc[1, "why"].startswith("file: ")
    assert words in out.loc[1, "why"]
    assert len(out.loc[1, "why"]) < 250
    assert server.stats()["requests"] == 2


def test_an_empty_file_a_folder_and_a_pipe_are_refused(simulator, tmp_path):
    (tmp_path / "empty.pdf").touch()
    cells = [tmp_path / "empty.pdf", tmp_path]
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe.pdf")
        cells.append(tmp_path / "pipe.pdf")
    out = asked(framed(*cells), server := simulator())
    assert "empty.pdf is empty;" in out.loc[0, "why"]
    assert out["why"].iloc[1:].str.endswith("is not a file").all()
    assert server.stats()["requests"] == 0


UNFIT = [
    ("anthropic", wav(), "takes: convert it to pdf or text"),
    ("anthropic", mp3(), "the audio/mp3 is not a type that anthropic takes"),
    ("openai-responses", wav(), "audio/wav is not a type that openai-responses takes"),
    ("openai", TEXT.encode(), "or write its text into a column of the template"),
    ("openai", "https://example.org/a.pdf", "openai fetches no files"),
    ("azure", "https://example.org/a.pdf", "azure fetches no files"),
    ("bedrock", "https://example.org/a.pdf", "bedrock fetches no files"),
    ("bedrock", mp3(), "the audio/mp3 is not a type that bedrock takes"),
]


@pytest.mark.parametrize(("provider", "cell", "words"), UNFIT, ids=range(len(UNFIT)))
def test_what_a_provider_does_not_take_is_not_sent(simulator, provider, cell, words):
    server = simulator()
    out = asked(framed(pdf(), cell), server, provider)
    assert pd.isna(out.loc[0, "why"])
    assert out.loc[1, "why"].startswith("file: ")
    assert words in out.loc[1, "why"]
    assert server.stats()["requests"] == 1


@pytest.mark.parametrize("provider", ["ollama", "groq", "deepseek", "mistral", "xai"])
def test_a_provider_without_files_is_refused_before_anything_is_sent(
    simulator, provider
):
    server = simulator()
    place = {"model": f"{provider}/sim", "base_url": server.base_url, "api_key": "k"}
    with pytest.raises(ConfigurationError, match=f"files= is set.*'{provider}' takes"):
        framed(pdf()).llm.complete("Sum up ${name}", files="report", **place)
    assert server.stats()["requests"] == 0


def test_only_texts_are_embedded(simulator):
    with pytest.raises(LLMError, match="only texts are embedded"):
        framed(pdf()).llm.embed("name", files="report", model="sim")


def test_a_file_that_is_too_large_costs_nothing(simulator):
    server = simulator()
    most = providers.connect(Endpoint("anthropic", server.origin, "m", "k")).files
    assert most is not None
    large = b"%PDF-1.7 " + bytes(most.each)
    half = b"%PDF-1.7 " + bytes(most.each * 2 // 3)
    out = asked(framed(pdf(), large, [half, half]), server, "anthropic")
    size = f"{most.each / 1e6:.2f} MB"
    assert pd.isna(out.loc[0, "why"])
    assert out.loc[1, "why"].endswith(
        f"anthropic takes files of up to {size}: shrink it"
    )
    assert out.loc[2, "why"].startswith("file: the row's 2 files have ")
    both = framed(half + half[: most.each // 4]).assign(scan=[PNG + bytes(3_000_000)])
    out = asked(both, server, "anthropic", images="scan")
    assert out.loc[0, "why"].startswith("image: the row's 2 images and files have ")
    assert server.stats()["requests"] == 1


def test_another_provider_may_take_what_one_does_not(simulator, monkeypatch):
    server = simulator()
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    out = asked(framed(pdf(), wav()), server, "anthropic", fallback=["openai/sim"])
    assert out["completion"].notna().all()
    assert out.loc[1, "why"].startswith("fallback: answered by sim, because: ")
    paths = [seen["path"] for seen in server.requests()]
    assert paths == ["/v1/messages", "/v1/chat/completions"]


# -- keys --------------------------------------------------------------------------


def test_equal_files_share_a_call_wherever_they_lie(simulator, tmp_path):
    server = simulator()
    for name in "ab":
        (tmp_path / name).write_bytes(pdf(9))
    url = data_url(pdf(9), "application/pdf")
    cells = [tmp_path / "a", str(tmp_path / "b"), pdf(9), url, pdf(8)]
    assert asked(framed(*cells).assign(name="x"), server)["completion"].notna().all()
    assert server.stats()["requests"] == 2


def test_another_file_under_the_same_path_is_asked_for_again(simulator, tmp_path):
    server, path = simulator(), tmp_path / "report.pdf"
    kept = tmp_path / "replies.sqlite"
    path.write_bytes(pdf(1))
    first = asked(framed(path), server, cache=kept)
    assert asked(framed(path), server, cache=kept).equals(first)
    assert server.stats()["requests"] == 1
    path.write_bytes(pdf(2))
    assert not asked(framed(path), server, cache=kept).equals(first)
    assert server.stats()["requests"] == 2


def test_the_keys_of_requests_with_files_stay():
    keys = Fingerprint(Endpoint("openai", "https://api.openai.com/v1", "m", None))
    url = "https://example.org/cat.png"
    found = attachments.look_at([b"%PDF-1.7 x", url], option="files")
    request = Request(Spec("m"), "Hello", attachments=found)
    assert keys.of(request).hex() == GOLDEN
    without = request._replace(attachments=())
    assert keys.of(without) == keys.of(Request(Spec("m"), "Hello"))
    as_image = request._replace(attachments=attachments.look_at(url))
    as_file = request._replace(attachments=found[1:])
    assert keys.of(as_image) != keys.of(as_file)


GOLDEN = "6832c5b60859ab65470b21afea6d918d"


# -- before the run ----------------------------------------------------------------


def test_a_name_that_is_no_column_is_told_before_anything_is_sent(simulator):
    server = simulator()
    with pytest.raises(pandas_llm.TemplateError, match=r"files names 'raport': not a"):
        asked(framed(pdf()), server, files="raport")
    with pytest.raises(ValueError, match="files must be a str, a list of str or None"):
        asked(framed(pdf()), server, files=7)
    with pytest.raises(TypeError, match="files"):
        asked(framed(pdf()), server, documents="report")
    assert server.stats()["requests"] == 0


def test_a_preview_shows_name_kind_size_and_pages(tmp_path):
    (tmp_path / "report.pdf").write_bytes(pdf(3))
    cells = [tmp_path / "report.pdf", [wav(7), "https://example.org/a.pdf"], "gone.pdf"]
    frame = framed(*cells, TEXT.encode()).assign(scan=[PNG] * 4)
    shown = frame.llm.preview("Look", files="report", rows=4)
    size = len(pdf(3))
    assert shown.columns.tolist() == ["files", "prompt"]
    assert shown["files"].tolist()[:2] == [
        f"<report.pdf application/pdf {size} bytes, 3 pages>",
        "<audio/wav 112 kB, 7 seconds> <file https://example.org/a.pdf>",
    ]
    assert shown.loc[2, "files"].startswith("<there is no file 'gone.pdf'")
    assert shown.loc[3, "files"] == f"<text/plain {len(TEXT.encode())} bytes>"
    both = frame.llm.preview("Look", files="report", images="scan", rows=4)
    assert both.columns.tolist() == ["images", "files", "prompt"]
    page = both._repr_html_()
    assert "3 pages" in page
    assert base64.b64encode(pdf(3)).decode()[:40] not in page


def test_a_preview_of_requests_leaves_the_content_out(provider):
    text = provider in ("anthropic", "openai-responses")
    long = TEXT.encode() * 300
    frame = framed([pdf(40), long] if text else pdf(40), "gone.pdf")
    place = {"base_url": "http://127.0.0.1:9/v1", "model": f"{provider}/m"}
    shown = frame.llm.preview(
        "See ${name}", files="report", as_requests=True, api_key="k", **place
    )
    body = shown.loc[0, "body"]
    assert "<4 kB>" in body
    assert ("<15 kB>" in body) == text
    assert len(body) < 1000
    assert shown.loc[1, "body"].startswith("<there is no file")


def test_a_view_names_the_files(simulator, tmp_path):
    (tmp_path / "report.pdf").write_bytes(pdf(3))
    frame = framed(tmp_path / "report.pdf")
    out = frame.llm.extract("See ${name}", ["title"], files="report", **at(simulator()))
    page = out.llm.view()._repr_html_()
    assert f"report.pdf application/pdf {len(pdf(3))} bytes, 3 pages" in page


PER_PAGE = {"openai": 1500, "openai-responses": 1500, "anthropic": 3500, "google": 560}
PER_SECOND = {"openai": 10, "google": 32}


@pytest.mark.parametrize("provider", PER_PAGE)
def test_an_estimate_counts_pages_seconds_and_letters(simulator, provider):
    server = simulator()

    def told(*cells: Any) -> int:
        options = at(server, provider, prices={"sim": (1.0, 1.0)}, files="report")
        return framed(*cells).llm.estimate("${name}", **options).input_tokens

    page = PER_PAGE[provider]
    assert told(pdf(3)) == pytest.approx(3 * page, abs=20)
    assert told(pdf(30, packed=True)) == pytest.approx(30 * page, abs=20)
    by_size = b"%PDF-1.7 " + bytes(200_000)  # pages that nobody finds
    assert told(by_size) == pytest.approx(4 * page, abs=20)
    assert told("https://example.org/a.pdf") == pytest.approx(10 * page, abs=20)
    assert told(b"four " * 4000) == pytest.approx(5000, abs=20)
    if second := PER_SECOND.get(provider):
        assert told(wav(60)) == pytest.approx(60 * second, abs=20)
        assert told(mp3(60)) == pytest.approx(60 * second, rel=0.02, abs=20)
    assert server.stats()["requests"] == 0


def test_money_is_set_aside_by_pages_and_not_by_bytes(simulator):
    server = simulator()
    frame = framed(pdf(2) + b"%" + b"x" * 3_000_000)
    money = {"prices": {"sim": (1.0, 1.0)}, "max_tokens": 100}
    out = asked(frame, server, max_cost=0.02, **money)
    assert out["completion"].notna().all()
    with pytest.raises(LLMError, match="the next row may cost"):
        asked(frame, server, max_cost=0.012, **money)
    for begins in (b"%PDF-1.7 ", b"RIFF\0\0\0\0WAVE"):  # of unknown length
        uncounted = framed(begins + bytes(3_000_000))
        with pytest.raises(LLMError, match="the next row may cost"):
            asked(uncounted, server, max_cost=0.02, **money)
    assert server.stats()["requests"] == 1


def test_audio_has_a_price_of_its_own():
    pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    options = {"model": "openai/gpt-audio", "api_key": "k"}
    heard = framed(wav(600)).llm.estimate("${name}", files="report", **options)
    read = framed("x " * 6000).llm.estimate("${report}", **options)
    assert heard.input_tokens == pytest.approx(6000, abs=30)
    assert heard.cost / heard.input_tokens > 6 * read.cost / read.input_tokens


# -- other ways in -----------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_batches_take_files_too(simulator, tmp_path, provider):
    server = simulator()
    cells = [pdf(1), [pdf(2), pdf(3)], "gone.pdf", None, KINDS["docx"][0]]
    options = {"batch": True, "cache": tmp_path / "kept"}
    if provider == "anthropic":
        options["base_url"] = server.base_url
    out = asked(framed(*cells), server, provider, **options)
    assert out["completion"].notna().tolist() == [True, True, False, False, False]
    assert "there is no file" in out.loc[2, "why"]
    assert pd.isna(out.loc[3, "why"])
    assert "ZIP" in out.loc[4, "why"]
    again = asked(framed(*cells), server, provider, **options)
    assert again["completion"].equals(out["completion"])


def test_a_plan_with_files_can_be_pickled(simulator):
    options = {"files": ["report"], "base_url": simulator().base_url}
    plan = pandas_llm.Plan("See ${name}", verb="complete", model="sim", **options)
    there = pickle.loads(pickle.dumps(plan))
    assert "[application/pdf," in there(framed(pdf()))[0]


def test_a_series_and_lists_of_dicts_hold_files_too(simulator):
    server = simulator()
    reports = pd.Series([pdf(), pdf(2)], name="report")
    out = reports.llm.complete("Sum up.", files="report", **at(server))
    assert out.str.contains("application/pdf").all()
    rows = [{"name": "x", "report": pdf()}, {"name": "y", "report": [pdf(), mp3()]}]
    out = pandas_llm.complete(rows, "See ${name}", files="report", **at(server))
    assert "[application/pdf," in out[0]
    assert sorted(b.count("input_audio") for b in sent(server)) == [0] * 3 + [2]


def test_partitions_of_dask_read_the_files_they_name(simulator, tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    import pandas_llm.dask  # noqa: F401 - registers the accessor

    server = simulator()
    for number in range(4):
        (tmp_path / f"{number}.pdf").write_bytes(pdf(number + 1))
    (tmp_path.parent / "beyond.pdf").write_bytes(pdf(9))
    paths = [str(tmp_path / f"{number}.pdf") for number in range(4)]
    frame = pd.DataFrame({"report": [*paths, str(tmp_path.parent / "beyond.pdf")]})
    lazy = dd.from_pandas(frame, npartitions=2).llm.complete(
        "Sum up.",
        files="report",
        files_root=tmp_path,
        error_column="why",
        model="sim",
        base_url=server.base_url,
    )
    out = lazy.compute(scheduler="synchronous")
    assert out["completion"].str.contains("application/pdf").sum() == 4
    assert "does not lie below files_root" in out["why"].iloc[-1]


def test_the_command_line_takes_columns_of_paths(simulator, tmp_path):
    server = simulator()
    (tmp_path / "a.pdf").write_bytes(pdf(2))
    (tmp_path / "rows.csv").write_text("name,report\nx,a.pdf\ny,b.pdf\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pandas_llm", "complete", "rows.csv"),
            *("--template", "See ${name}", "--files", "report", "--name", "said"),
            *("-o", "out.csv", "--model", "sim", "--base-url", server.base_url),
            *("--no-cache", "--no-progress"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "there is no file 'b.pdf'" in done.stderr
    out = pd.read_csv(tmp_path / "out.csv")
    assert "[application/pdf," in out.loc[0, "said"]
    assert pd.isna(out.loc[1, "said"])


# -- files_root --------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make a folder of files, and one beside it with what is nobody's business."""
    (tmp_path / "reports" / "more").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "private"))
    (tmp_path / "private" / "secret.pdf").write_bytes(pdf(1, "secret"))
    (tmp_path / "private" / "keys.env").write_text("KEY=sk-1")
    inside = tmp_path / "reports"
    (inside / "a.pdf").write_bytes(pdf(2))
    (inside / "more" / "b.txt").write_text(TEXT)
    (inside / "link.pdf").symlink_to(tmp_path / "private" / "secret.pdf")
    (inside / "folder").symlink_to(tmp_path / "private")
    (inside / "good.pdf").symlink_to(inside / "a.pdf")
    return tmp_path


WITHIN = ["reports/a.pdf", "reports/more/../a.pdf", "reports/more/b.txt"]
WITHIN += ["reports/good.pdf"]
BEYOND = [
    "private/secret.pdf",
    "private/keys.env",
    "reports/../private/secret.pdf",
    "reports/link.pdf",
    "reports/folder/secret.pdf",
    "~/secret.pdf",
    "/etc/passwd",
    "/proc/self/environ",
    "private/none.pdf",
    "file:///etc/passwd",
]


def test_with_files_root_cells_name_files_below_it_alone(simulator, tree):
    server = simulator()
    cells = [*WITHIN, tree / "reports" / "a.pdf", pdf(4), *BEYOND]
    cells += [Path(cell) for cell in BEYOND[:7]]
    out = asked(framed(*cells), server, "anthropic", files_root="reports")
    assert out["why"].isna().tolist() == [True] * 6 + [False] * 17
    inside = out["why"].iloc[6:15]
    assert inside.str.contains("does not lie below files_root").all()
    bodies = "".join(sent(server))
    assert base64.b64encode(pdf(1, "secret")).decode() not in bodies
    assert "sk-1" not in bodies


def test_without_files_root_cells_name_any_file(simulator, tree):
    out = asked(framed(*WITHIN, *BEYOND[:7]), simulator(), "anthropic")
    assert out["why"].isna().all()


def test_files_root_holds_images_and_files_of_one_row(simulator, tree):
    (tree / "private" / "scan.png").write_bytes(PNG)
    frame = framed("reports/a.pdf").assign(scan="private/scan.png")
    out = asked(frame, simulator(), images="scan", files_root="reports")
    assert out.loc[0, "why"].startswith("image: private/scan.png (from ")
    assert "does not lie below files_root=" in out.loc[0, "why"]
