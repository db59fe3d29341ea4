"""Images beside prompts: what is taken, what is sent, what each row's error says."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pandas_llm
from pandas_llm import ConfigurationError, providers
from pandas_llm._client import attached
from pandas_llm._inputs import attachments
from pandas_llm.cache.fingerprint import Fingerprint
from pandas_llm.errors import ImageError
from pandas_llm.types import Endpoint, ImageLimits, Request, Spec

pytestmark = pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
PROVIDERS = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "azure": "",
    "anthropic": "/v1",
    "google": "/v1beta",
    "bedrock": "",
    "ollama": "/v1",
}


def png(gray: int = 0, more: int = 0) -> bytes:
    """Return an image of one pixel, and as many bytes more."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    head = (1).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes([0, gray])))
        + chunk(b"tEXt", b"x\0" + b"a" * more)
        + chunk(b"IEND", b"")
    )


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)
GIF = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\0;"
WEBP = b"RIFF\x1a\0\0\0WEBPVP8L" + bytes(14)
KINDS = {"png": png(), "jpeg": JPEG, "gif": GIF, "webp": WEBP}


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def at(server, provider="openai", **more) -> dict[str, Any]:
    base_url = f"{server.origin}{PROVIDERS[provider]}"
    model, key = f"{provider}/sim", "k"
    return {
        "model": model,
        "base_url": base_url,
        "api_key": key,
        "progress": False,
        **more,
    }


def asked(frame, server, provider="openai", **more) -> pd.DataFrame:
    more = {"images": "photo", "error_column": "why", **more}
    return frame.llm.complete("See ${name}", **at(server, provider, **more))


# -- what is sent ------------------------------------------------------------------


def test_images_arrive_in_every_dialect(simulator, provider, tmp_path):
    server = simulator(api_key="k")
    (tmp_path / "a.png").write_bytes(png(1))
    cells = {
        "text": str(tmp_path / "a.png"),
        "path": tmp_path / "a.png",
        "bytes": png(2),
        "view": memoryview(png(2)),
        "data": data_url(png(3)),
        "several": [png(4), JPEG],
        "array": np.array([png(5), data_url(JPEG, "jpeg")], dtype=object),
        "none": None,
        "webp": WEBP,
    }
    frame = pd.DataFrame({"name": list(cells), "photo": pd.Series(cells.values())})
    out = asked(frame, server, provider)
    assert out["why"].isna().all()
    said = dict(zip(cells, out["completion"], strict=True))
    assert pd.isna(said.pop("none"))
    assert all(text.startswith("[simulated] ") for text in said.values())
    sent = "".join(orjson.dumps(seen["body"]).decode() for seen in server.requests())
    assert all(sent.count(f'"See {name}"') == 1 for name in said)
    seen = "[image/png, 81 bytes, "
    assert len(png(2)) == 81
    assert all(seen in said[name] for name in ("text", "path", "bytes", "data"))
    for content, times in {png(1): 2, png(4): 1, png(5): 1, JPEG: 2}.items():
        assert sent.count(base64.b64encode(content).decode()) == times
    assert "[image/webp, 30 bytes, " in said["webp"]
    assert server.stats()["by_status"] == {"200": 8}


def test_addresses_are_given_to_the_provider(simulator, provider):
    server = simulator()
    url = "https://example.org/pictures/cat.png?size=2"
    frame = pd.DataFrame({"name": ["x"], "photo": [url]})
    out = asked(frame, server, provider)
    if provider == "bedrock":
        assert "bedrock fetches no images: download https://exa" in out.loc[0, "why"]
        assert server.stats()["requests"] == 0
    else:
        assert f"[image at {url}]" in out.loc[0, "completion"]


def test_records_and_second_tries_have_the_images_too(simulator, provider):
    server = simulator(fault_plan={0: "bad_output"})
    frame = pd.DataFrame({"name": ["x"], "photo": [png(7)]})
    out = frame.llm.extract(
        "See ${name}", ["title"], images="photo", **at(server, provider)
    )
    assert out["title"].notna().all()
    assert server.stats()["requests"] == 2
    encoded = base64.b64encode(png(7)).decode()
    assert all(orjson.dumps(r).decode().count(encoded) == 1 for r in server.requests())


