"""`preview`: the prompts, and the exact requests, without sending any."""

from __future__ import annotations

import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

import pandas_llm

KEY = "sk-a-secret-key-123"
FRAME = pd.DataFrame({"text": ["Oslo", None, "Rome €"]}, index=["x", "y", "y"])
OPTIONS = {
    "model": "some-model",
    "api_key": KEY,
    "headers": {"X-Api-Key": "another-secret", "X-Team": "docs"},
    "system": "Be brief about ${text}.",
    "examples": [("Paris", {"fact": "It is in France."})],
    "temperature": 0.2,
    "max_tokens": 50,
    "extra": {"metadata": {"quoted": KEY}},
    "progress": False,
}


class Recorder(BaseHTTPRequestHandler):
    """Keeps what came in, and answers."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, dict(self.headers), body))
        message = {"role": "assistant", "content": '{"records":[{"fact":"a"}]}'}
        answer = {"choices": [{"message": message, "finish_reason": "stop"}]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        """Stay silent."""


@pytest.fixture
def recorder():
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        server.came = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_shown_requests_are_those_that_are_sent_but_for_the_keys(recorder):
    options = {**OPTIONS, "base_url": f"http://127.0.0.1:{recorder.server_port}/v1"}
    template, keys = "A fact about ${text}.", {"fact": str}
    shown = FRAME.llm.preview(template, keys, as_requests=True, **options)
    assert recorder.came == []
    FRAME.llm.generate(template, keys, concurrency=1, **options)
    assert list(shown.columns) == ["url", "headers", "body"]
    assert list(shown.index) == ["x", "y"]  # a row with NA is not sent
    assert len(recorder.came) == 2
    for one, (path, headers, body) in zip(
        shown.itertuples(), recorder.came, strict=True
    ):
        assert one.url == f"{options['base_url']}/chat/completions"
        assert one.url.endswith(path)
        assert one.body == body.decode().replace(KEY, "***")
        said = json.loads(one.headers)
        assert said.pop("Authorization") == "Bearer ***"
        assert said.pop("X-Api-Key") == "***"
        assert said.items() <= headers.items()
        assert said["X-Team"] == "docs"
    assert KEY not in shown.to_csv()
    assert "another-secret" not in shown.to_csv()


def test_after_a_run_the_request_is_shown_as_the_endpoint_takes_it(simulator, on):
    server = simulator(schema_modes=())
    options = on(server)
    before = FRAME.llm.preview("Of ${text}", ["fact"], as_requests=True, **options)
    FRAME.llm.generate("Of ${text}", ["fact"], **options)
    after = FRAME.llm.preview("Of ${text}", ["fact"], as_requests=True, **options)
    assert "json_schema" in before["body"].iloc[0]
    assert "response_format" not in after["body"].iloc[0]


def test_the_prompts_need_neither_model_nor_key():
    shown = FRAME.llm.preview("Of ${text}", system="About ${text}")
    assert shown["prompt"].tolist() == ["Of Oslo", "Of Rome €"]
    assert shown["system"].tolist() == ["About Oslo", "About Rome €"]


def test_the_whole_requests_need_both():
    with pytest.raises(pandas_llm.ConfigurationError, match="no model is set"):
        FRAME.llm.preview("Of ${text}", as_requests=True)
    rows = pandas_llm.preview(
        [{"a": 1}, {"a": 2}], "Of ${a}", rows=1, as_requests=True, model="sim"
    )
    assert len(rows) == 1


def test_an_empty_frame_shows_no_requests():
    shown = FRAME.head(0).llm.preview("Of ${text}", as_requests=True, model="sim")
    assert shown.shape == (0, 3)


def test_a_password_in_the_address_and_keys_in_its_query_are_not_shown():
    url = "https://me:password@host.example/v1?api-key=abc&api-version=3"
    shown = FRAME.llm.preview(
        "Of ${text}", as_requests=True, model="m", api_key="k" * 9, base_url=url
    )
    said = shown["url"].iloc[0]
    assert "password" not in said
    assert "abc" not in said
    assert "api-key=***" in said
    assert "api-version=3" in said


# -- how it shows itself --------------------------------------------------------


HOSTILE = "<script>alert(1)</script>\x1b[2J" + "word " * 60 + "x" * 300
KEYS = {"fact": str, "year": int}


def hostile(**options) -> pd.DataFrame:
    frame = pd.DataFrame({"text": [HOSTILE, "Oslo\n  * one\n\n  * two"]})
    return frame.llm.preview(
        "On ${text}: the end.",
        KEYS,
        system="Be brief.",
        examples=[("Paris", {"fact": "It is in France."})],
        **options,
    )


def words(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("as_requests", [False, True])
def test_a_terminal_shows_whole_texts_in_eighty_columns(as_requests):
    shown = hostile(as_requests=as_requests, model="sim")
    text = repr(shown)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for part in ("word " * 60, "x" * 300, "the end.", "Be brief.", "Paris", "France"):
        assert words(part) in words(text)
    assert '"year": {"type": "integer"}' in " ".join(text.split())
    assert "Nothing was sent." in text


def test_a_terminal_keeps_lines_and_their_indentation():
    assert "    On Oslo\n      * one\n\n      * two: the end." in repr(hostile())


def test_a_notebook_shows_whole_texts_and_runs_none_of_them():
    page = hostile()._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J" in page
    assert "x" * 300 in page
    assert "It is in France." in page


def test_a_notebook_shows_small_images_and_names_the_others():
    gif = b"GIF89a" + bytes(20)
    frame = pd.DataFrame({"of": [[gif, "https://example.org/a.png"], b"\x89PNG"]})
    shown = frame.llm.preview("What is it?", images="of")
    page = shown._repr_html_()
    assert page.count('src="data:image/gif;base64,') == 1
    assert "https://example.org/a.png" in shown["images"].iloc[0]
    assert 'src="http' not in page
    assert "can be sent" in repr(shown)  # the second is no image


def test_a_preview_is_a_frame_that_pickles_and_of_which_parts_are_plain():
    shown = hostile()
    back = pickle.loads(pickle.dumps(shown))
    assert repr(back) == repr(shown)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(shown))
    for part in (shown.head(1), shown[["prompt"]], shown.copy(), shown.reset_index()):
        assert type(part) is pd.DataFrame
    assert type(shown["prompt"]) is pd.Series
    shown.loc[9] = shown.iloc[0]  # in place: the cards are of other rows now
    assert "Preview of" not in repr(shown)
    assert "Preview of" not in (shown._repr_html_() or "")


def test_a_preview_of_nothing_says_so():
    assert repr(FRAME.head(0).llm.preview("Of ${text}")).startswith("Preview of 0 of 0")
