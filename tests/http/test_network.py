"""Company networks: proxies, authorities and certificates of one's own, real TLS."""

from __future__ import annotations

import asyncio
import base64
import errno
import itertools
import logging
import pickle
import ssl
import subprocess
import threading
import traceback
import warnings
from contextlib import suppress

import aiohttp
import pandas as pd
import pytest
from loopback_server import Server, certificates, completion

import pandas_llm
from pandas_llm import ConfigurationError, LLMError, environment
from pandas_llm._http import transport
from pandas_llm._http.network import Route
from pandas_llm.redaction import parted, shown, visible

PASSWORD = "p/ss:w0rd#51f0"
ESCAPED = "p%2Fss%3Aw0rd%2351f0"
KEY = "sk-live-51f0c2d9e8b7a6"


pytestmark = pytest.mark.usefixtures("short_search")


class Proxy:
    """A proxy for both ways: CONNECT for https, whole addresses for http.

    Parameters
    ----------
    login : str, optional
        ``name:password`` that it asks for.
    answer : bytes, optional
        What it says in place of doing its work.
    """

    def __init__(self, login: str | None = None, answer: bytes | None = None) -> None:
        self._login = login and base64.b64encode(login.encode()).decode()
        self._answer = answer
        self.asked: list[str] = []
        self._tasks: list[asyncio.Task] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _main(self):
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(
            *(w.wait_closed() for w in self._writers), return_exceptions=True
        )

    async def _serve(self, reader, writer):
        self._tasks.append(asyncio.current_task())
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            method, target, _ = line.split()
            self.asked.append(f"{method} {target}")
            held = [f for f in fields if f.lower().startswith("proxy-authorization:")]
            if self._answer is not None:
                writer.write(self._answer)
            elif self._login and held != [f"Proxy-Authorization: Basic {self._login}"]:
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
            elif method == "CONNECT":
                await self._tunnel(reader, writer, target)
            else:
                await self._pass_on(reader, writer, target, head)
            await writer.drain()
        writer.close()

    async def _tunnel(self, reader, writer, target):
        host, port = target.rsplit(":", 1)
        theirs = await asyncio.open_connection(host, int(port))
        self._writers.append(theirs[1])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pump(reader, theirs[1]), _pump(theirs[0], writer))

    async def _pass_on(self, reader, writer, target, head):
        place = target.split("/")[2]
        theirs = await asyncio.open_connection(*place.rsplit(":", 1))
        self._writers.append(theirs[1])
        theirs[1].write(head.replace(f"http://{place}".encode(), b"", 1))
        await asyncio.gather(_pump(reader, theirs[1]), _pump(theirs[0], writer))


async def _pump(reader, writer):
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError, OSError, RuntimeError):
        writer.close()