def test_several_columns_come_in_the_order_named(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "one": [GIF], "two": [[png(), JPEG]]})
    asked(frame, server, images=["two", "one"])
    (sent,) = server.requests()
    *pictures, text = sent["body"]["messages"][0]["content"]
    assert text == {"type": "text", "text": "See x"}
    kinds = [one["image_url"]["url"].partition(";")[0] for one in pictures]
    assert kinds == ["data:image/png", "data:image/jpeg", "data:image/gif"]


def body_of(provider: str, cell: Any, prompt: str = "Look.") -> Any:
    base_url = providers.presets()[provider].base_url or "https://r.openai.azure.com"
    dialect = providers.connect(Endpoint(provider, base_url, "m", "k"))
    found = tuple(
        image._replace(data=base64.b64encode(image.source).decode())
        if image.media_type
        else image
        for image in attachments.look_at(cell)
    )
    request = Request(Spec("m"), prompt, attachments=found)
    return orjson.loads(dialect.build(request, dialect.capabilities, 1).body)


def test_the_images_stand_before_the_text():
    encoded = base64.b64encode(GIF).decode()
    url = "https://example.org/cat.webp"
    assert body_of("openai", [GIF, url])["messages"][-1]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{encoded}"}},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Look."},
    ]
    assert body_of("anthropic", [GIF, url])["messages"][-1]["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/gif", "data": encoded},
        },
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "text", "text": "Look."},
    ]
    assert body_of("google", [GIF, url])["contents"][-1]["parts"] == [
        {"inlineData": {"mimeType": "image/gif", "data": encoded}},
        {"fileData": {"fileUri": url, "mimeType": "image/webp"}},
        {"text": "Look."},
    ]
    kinds = [
        p["type"] for p in body_of("openai-responses", [GIF])["input"][0]["content"]
    ]
    assert kinds == ["input_image", "input_text"]


def test_no_empty_text_is_sent_beside_an_image():
    (only,) = body_of("anthropic", GIF, "")["messages"][-1]["content"]
    assert only["type"] == "image"  # Anthropic refuses empty texts


# -- what is not -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("gone.png", "there is no file 'gone.png' (from "),
        ("", "is not a file"),
        (".", "is not a file"),
        ("a\0b", "cannot be read: embedded null"),
        (b"", "the cell is empty; PNG, JPEG, GIF and WebP can be sent"),
        (b"hello", "the cell is no image;"),
        (b"%PDF-1.7", "the cell is a PDF;"),
        (b"II*\0aaaa", "the cell is a TIFF;"),
        (b"\0\0\0\x18ftypheic", "the cell is an HEIC;"),
        ("data:image/png,abc", "is not a data URL such as"),
        ("data:image/png;base64,@@", "holds no base64"),
        (data_url(b"text"), "is no image;"),
        ("s3://bucket/cat.png", "only http, https and data URLs are sent"),
        (7, "an image must be a path, bytes or a URL, not int (7)"),
        ([png(), None], "not NoneType"),
        ([png(), "gone.png"], "there is no file"),
        ("iVBORw0KGgo" * 100, "File name too long"),
        ("\ud800.png", "\\ud800.png cannot be read: 'utf-8' codec"),
    ],
    ids=range(18),
)
def test_what_is_no_image_is_its_rows_error(simulator, cell, words):
    server = simulator()
    frame = pd.DataFrame({"name": list("abc"), "photo": [png(), cell, JPEG]})
    out = asked(frame, server)
    assert out["why"].isna().tolist() == [True, False, True]
    assert out.loc[1, "why"].startswith("image: ")
    assert words in out.loc[1, "why"]
    assert len(out.loc[1, "why"]) < 250
    assert server.stats()["requests"] == 2


@pytest.mark.skipif(os.name == "nt", reason="there are no FIFOs there")
def test_a_pipe_is_not_waited_for(simulator, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    frame = pd.DataFrame({"name": ["x"], "photo": [tmp_path / "pipe.png"]})
    assert "is not a file" in asked(frame, simulator()).loc[0, "why"]


def test_the_name_of_a_file_is_not_believed(simulator, tmp_path):
    (tmp_path / "cat.png").write_bytes(JPEG)
    frame = pd.DataFrame({"name": ["x"], "photo": [tmp_path / "cat.png"]})
    assert "[image/jpeg," in asked(frame, simulator()).loc[0, "completion"]


@pytest.mark.parametrize("n", [1, 3])
def test_errors_raise_when_asked_to_and_name_the_row(simulator, n):
    server = simulator()
    frame = pd.DataFrame(
        {"name": list("abc"), "photo": [png(), "gone.png", JPEG]}, index=list("xyz")
    )
    with pytest.raises(pandas_llm.GenerationError) as caught:
        asked(frame, server, errors="raise", error_column=None, n=n)
    (failure,) = caught.value.failures.to_dict("records")
    assert failure["position"] == 1
    assert (failure["label"], failure["kind"]) == ("y", "image")
    assert failure["attempts"] == 0
    assert "row 1 (label 'y')" in str(caught.value)


# -- limits ------------------------------------------------------------------------


def test_an_image_that_is_too_large_costs_nothing(simulator):
    server = simulator()
    most = providers.connect(Endpoint("anthropic", server.origin, "m", "k")).images
    assert most is not None
    fits, large = png(more=most.each - len(png())), png(more=most.each)
    assert len(fits) == most.each
    frame = pd.DataFrame({"name": list("ab"), "photo": [fits, large]})
    out = asked(frame, server, "anthropic")
    assert pd.isna(out.loc[0, "why"])
    assert out.loc[1, "why"] == (
        "image: the image/png has 3.93 MB, and anthropic takes images of up to "
        "3.93 MB: shrink it"
    )
    assert server.stats()["requests"] == 1


def loaded(image):
    request = Request(Spec("m"), "x", attachments=(image,))
    acme = SimpleNamespace(images=ImageLimits(each=1_000_000, together=1_000_000))
    (read,) = asyncio.run(attached.Attached(acme, "acme").load(request)).images
    return read


def test_all_images_of_a_request_count_together():
    acme = SimpleNamespace(images=ImageLimits(each=100, together=200))
    request = Request(Spec("m"), "x", attachments=attachments.look_at([png()] * 3))
    with pytest.raises(ImageError, match=r"the row's 3 images have .* and acme takes"):
        asyncio.run(attached.Attached(acme, "acme").load(request))
    fewer = request._replace(attachments=request.images[:2])
    assert len(asyncio.run(attached.Attached(acme, "acme").load(fewer)).images) == 2


def test_a_type_that_the_provider_refuses_is_not_sent(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": list("ab"), "photo": [png(), GIF]})
    out = asked(frame, server, "google")
    assert out.loc[1, "why"] == (
        "image: the image/gif is not a type that google takes: convert it to png or "
        "jpeg or webp"
    )
    assert server.stats()["requests"] == 1


def test_a_provider_without_images_is_refused_before_anything_is_sent(
    simulator, monkeypatch
):
    from pandas_llm.providers.vendors import openai

    monkeypatch.setattr(openai.OpenAI, "images", None)
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "photo": [png()]})
    with pytest.raises(pandas_llm.ConfigurationError, match="'openai' takes none"):
        asked(frame, server)
    assert server.stats()["requests"] == 0


def test_a_server_that_refuses_images_is_quoted(simulator):
    server = simulator(faults={"400": 1})
    frame = pd.DataFrame({"name": ["x"], "photo": [png()]})
    out = asked(frame, server)
    assert out.loc[0, "why"].startswith("bad_request: HTTP 400")


def test_large_images_are_sent_in_pieces_and_whole(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "photo": [png(more=3_000_000)]})
    said = asked(frame, server).loc[0, "completion"]
    assert f"[image/png, {len(png(more=3_000_000))} bytes, " in said


def test_another_provider_may_take_what_is_too_large(simulator, monkeypatch):
    server = simulator()
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    frame = pd.DataFrame({"name": list("ab"), "photo": [png(), png(more=4_000_000)]})
    out = asked(frame, server, "anthropic", fallback=["openai/sim"])
    assert out["completion"].notna().all()
    assert out.loc[1, "why"].startswith("fallback: answered by sim, because: ")
    assert [seen["path"] for seen in server.requests()] == [
        "/v1/messages",
        "/v1/chat/completions",
    ]