def ask(base_url, rows=2, **more):
    df = pd.DataFrame({"text": [f"Row {i}." for i in range(rows)]})
    options = {"model": "m", "api_key": KEY, "progress": False, "concurrency": 1}
    return df.llm.complete("${text}", base_url=base_url, **{**options, **more})


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Return a folder with crt.pem and key.pem, and the context that shows them."""
    folder = tmp_path_factory.mktemp("tls")
    _, context = certificates(folder, "localhost")
    return folder, context


@pytest.fixture(scope="module")
def secure(tls):
    with Server(lambda _: completion("yes"), tls[1]) as server:
        yield server


@pytest.fixture
def plain():
    with Server(lambda _: completion("yes")) as server:
        yield server


# -- authorities ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_a_file_of_authorities_that_the_environment_names_is_read_at_each_run(
    name, tls, secure, monkeypatch
):
    with pytest.raises(LLMError, match="is not trusted"):
        ask(secure.base_url)
    monkeypatch.setenv(name, str(tls[0] / "crt.pem"))  # in the notebook, as it runs
    assert ask(secure.base_url).tolist() == ["yes", "yes"]
    monkeypatch.delenv(name)
    with pytest.raises(LLMError, match="is not trusted"):
        ask(secure.base_url)


def test_the_option_names_authorities(tls, secure, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")  # the option wins
    assert ask(secure.base_url, ca=tls[0] / "crt.pem").tolist() == ["yes", "yes"]


@pytest.mark.parametrize("ca", ["nowhere.pem", "words.pem"])
@pytest.mark.parametrize("how", ["option", "environment"])
def test_what_is_no_file_of_authorities_is_said_before_anything_is_sent(
    ca, how, secure, tmp_path, monkeypatch
):
    (tmp_path / "words.pem").write_text("no certificate")
    path, more = str(tmp_path / ca), {}
    if how == "option":
        more["ca"] = path
    else:
        monkeypatch.setenv("CURL_CA_BUNDLE", path)
    before = len(secure.headers)
    with pytest.raises(ConfigurationError, match="not a file of cert") as caught:
        ask(secure.base_url, **more)
    assert path in str(caught.value)
    assert len(secure.headers) == before


def test_certificates_do_not_go_with_a_session(tls):
    async def run():
        async with aiohttp.ClientSession() as session:
            df = pd.DataFrame({"text": ["a"]})
            options = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
            await df.llm.acomplete(
                "${text}", session=session, ca=tls[0] / "crt.pem", **options
            )

    with pytest.raises(ConfigurationError, match="connector of session="):
        asyncio.run(run())


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def strict(request, tls, tmp_path):
    """Start a server that asks for a client certificate; return it and its options."""
    certificates(tmp_path, "client")
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "crt.pem"
    )
    context.load_cert_chain(tls[0] / "crt.pem", tls[0] / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = context.minimum_version = request.param
    with Server(lambda _: completion("yes"), context) as server:
        yield server, {"ca": tls[0] / "crt.pem"}


def test_a_client_certificate_is_shown(strict, tmp_path):
    server, options = strict
    crt, key = tmp_path / "crt.pem", tmp_path / "key.pem"
    assert ask(server.base_url, cert=(crt, key), **options).tolist() == ["yes"] * 2
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + crt.read_text())
    assert ask(server.base_url, cert=str(both), **options).tolist() == ["yes"] * 2


def test_a_server_that_asks_for_a_client_certificate_is_quoted(strict):
    server, options = strict
    with pytest.raises(LLMError) as caught:
        ask(server.base_url, max_retries=0, errors="raise", **options)
    assert "TLS" in str(caught.value)
    assert "client certificate" in str(caught.value)
    assert "cert=" in str(caught.value)
    assert server.headers == []


def test_a_key_with_a_password_is_refused_and_not_asked_for(tls, tmp_path):
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [
            *("openssl", "pkey", "-in", tls[0] / "key.pem", "-aes256"),
            *("-passout", "pass:secret", "-out", locked),
        ],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ConfigurationError, match="is encrypted"):
        ask("http://127.0.0.1:9/v1", cert=(tls[0] / "crt.pem", locked))


def test_what_is_no_client_certificate_is_said_at_once(tmp_path, tls):
    for cert in (tls[0] / "crt.pem", tmp_path / "none.pem"):
        with pytest.raises(ConfigurationError, match="cert="):
            ask("http://127.0.0.1:9/v1", cert=cert)


def test_tls_where_there_is_none_is_said(plain):
    with pytest.raises(LLMError, match=r"TLS with https://.* failed") as caught:
        ask(plain.base_url.replace("http", "https"))
    assert "plain http://" in str(caught.value)


# -- proxies --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_gone_through(name, scheme, tls, secure, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv(name, f"{scheme}{proxy.place}")
        out = ask(secure.base_url, rows=4, ca=tls[0] / "crt.pem")
    assert out.tolist() == ["yes"] * 4
    assert proxy.asked == [f"CONNECT 127.0.0.1:{secure.port}"]  # one, kept


@pytest.mark.parametrize("secured", [True, False])
@pytest.mark.parametrize("written", [PASSWORD, ESCAPED])
def test_a_password_of_a_proxy_is_used_and_not_shown(
    secured, written, tls, request, monkeypatch
):
    server = request.getfixturevalue("secure" if secured else "plain")
    with Proxy(login=f"me:{PASSWORD}") as proxy:
        name = "HTTPS_PROXY" if secured else "HTTP_PROXY"
        monkeypatch.setenv(name, f"me:{written}@{proxy.place}")
        out = ask(server.base_url, ca=tls[0] / "crt.pem")
        assert out.tolist() == ["yes", "yes"]
        monkeypatch.setenv(name, f"http://me:{written}x@{proxy.place}")
        with pytest.raises(LLMError, match=r"the proxy http://127.*\(407\)") as caught:
            ask(server.base_url, ca=tls[0] / "crt.pem")
        assert name in str(caught.value)
        monkeypatch.setenv(name, f"http://{proxy.place}")
        with pytest.raises(LLMError, match=r"asks for a name and password \(407\)"):
            ask(server.base_url, ca=tls[0] / "crt.pem")
    nowhere(caught.value)


def test_a_proxy_that_is_not_there_is_named(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ALL_PROXY", f"http://me:{ESCAPED}@127.0.0.1:9")
    with pytest.raises(LLMError, match=r"no connection to the proxy http://127") as e:
        ask("https://llm.example/v1")
    assert "ALL_PROXY" in str(e.value)
    assert "NO_PROXY=llm.example" in str(e.value)
    nowhere(e.value, caplog.text)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("403 Not for you", "makes no connection to https://.*: HTTP 403 Not for you"),
        ("502 \x1b[31mBad", r"HTTP 502 \\x1b\[31mBad"),
    ],
)
def test_what_a_proxy_refuses_is_quoted(answer, words, monkeypatch):
    text = f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()
    with Proxy(answer=text) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.place)
        with pytest.raises(LLMError, match=words):
            ask("https://llm.example/v1", max_retries=0)


@pytest.mark.parametrize(
    "text", ["socks5://127.0.0.1:1080", f"http://me:{PASSWORD}@h:port", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_said_before_anything_is_sent(text, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", text)
    with pytest.raises(ConfigurationError, match="ALL_PROXY names a proxy") as caught:
        ask("https://llm.example/v1")
    nowhere(caught.value)


@pytest.mark.parametrize(
    ("listed", "url", "direct"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8, fd00::/8", "http://[fd00::1]:8000/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("10.0.0.0/8", "http://ten.example/v1", False),
        ("fd00::1", "http://[fd00::1]:8000/v1", True),
        ("10.0.0.1", "http://10.0.0.1:8000/v1", True),
        ("10.0.0.1:8000", "http://10.0.0.1:8000/v1", True),
        ("10.0.0.1:8001", "http://10.0.0.1:8000/v1", False),
        ("llm.example:443", "https://llm.example/v1", True),
        ("llm.example:80", "https://llm.example/v1", False),
        ("example", "http://llm.example/v1", True),
        (".example", "http://LLM.example/v1", True),
        ("*.example", "http://llm.example/v1", True),
        ("m.example", "http://llm.example/v1", False),
        ("a.example llm.example", "http://llm.example/v1", True),
        ("*", "https://llm.example/v1", True),
        ("", "https://llm.example/v1", False),
    ],
)
def test_no_proxy_lists_what_is_asked_directly(listed, url, direct, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:1")
    monkeypatch.setenv("NO_PROXY", listed)
    assert (environment.proxy(url) is None) == direct


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize(
    ("proxy", "direct"),
    [
        ("http://proxy.example:1", True),
        ("me:se/cret@proxy.example:1", True),
        ("http://[proxy", True),
        ("http://localhost:1", False),
        ("127.0.0.1:1", False),
    ],
)
def test_this_machine_is_not_asked_by_way_of_another(host, proxy, direct, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert (environment.proxy(f"http://{host}:8000/v1") is None) == direct


def test_an_address_in_no_proxy_is_asked_directly(plain, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    assert ask(plain.base_url).tolist() == ["yes", "yes"]


# -- passwords in addresses -----------------------------------------------------


def nowhere(error, *said):
    """Look for the secrets wherever people and tools may show them."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    said, seen = [*said, *traceback.format_exception(error)], error
    while whole is not None:
        for frame in whole.stack:
            if (
                frame.filename != __file__
            ):  # the caller's own frames hold what is theirs
                said += [
                    f"{frame.name} {name}={v}"
                    for name, v in (frame.locals or {}).items()
                ]
        whole = whole.__cause__ or whole.__context__
    while seen is not None:
        said += [repr(seen), str(seen), *map(repr, vars(seen).values())]
        seen = seen.__cause__ or seen.__context__
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    secrets = (PASSWORD, ESCAPED, login, KEY)
    assert [text for text in said if any(secret in text for secret in secrets)] == []