# -- rows --------------------------------------------------------------------------


def test_rows_without_an_image_follow_na_action(simulator):
    frame = pd.DataFrame({"name": list("abc"), "photo": [png(), None, []]})
    server = simulator()
    out = asked(frame, server)
    assert out["completion"].isna().tolist() == [False, True, True]
    assert out["why"].isna().all()
    assert server.stats()["requests"] == 1
    out = asked(frame, server, na_action=None)
    assert out["completion"].str.contains("image/").tolist() == [True, False, False]
    assert out["completion"].notna().all()


def test_equal_images_share_a_call_wherever_they_lie(simulator, tmp_path):
    server = simulator()
    for name in "ab":
        (tmp_path / name).write_bytes(png(9))
    cells = [tmp_path / "a", str(tmp_path / "b"), png(9), data_url(png(9)), png(8)]
    frame = pd.DataFrame({"name": ["x"] * 5, "photo": cells})
    assert asked(frame, server)["completion"].notna().all()
    assert server.stats()["requests"] == 2


def test_another_image_under_the_same_path_is_asked_for_again(simulator, tmp_path):
    server, path = simulator(), tmp_path / "cat.png"
    frame = pd.DataFrame({"name": ["x"], "photo": [path]})
    kept = tmp_path / "replies.sqlite"
    path.write_bytes(png(1))
    first = asked(frame, server, cache=kept)
    assert asked(frame, server, cache=kept).equals(first)
    assert server.stats()["requests"] == 1
    path.write_bytes(png(2))
    assert not asked(frame, server, cache=kept).equals(first)
    assert server.stats()["requests"] == 2


def test_a_file_that_changes_during_the_run_is_not_answered_for(simulator, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(png(1))
    (image,) = attachments.look_at(path)
    path.write_bytes(png(2))
    with pytest.raises(ImageError, match="has changed since the run began"):
        loaded(image)
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read any more"):
        loaded(image)


def test_a_file_of_many_rows_is_read_once(simulator, tmp_path, monkeypatch):
    path, read = tmp_path / "cat.png", []
    path.write_bytes(png())
    looked, content = attachments._known, attachments._content
    monkeypatch.setattr(
        attachments, "_known", lambda *some: read.append("look") or looked(*some)
    )
    monkeypatch.setattr(
        attachments, "_content", lambda *some: read.append("send") or content(*some)
    )
    frame = pd.DataFrame({"name": [*"abcdefgh"], "photo": [path] * 8})
    server = simulator()
    out = asked(frame, server, concurrency=1)
    assert out["why"].isna().all()
    assert server.stats()["requests"] == 8
    assert read == ["look", "send"]


def test_a_file_that_was_written_since_is_looked_at_again(tmp_path):
    path, seen = tmp_path / "cat.png", {}
    digests = []
    for second, gray in enumerate((1, 1, 2)):
        path.write_bytes(png(gray))
        os.utime(path, (second, second))
        for _ in range(2):
            (image,) = attachments.look_at(path, seen=seen)
            digests.append(image.digest)
    assert len(seen) == 3
    assert [digests.index(one) for one in digests] == [0, 0, 0, 0, 4, 4]


def test_what_was_read_last_is_kept_within_a_bound(monkeypatch):
    monkeypatch.setattr(attached, "RECENT", 2 * len(base64.b64encode(png())))
    recent = attached.Recent()
    images = attachments.look_at([png(gray) for gray in range(4)])
    for image in (*images, images[0]):
        data = recent.load(image).data
        assert base64.b64decode(data) == image.source
        assert sum(map(len, recent._read.values())) <= attached.RECENT
    assert recent.load(images[0]).data is data
    (url,) = attachments.look_at("https://example.org/cat.png")
    assert recent.load(url) == url
    assert len(recent._read) == 2


def test_only_so_many_bytes_are_on_their_way(monkeypatch):
    """A large one goes alone, in its turn, and what fails makes room again."""
    monkeypatch.setattr(attached, "AT_ONCE", 2000)
    acme = SimpleNamespace(images=ImageLimits(each=5000, together=5000))
    images = attachments.look_at([png(more=more) for more in (600, 600, 600, 3000)])
    sizes = [*images, images[0]]

    async def run() -> tuple[list[int], list[int]]:
        client = attached.Attached(acme, "acme")
        under_way: list[int] = []
        most, order = [], []

        async def one(at_: int) -> None:
            request = Request(Spec("m"), "x", attachments=(sizes[at_],))
            try:
                async with client.held(request) as whole:
                    assert whole.attachments[0].data
                    order.append(at_)
                    under_way.append(at_)
                    most.append(sum(sizes[i].size for i in under_way))
                    await asyncio.sleep(0)
                    under_way.remove(at_)
                    raise ImageError("x")
            except ImageError:
                pass

        await asyncio.wait_for(asyncio.gather(*map(one, range(len(sizes)))), 10)
        return most, order

    most, order = asyncio.run(run())
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order[3:] == [3, 4]
    assert all(size <= 2000 for size in most if size != images[3].size)


def test_files_are_looked_at_as_the_run_goes_and_not_by_the_loop(simulator, tmp_path):
    """A run over many files reads a few ahead of what is sent."""
    rows, ahead = 200, []
    server = simulator(latency=0.01)

    class Counted(type(Path())):
        def stat(self, **more):
            looked.append(threading.current_thread())
            return super().stat(**more)

        def open(self, *words, **more):
            ahead.append(len(looked) - server.stats()["requests"])
            return super().open(*words, **more)

        def expanduser(self):
            return self

    looked: list[Any] = []
    original, attachments.Path = attachments.Path, Counted
    try:
        for at_ in range(rows):
            (tmp_path / str(at_)).write_bytes(png(more=at_))
        names = [str(i) for i in range(rows)]
        photos = [str(tmp_path / name) for name in names]
        frame = pd.DataFrame({"name": names, "photo": photos})
        out = asked(frame, server, concurrency=4)
    finally:
        attachments.Path = original
    assert out["why"].isna().all()
    assert len(looked) == rows
    assert max(ahead) <= 50
    assert threading.main_thread() not in looked


@given(st.lists(st.integers(0, 255), max_size=4), st.text(max_size=5))
def test_the_key_of_a_request_tells_its_images_apart(grays, text):
    keys = Fingerprint(Endpoint("openai", "https://h/v1", "m", None))

    def key(given: list[int], prompt: str = text) -> bytes:
        found = attachments.look_at([png(gray) for gray in given])
        return keys.of(Request(Spec("m"), prompt, attachments=found))

    assert key(grays) == key(list(grays))
    assert key([*grays, 0]) != key(grays)
    assert key(grays, text + "!") != key(grays)
    if grays != grays[::-1]:
        assert key(grays[::-1]) != key(grays)


def test_the_keys_of_requests_with_images_stay():
    keys = Fingerprint(Endpoint("openai", "https://api.openai.com/v1", "m", None))
    found = attachments.look_at([GIF, "https://example.org/cat.png"])
    request = Request(Spec("m"), "Hello", attachments=found)
    assert keys.of(request).hex() == GOLDEN
    assert keys.of(request._replace(attachments=())) == keys.of(
        Request(Spec("m"), "Hello")
    )


GOLDEN = "26f485a8e40286a6369a524e9a42696a"


# -- before the run ----------------------------------------------------------------


def test_a_name_that_is_no_column_is_told_before_anything_is_sent(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "photo": [png()]})
    with pytest.raises(pandas_llm.TemplateError, match=r"'foto': not a column .*photo"):
        asked(frame, server, images="foto")
    frame.columns = ["name", "name"]
    with pytest.raises(pandas_llm.TemplateError, match="2 columns have that name"):
        frame.llm.preview("Look", images="name")
    with pytest.raises(
        ValueError, match="images must be a str, a list of str or None, not 7"
    ):
        asked(frame, server, images=7)
    assert server.stats()["requests"] == 0


def test_a_preview_shows_images_in_a_word():
    photos = [png(), [GIF, "https://example.org/a.png"], "gone.png", png(more=12_345)]
    frame = pd.DataFrame({"name": list("abcd"), "photo": photos})
    shown = frame.llm.preview("See ${name}", images="photo", rows=4)
    assert shown.columns.tolist() == ["images", "prompt"]
    assert shown["images"].tolist()[:2] == [
        f"<image/png {len(png())} bytes>",
        f"<image/gif {len(GIF)} bytes> <image https://example.org/a.png>",
    ]
    assert shown.loc[2, "images"].startswith("<there is no file 'gone.png'")
    assert shown.loc[3, "images"] == "<image/png 12 kB>"
    assert shown["prompt"].isna().tolist() == [False, False, True, False]