@pytest.mark.parametrize("written", [PASSWORD, ESCAPED])
@pytest.mark.parametrize("more", [{}, {"api_key": KEY}], ids=["no key", "a key"])
def test_a_password_in_base_url_is_sent_as_basic_authentication(plain, written, more):
    url = plain.base_url.replace("://", f"://me:{written}@")
    assert ask(url, **more).tolist() == ["yes", "yes"]
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert plain.headers[0]["Authorization"] == f"Basic {login}"
    assert PASSWORD not in repr(plain.paths)


def test_a_password_in_base_url_is_shown_nowhere(plain, caplog):
    caplog.set_level(logging.DEBUG)
    url = plain.base_url.replace("://", f"://me:{ESCAPED}@")
    plan = pandas_llm.Plan("${text}", verb="complete", model="m", base_url=url)
    pandas_llm.set_options(base_url=url)
    shown = [repr(plan), repr(vars(plan)), repr(pandas_llm.get_options())]
    out = ask(url)
    shown += [repr(out.attrs), caplog.text]
    assert "127.0.0.1" in shown[1]
    for text in shown:
        assert ESCAPED not in text
        assert PASSWORD not in text
    with pytest.raises(ConfigurationError, match="the password in base_url") as caught:
        pickle.dumps(plan)
    nowhere(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://me:{PASSWORD}@h/v1",
        f"me:{PASSWORD}@h/v1",
        f"http://me:{ESCAPED}@h:port/v1",
        f"http://me:{PASSWORD}@/v1",
        f"http://me:{PASSWORD}@h:99999/v1",
    ],
)
def test_an_address_that_cannot_be_asked_hides_its_password(url):
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        ask(url)
    nowhere(caught.value)