def test_a_preview_of_requests_leaves_the_content_out():
    frame = pd.DataFrame({"name": list("ab"), "photo": [png(more=9_000), "gone.png"]})
    shown = frame.llm.preview(
        "See ${name}",
        images="photo",
        as_requests=True,
        model="anthropic/m",
        api_key="k",
    )
    (block, _) = orjson.loads(shown.loc[0, "body"])["messages"][0]["content"]
    assert block["source"]["data"] == "<9 kB>"
    assert shown.loc[1, "body"].startswith("<there is no file")


def test_an_estimate_counts_images_roughly(simulator, on):
    server = simulator()
    frame = pd.DataFrame({"name": list("ab"), "photo": [[png(), GIF], png()]})
    price = {"sim": (1.0, 1.0)}
    told = frame.llm.estimate("See ${name}", images="photo", **on(server, prices=price))
    assert 3000 < told.input_tokens < 3020
    assert server.stats()["requests"] == 0


def test_money_is_set_aside_for_images_as_images(simulator):
    """Not for their bytes as if these were text: 3 MB would be 3 dollars here."""
    server = simulator()
    frame = pd.DataFrame({"name": ["x"], "photo": [png(more=3_000_000)]})
    money = {"prices": {"sim": (1.0, 1.0)}, "max_tokens": 100}
    out = asked(frame, server, max_cost=0.01, **money)
    assert out["completion"].notna().all()
    with pytest.raises(pandas_llm.LLMError, match="the next row may cost"):
        asked(frame, server, max_cost=0.006, **money)


def test_batches_take_images_too(simulator, tmp_path):
    server = simulator()
    large = png(
        more=providers.connect(Endpoint("anthropic", "http://h", "m", "k")).images.each
    )
    cells = [png(0), png(1), [png(2), GIF], large, "gone.png", None]
    frame = pd.DataFrame({"name": list("abcdef"), "photo": cells})
    options = {"batch": True, "cache": tmp_path / "kept", "base_url": server.base_url}
    money = {"prices": {"sim": (1.0, 1.0)}, "max_cost": 0.02, "max_tokens": 50}
    out = asked(frame, server, "anthropic", **options, **money)
    assert out["completion"].notna().tolist() == [True] * 3 + [False] * 3
    assert "anthropic takes images of up to" in out.loc[3, "why"]
    assert "there is no file" in out.loc[4, "why"]
    assert pd.isna(out.loc[5, "why"])
    assert server.stats()["requests"] == 3
    options["cache"] = tmp_path / "another"
    with pytest.raises(pandas_llm.LLMError, match="may cost"):
        asked(frame, server, "anthropic", **options, **money | {"max_cost": 0.003})
    assert server.stats()["requests"] == 3


# -- other ways in -----------------------------------------------------------------


def test_a_series_of_images_is_its_own_column(simulator):
    server = simulator()
    photos = pd.Series([png(), JPEG], name="photo")
    for name in ("value", "photo"):
        out = photos.llm.complete("Describe it.", images=name, **at(server))
        assert out.str.contains("Describe it.").all()
        assert out.str.contains("image/").all()


def test_images_are_read_in_a_running_loop_as_well(simulator):
    server = simulator()
    frame = pd.DataFrame({"name": list("ab"), "photo": [png(), JPEG]})

    async def both() -> list[pd.Series]:
        templates = "See ${name}", "Look at ${name}"
        options = {"images": "photo", **at(server)}
        calls = [frame.llm.acomplete(one, **options) for one in templates]
        return list(await asyncio.gather(*calls))

    for out in asyncio.run(both()):
        assert out.str.contains("image/").all()


def test_a_plan_with_images_can_be_pickled(simulator):
    server = simulator()
    options = {"images": ["photo"], "base_url": server.base_url}
    plan = pandas_llm.Plan("See ${name}", verb="complete", model="sim", **options)
    frame = pd.DataFrame({"name": ["x"], "photo": [png()]})
    there = pickle.loads(pickle.dumps(plan))
    said = there(frame)
    assert "[image/png," in said[0]
    assert said.equals(plan(frame))