@pytest.mark.parametrize(
    ("url", "held", "rest"),
    [
        ("http://h/v1/models/x@1", "", "http://h/v1/models/x@1"),
        ("http://h:80/v1?a=b@c", "", "http://h:80/v1?a=b@c"),
        ("http://[::1]:80/a@b", "", "http://[::1]:80/a@b"),
        ("http://[::1]/a@b", "", "http://[::1]/a@b"),
        ("http://me:a@b@h/v1", "me:a@b", "http://h/v1"),
        ("http://me@h/v1", "me", "http://h/v1"),
        ("me:a@h:1", "me:a", "h:1"),
    ],
)
def test_passwords_are_told_from_the_rest_of_an_address(url, held, rest):
    assert parted(url) == (held, rest)
    assert "me" not in shown(url).replace("models", "")


# -- the key in tracebacks that show variables ----------------------------------


def failing(how, server):
    """Return the address and the options of a run that fails in some way."""
    if how == "nobody":
        return "http://127.0.0.1:9/v1", {}
    if how == "no TLS":
        return "https" + server.base_url[4:], {}
    return server.base_url, {"request_timeout": 0.2, "max_retries": 0}


@pytest.mark.parametrize("how", ["nobody", "no TLS", "slow", "cut"])
@pytest.mark.parametrize("full", ["full", "short"])
@pytest.mark.parametrize("model", ["m", None])
def test_no_traceback_with_variables_shows_the_key(how, full, model, monkeypatch):
    monkeypatch.setenv("PANDAS_LLM_TRACEBACK", full)

    async def answer(_):
        if how == "slow":
            await asyncio.sleep(1)
        return aiohttp.web.Response(body=b"x", headers={"Content-Length": "9"})

    with Server(answer) as server:
        url, more = failing(how, server)
        headers = {"X-Api-Key": KEY}
        with pytest.raises(LLMError) as caught:
            ask(url, model=model, errors="raise", headers=headers, **more)
        del headers
    nowhere(caught.value)


@pytest.mark.parametrize("function", ["complete", "acomplete", "Plan"])
def test_an_error_of_the_callers_function_shows_no_key_either(function, plain):
    """Every frame is shown then, with the options of the call in it."""

    def broken(*_):
        raise ZeroDivisionError

    df = pd.DataFrame({"text": ["a"]})
    options = {"model": "m", "base_url": plain.base_url, "api_key": KEY}
    options |= {"headers": {"X-Api-Key": KEY}, "progress": broken}
    with pytest.raises(ZeroDivisionError) as caught:
        if function == "complete":
            df.llm.complete("${text}", **options)
        elif function == "Plan":
            pandas_llm.Plan("${text}", verb="complete", **options)(df)
        else:
            asyncio.run(df.llm.acomplete("${text}", **options))
    nowhere(caught.value)


# -- what servers say -----------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066 \r gone"


def said_by(kind):
    def answer(_):
        if kind == "message":
            error = {"message": EVIL, "code": EVIL, "param": EVIL, "type": EVIL}
            headers = {}
            return aiohttp.web.json_response(
                {"error": error}, status=400, headers=headers
            )
        if kind == "page":
            return aiohttp.web.Response(text=f"<b>{EVIL}</b>", status=418)
        if kind == "no json":
            return aiohttp.web.Response(text=EVIL)
        if kind == "refusal":
            return completion(None, refusal=EVIL)
        return {"choices": [{"message": {"content": EVIL}}], "model": EVIL, "id": EVIL}

    return answer


def unsafe(text):
    return [c for c in text if c != "\n" and visible(c) != c]


@pytest.mark.parametrize("kind", ["message", "page", "no json", "refusal"])
def test_control_characters_of_servers_reach_no_warning_log_column_or_report(
    kind, caplog, capfd, tmp_path
):
    caplog.set_level(logging.DEBUG)
    df = pd.DataFrame({"text": ["a", "b", "c"]})
    options = {"model": "m", "progress": True, "max_retries": 0, "output_retries": 0}
    with (
        Server(said_by(kind)) as server,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        options |= {"base_url": server.base_url, "api_key": KEY}
        raised = []
        try:
            out = df.llm.extract("${text}", ["fact"], error_column="why", **options)
        except LLMError as error:
            out = error.partial
            raised = traceback.format_exception(error)
            raised += [repr(vars(error))]
    assert out["why"].notna().all()
    assert "owned" in "".join([*raised, *map(str, warned)]) or kind == "refusal"
    page = str(out.llm.report())
    for text in (*out["why"], *map(str, warned), caplog.text, *raised, page):
        assert unsafe(text) == []
    printed = "".join(capfd.readouterr()).replace("\r", "").replace("\x1b[K", "")
    assert "owned\x07" not in printed
    assert "\x9b" not in printed
    assert "\u202e" not in printed


def test_answers_are_left_as_they_are_and_words_about_them_are_not():
    with Server(said_by("answer")) as server:
        df = pd.DataFrame({"text": ["a"]})
        options = {"base_url": server.base_url, "model": "m", "progress": False}
        out = df.llm.complete("${text}", details=True, api_key=KEY, **options)
    assert out["completion"].tolist() == [EVIL]
    assert out["llm_text"].tolist() == [EVIL]
    assert unsafe(out["llm_model"].iloc[0]) == []
    assert "owned" in out["llm_model"].iloc[0]


def test_a_listed_model_with_control_characters_is_not_taken():
    with (
        Server(lambda _: {"data": [{"id": EVIL}]}) as server,
        pytest.raises(ConfigurationError, match="lists") as caught,
    ):
        ask(server.base_url, model=None)
    assert unsafe(str(caught.value)) == []


def test_every_control_character_is_written_out_and_all_else_stays():
    unseen = itertools.chain(
        range(9), range(11, 32), range(127, 160), range(0x2028, 0x202F)
    )
    for number in unseen:
        if number != 0x202F:
            assert visible(chr(number)) == ascii(chr(number))[1:-1].replace(
                "\\r", "\\r"
            )
    for text in ("Zürich ☂\n\t\u200f", "😀", "a\\x1b"):
        assert visible(text) == text


def test_too_many_open_files_are_not_blamed_on_the_server():
    key = aiohttp.client_reqrep.ConnectionKey(
        "llm.example", 443, True, True, None, None, None
    )
    error = aiohttp.ClientConnectorError(key, OSError(errno.EMFILE, "full"))
    words = str(transport._unnamed(error, Route("llm.example")))
    assert words.endswith("Raise the limit (ulimit -n), or pass a lower concurrency=")