def test_lists_of_dicts_hold_images_too(simulator):
    rows = [{"name": "x", "photo": png()}, {"name": "y", "photo": [JPEG, GIF]}]
    out = pandas_llm.complete(rows, "See ${name}", images="photo", **at(simulator()))
    assert ["image/" in text for text in out] == [True, True]


def test_the_command_line_takes_columns_of_paths(simulator, tmp_path):
    server = simulator()
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "rows.csv").write_text("name,photo,scan\nx,a.png,a.png\ny,b.png,\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pandas_llm", "complete", "rows.csv"),
            *("--template", "See ${name}", "--images", "photo", "--name", "said"),
            *("-o", "out.csv", "--model", "sim", "--base-url", server.base_url),
            *("--no-cache", "--no-progress"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "there is no file 'b.png'" in done.stderr
    out = pd.read_csv(tmp_path / "out.csv")
    assert "[image/png," in out.loc[0, "said"]
    assert pd.isna(out.loc[1, "said"])


# -- files_root -----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make a folder of images, and one beside it with what is nobody's business."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    (tmp_path / "photos2").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "photos2"))
    inside, outside = Path("photos"), Path("photos2/secret.png")
    outside.write_bytes(png(1))
    (inside / "a.png").write_bytes(png(2))
    (inside / "more" / "b.png").write_bytes(png(3))
    (inside / "link.png").symlink_to(tmp_path / outside)
    (inside / "folder").symlink_to(tmp_path / "photos2")
    (inside / "good.png").symlink_to(tmp_path / "photos" / "a.png")
    (inside / "loop.png").symlink_to("loop.png")
    return tmp_path


BELOW = ["photos/a.png", "photos/more/../a.png", "photos/more/b.png", "photos/good.png"]
BEYOND = [
    "photos2/secret.png",
    "photos/../photos2/secret.png",
    "photos/link.png",
    "photos/folder/secret.png",
    "photos/loop.png",
    "~/secret.png",
    "/etc/passwd",
    "photos2/none.png",
    "/proc/self/environ",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "photos/a.png\0",
]


@pytest.mark.parametrize(
    "root", ["photos", "photos/", Path("photos"), "photos2/../photos"]
)
def test_with_files_root_cells_name_files_below_it_alone(simulator, tree, root):
    server = simulator()
    cells = [*BELOW, tree / "photos" / "a.png", png(4), data_url(png(5)), *BEYOND]
    cells += [Path(cell) for cell in BEYOND[:6]]
    df = pd.DataFrame({"name": "x", "photo": cells})
    out = asked(df, server, files_root=root)
    assert out["why"].isna().tolist() == [True] * 7 + [False] * 19
    said = out["why"].iloc[7:10].tolist()
    assert all("does not lie below files_root" in why for why in said)
    assert not out["why"].str.contains("there is no file").any()  # nor is that told
    sent = "".join(str(request["body"]) for request in server.requests())
    assert data_url(png(1)) not in sent


def test_without_files_root_cells_name_any_file(simulator, tree):
    cells = [*BELOW, *BEYOND[:4], "~/secret.png"]
    out = asked(pd.DataFrame({"name": "x", "photo": cells}), simulator())
    assert out["why"].isna().all()


def test_a_link_that_is_turned_after_the_look_is_not_followed(tree):
    root = attachments.folder("photos")
    (image,) = attachments.look_at("photos/good.png", root)
    Path("photos/good.png").unlink()
    Path("photos/good.png").symlink_to(tree / "photos2" / "secret.png")
    assert loaded(image).data == base64.b64encode(png(2)).decode()


@pytest.mark.parametrize("root", ["none", "photos/a.png", "a\0b", "~nobody/x"])
def test_a_files_root_that_is_no_folder_is_said_before_anything_is_sent(
    simulator, tree, root
):
    server = simulator()
    with pytest.raises(ConfigurationError, match="files_root="):
        asked(pd.DataFrame({"name": "x", "photo": BELOW}), server, files_root=root)
    assert server.requests() == []
