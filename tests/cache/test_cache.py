"""The cache of replies: what is put comes back, and nothing that fails is felt."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import zlib
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandas_llm.cache import Cache, clear, info, location, open_cache, writer
from pandas_llm.cache import sqlite as database
from pandas_llm.errors import LLMError
from pandas_llm.types import Choice, Odds, Reply, Tokens

SCRIPT = Path(__file__).parents[1] / "support/cache_process.py"
LOST = 0.2 + 1.0
"""Seconds of answers that kill -9 may take, and a busy machine's delay."""
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and limits")


def key(number):
    return number.to_bytes(16, "big")


def reply(number, length=20):
    return Reply((Choice(f"{number} " + "é" * length),), Tokens(3, 4), "m", "id")


def fill(path, numbers, length=20, **options):
    """Put replies by numbers and close the file."""
    cache = Cache(path, **options)
    for number in numbers:
        cache.put(key(number), reply(number, length))
    cache.close()
    assert cache.broken is None


def numbers_in(path, numbers):
    """Return which of the numbers a new user of the file finds, all as put."""
    cache = Cache(path)
    found = cache.get_many([key(number) for number in numbers])
    cache.close()
    return [number for number in numbers if key(number) in found]


def run(job, folder):
    """Run a job of the script in its own process."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), job, str(folder)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "replies.sqlite"


@pytest.fixture
def cache(path):
    cache = Cache(path)
    yield cache
    cache.close()


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


@pytest.fixture
def impatient(monkeypatch):
    """Wait for no lock of others."""
    monkeypatch.setattr(database, "LOCK_WAIT", 0.05)
    monkeypatch.setattr(writer, "_WRITE_WAIT", 0.05)


@pytest.fixture
def crowded(monkeypatch):
    """Have no room on the disk for more than the limit."""
    monkeypatch.setattr(database, "_ROOM", 1.0)


# -- what is put comes back -----------------------------------------------------

texts = st.text() | st.sampled_from(["\0", "a\0b", "😀" * 3, "\u2028\x7f\ufeff", "é\n"])
chances = st.floats(allow_nan=False, allow_infinity=False)
places = st.lists(st.tuples(texts, chances), max_size=3).map(tuple)
odds = st.builds(
    Odds,
    st.sampled_from(["logprobs", "decisions"]),
    st.lists(places, max_size=3).map(tuple),
)
replies = st.builds(
    Reply,
    st.lists(
        st.builds(
            Choice,
            texts,
            st.none() | texts,
            st.none() | texts,
            vector=st.none(),
            odds=st.none() | odds,
            raw=st.none() | texts,
        ),
        max_size=4,
    ).map(tuple)
    | st.builds(Choice, texts, vector=st.binary(), odds=st.none(), raw=st.none()).map(
        lambda choice: (choice,)
    ),
    st.none() | st.builds(Tokens, *[st.integers(0, 2**40)] * 7),
    st.none() | texts,
    st.none() | texts,
    st.booleans(),
    st.none() | st.floats(0, 1e9),
    response_id=st.none(),
)


@given(st.dictionaries(st.binary(min_size=16, max_size=16), replies, max_size=5))
@settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_reply_comes_back_as_it_was_put(cache, entries):
    for name, value in entries.items():
        cache.put(name, value)
    cache.flush()
    assert cache.get_many(list(entries)) == entries
    for value in cache.get_many(list(entries)).values():
        assert all(type(choice) is Choice for choice in value.choices)
        assert value.tokens is None or type(value.tokens) is Tokens


def test_an_entry_of_an_older_release_has_the_defaults_of_newer_fields(path, cache):
    text = b'[[["Paris"]],[1]]'
    cache.put(key(1), reply(1))
    cache.flush()
    with closing(sqlite3.connect(path)) as connection:
        values = (zlib.crc32(text, zlib.crc32(key(1))), text)
        connection.execute("UPDATE replies SET sum = ?, reply = ?", values)
        connection.commit()
    assert cache.get_many([key(1)]) == {key(1): Reply((Choice("Paris"),), Tokens(1))}


def test_a_long_reply_comes_back(cache):
    long = Reply((Choice("a\0😀" * 2_000_000, "stop"), Choice("", None, "no")))
    cache.put(key(1), long)
    cache.flush()
    assert cache.get_many([key(1)]) == {key(1): long}


def test_a_reply_put_again_replaces_the_first(cache):
    for value in (reply(1), reply(2), reply(3)):
        cache.put(key(1), value)
    cache.flush()
    cache.put(key(1), reply(4))
    cache.flush()
    assert cache.get_many([key(1)]) == {key(1): reply(4)}
    assert info(cache.path).entries == 1


def test_what_is_not_there_is_absent(cache):
    assert cache.get_many([key(1), key(1), key(2)]) == {}
    assert cache.broken is None


def test_more_keys_than_one_query_takes_are_all_found(cache):
    for number in range(1200):
        cache.put(key(number), reply(number))
    cache.flush()
    wanted = [key(number) for number in range(2400)]
    assert cache.get_many(wanted) == {key(n): reply(n) for n in range(1200)}
    assert cache.get_many(wanted[5:3:-1]) == {key(n): reply(n) for n in (4, 5)}


def test_a_reply_that_is_no_text_is_not_kept_and_spoils_no_other(cache):
    cache.put(key(1), Reply((Choice("\ud800"),)))
    cache.put(key(2), reply(2))
    cache.flush()
    assert cache.get_many([key(1), key(2)]) == {key(2): reply(2)}
    assert cache.broken is None


def test_what_is_put_is_on_disk_soon_without_a_flush(path, cache):
    cache.put(key(1), reply(1))
    pause = threading.Event()
    for _ in range(200):
        pause.wait(0.05)
        if numbers_in(path, [1]):
            return
    pytest.fail("nothing was committed")


# -- opening and closing --------------------------------------------------------


def test_nothing_is_made_before_the_first_use(path):
    cache = Cache(path)
    assert cache.get_many([]) == {}
    cache.flush()
    cache.close()
    assert not path.parent.exists()


def test_no_thread_and_no_side_file_is_left(path):
    before = set(threading.enumerate())
    fill(path, range(10))
    assert set(threading.enumerate()) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_reading_needs_no_thread(path):
    fill(path, range(10))
    before = set(threading.enumerate())
    cache = Cache(path)
    assert len(cache.get_many([key(n) for n in range(10)])) == 10
    assert set(threading.enumerate()) == before
    cache.close()


def test_a_closed_cache_is_empty_and_keeps_nothing(path, cache):
    cache.put(key(1), reply(1))
    cache.close()
    cache.close()
    cache.put(key(2), reply(2))
    cache.flush()
    assert cache.get_many([key(1)]) == {}
    assert numbers_in(path, [1, 2]) == [1]


def test_runs_share_an_open_file_until_the_last_one_closes_it(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first = open_cache(tmp_path / "real" / "x")
    second = open_cache(tmp_path / "link" / "x")
    assert first is second
    first.put(key(1), reply(1))
    first.close()
    assert second.get_many([key(1)]) == {key(1): reply(1)}
    second.put(key(2), reply(2))
    second.close()
    third = open_cache(tmp_path / "real" / "x")
    assert third is not first
    assert len(third.get_many([key(1), key(2)])) == 2
    third.close()


def test_threads_put_and_get_at_once(cache):
    problems = []

    def work(first):
        for number in range(first, first + 300):
            cache.put(key(number), reply(number))
            wanted = {key(n): reply(n) for n in (number, number + 1)}
            if not cache.get_many(list(wanted)).items() <= wanted.items():
                problems.append(number)
            if number % 100 == 0:
                cache.flush()

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.flush()
    wanted = {n * 1000 + m: None for n in range(4) for m in range(300)}
    found = cache.get_many([key(number) for number in wanted])
    assert found == {key(number): reply(number) for number in wanted}
    assert (problems, cache.broken) == ([], None)


@posix
def test_only_the_owner_may_read_the_files(path, cache):
    umask = os.umask(0)
    try:
        cache.put(key(1), reply(1))
        cache.flush()
    finally:
        os.umask(umask)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    names = [path.name + suffix for suffix in ("", "-wal", "-shm")]
    assert modes == dict.fromkeys(names, 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


# -- files that fail ------------------------------------------------------------


def other_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE replies (mine)")
        connection.commit()


def newer_version(path):
    fill(path, range(10))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE pandas_llm_cache SET version = 2")
        connection.commit()


def no_header(path):
    fill(path, range(10))
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def half(path):
    fill(path, range(1000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_page(path):
    fill(path, range(1000))
    path.write_bytes(path.read_bytes()[:4096])


SPOILT = [
    lambda path: path.write_bytes(os.urandom(5000)),
    lambda path: path.write_text("question,answer\n" * 400),
    lambda path: path.write_bytes(b"x"),
    other_database,
    newer_version,
    no_header,
    half,
    one_page,
]
NAMES = "garbage csv byte other_database newer_version no_header half one_page"


@pytest.mark.parametrize("spoil", SPOILT, ids=NAMES.split())
def test_a_file_that_is_damaged_or_not_ours_is_left_as_it_is(path, spoil):
    path.parent.mkdir()
    spoil(path)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    cache = Cache(path)
    found = cache.get_many([key(number) for number in range(1000)])
    cache.put(key(5000), reply(5000))
    cache.flush()
    reason = cache.broken
    assert str(path) in reason
    assert cache.get_many([key(5000)]) == {}
    cache.close()
    assert found == {}
    assert cache.broken is reason
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    with pytest.raises(LLMError, match=path.name):
        info(path)
    with pytest.raises(LLMError, match=path.name):
        clear(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_the_log_of_a_file_that_was_emptied_is_not_deleted(path):
    cache = Cache(path)
    cache.put(key(1), reply(1))
    cache.flush()
    log = database.log_of(path).read_bytes()
    cache.close()
    path.write_bytes(b"")
    database.log_of(path).write_bytes(log)
    cache = Cache(path)
    assert cache.get_many([key(1)]) == {}
    cache.put(key(2), reply(2))
    cache.close()
    assert "cut off" in cache.broken
    assert database.log_of(path).read_bytes() == log


def test_an_empty_file_is_a_new_cache(path):
    path.parent.mkdir()
    path.touch()
    fill(path, [1])
    assert numbers_in(path, [1]) == [1]


@pytest.fixture(scope="module")
def healthy():
    """Return the bytes of a file with 200 replies."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "x", range(200))
        return (Path(folder) / "x").read_bytes()


@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=60)
def test_whatever_bytes_change_no_wrong_reply_comes_back(healthy, changes):
    spoilt = bytearray(healthy)
    for place, byte in changes:
        spoilt[int(place * len(healthy))] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(spoilt)
        cache = Cache(path)
        found = cache.get_many([key(number) for number in range(200)])
        cache.put(key(999), reply(999))
        cache.flush()
        found |= cache.get_many([key(number) for number in range(200)])
        cache.close()
    for name, value in found.items():
        assert value == reply(int.from_bytes(name, "big"))


def places(size):
    """Return bytes of a file: its head, where the tables' names lie, and all over."""
    return [*range(0, 100, 9), *range(3500, 4096, 13), *range(100, size, 997)]


@pytest.mark.parametrize("how", ["a byte of text", "a byte of none", "cut off"])
def test_wherever_a_file_is_damaged_nothing_raises(healthy, how, tmp_path):
    told = 0
    for at in places(len(healthy)):
        path = tmp_path / f"{at}.sqlite"
        spoilt = bytearray(healthy)
        spoilt[at] ^= 1 if how == "a byte of text" else 0x80
        path.write_bytes(healthy[:at] if how == "cut off" else spoilt)
        cache = Cache(path)
        found = cache.get_many([key(number) for number in range(200)])
        cache.put(key(999), reply(999))
        cache.close()
        for name, value in found.items():
            assert value == reply(int.from_bytes(name, "big"))
        told += cache.broken is not None
        if cache.broken is not None:
            assert str(path) in cache.broken
            with suppress(LLMError):
                info(path)
            with suppress(LLMError):
                clear(path)
    assert told > 0


@pytest.mark.parametrize("used", ["9e999", "-9e999", "'x'", "x'ff'", str(2**62)])
def test_a_damaged_time_of_use_is_no_time(path, used):
    fill(path, [1, 2])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE replies SET used = {used} WHERE id = 1")
        connection.commit()
    told = info(path)
    assert told.entries == 2
    cache = Cache(path)
    assert cache.get_many([key(2)]) == {key(2): reply(2)}
    cache.get_many([key(1)])
    cache.put(key(3), reply(3))
    cache.close()
    assert numbers_in(path, [2, 3]) == [2, 3]


@pytest.fixture(params=["nobody", "platformdirs", "~/x"])
def homeless(request, monkeypatch):
    """Take the home folder away; return the option `cache`."""
    monkeypatch.delenv("PANDAS_LLM_CACHE")
    for name in ("HOME", "XDG_CACHE_HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    if request.param == "platformdirs":

        def fails(*args, **more):
            raise RuntimeError("no folder is known")

        monkeypatch.setattr(platformdirs, "user_cache_dir", fails)
    return request.param if request.param[0] == "~" else True


@posix
def test_without_a_home_folder_there_is_no_cache_and_no_folder_is_made(
    homeless, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    cache = open_cache(location(homeless))
    assert cache.get_many([key(1)]) == {}
    cache.put(key(1), reply(1))
    cache.close()
    assert "no home folder" in cache.broken
    assert list(tmp_path.iterdir()) == []
    assert info("~/x").entries == 0


@pytest.mark.parametrize(
    "change",
    [
        "reply = 'x'",
        "reply = x'00ff'",
        "reply = '[[],null,null,null]'",
        "reply = replace(CAST(reply AS TEXT), '1', '2')",
        "sum = sum + 1",
        "sum = 'x'",
        "key = x'00000000000000000000000000000063'",
    ],
)
def test_a_damaged_entry_is_absent_and_the_others_are_there(path, change):
    fill(path, [1, 2])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE replies SET {change} WHERE id = 1")
        connection.commit()
    cache = Cache(path)
    assert cache.get_many([key(1), key(2), key(0x63)]) == {key(2): reply(2)}
    assert cache.broken is None
    cache.close()


def test_a_file_locked_by_others_is_an_empty_cache(path, impatient):
    fill(path, [1])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        cache = Cache(path)
        assert cache.get_many([key(1)]) == {}
        cache.put(key(2), reply(2))
        cache.flush()
        assert "another process" in cache.broken
        cache.close()
        other.execute("COMMIT")
    assert numbers_in(path, [1, 2]) == [1]


def test_what_cannot_be_written_does_not_end_reading(path, impatient):
    fill(path, [1])
    cache = Cache(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put(key(2), reply(2))
        cache.flush()
        assert "kept" in cache.broken
        assert cache.get_many([key(1), key(2)]) == {key(1): reply(1)}
    cache.put(key(3), reply(3))
    cache.close()
    assert numbers_in(path, [1, 2, 3]) == [1]


@pytest.mark.parametrize("patience", [10.0, 0.01])
def test_a_lock_that_goes_away_costs_nothing(path, monkeypatch, patience):
    monkeypatch.setattr(writer, "_TRY_WAIT", patience)
    fill(path, [1])
    cache = Cache(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put(key(2), reply(2))
        threading.Event().wait(0.3)
        other.execute("COMMIT")
    cache.close()
    assert cache.broken is None
    assert numbers_in(path, [1, 2]) == [1, 2]


def test_a_folder_that_cannot_be_made_is_an_empty_cache(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "replies.sqlite", tmp_path):
        cache = Cache(place)
        cache.put(key(1), reply(1))
        cache.flush()
        assert cache.get_many([key(1)]) == {}
        assert cache.broken is not None
        cache.close()


def test_no_thread_to_be_had_is_no_error(cache, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        cache.put(key(1), reply(1))
    cache.put(key(2), reply(2))
    cache.flush()
    assert "new thread" in cache.broken


# -- the limit ------------------------------------------------------------------

LIMIT = 400_000
SOME = 1000
"""Bytes of a reply; some 260 fit into the limit."""


def refill(path, numbers):
    """Put replies, committed one after the other, into a file with a limit."""
    cache = Cache(path, limit=LIMIT)
    for number in numbers:
        cache.put(key(number), reply(number, SOME // 2))
        if number % 10 == 0:
            cache.flush()
    cache.close()
    assert cache.broken is None


def test_what_was_used_longest_ago_makes_room(path, crowded):
    refill(path, range(1000))
    found = numbers_in(path, range(1000))
    assert 200 < len(found) < 400
    assert found == list(range(1000 - len(found), 1000))
    assert path.stat().st_size < LIMIT * 1.3


def test_what_was_used_within_a_day_stays_while_the_disk_has_room(
    path, clock, monkeypatch
):
    monkeypatch.setattr(database, "_ROOM", 0.0)
    refill(path, range(1000))
    assert numbers_in(path, range(1000)) == list(range(1000))
    clock[0] += 86_401
    refill(path, range(1000, 1100))
    assert numbers_in(path, range(1000, 1100)) == list(range(1000, 1100))
    assert len(numbers_in(path, range(1000))) < 400


def test_reading_an_entry_keeps_it(path, clock, crowded):
    refill(path, range(150))
    clock[0] += 7200
    assert numbers_in(path, range(50)) == list(range(50))
    clock[0] += 7200
    refill(path, range(1000, 1150))
    assert numbers_in(path, range(50)) == list(range(50))
    assert len(numbers_in(path, range(50, 150))) < 100
    assert numbers_in(path, range(1000, 1150)) == list(range(1000, 1150))


def test_reading_again_within_the_hour_writes_nothing(path, clock):
    fill(path, range(10))
    before = path.read_bytes()
    clock[0] += 1800
    numbers_in(path, range(10))
    assert path.read_bytes() == before
    clock[0] += 3600
    numbers_in(path, range(10))
    assert path.read_bytes() != before
    used = datetime.fromtimestamp(clock[0], UTC)
    assert info(path)[3:] == (used, used)


@pytest.mark.parametrize("jump", [-1e9, -5, 3e9])
def test_a_clock_that_jumps_does_not_make_new_answers_the_first_to_go(
    path, clock, jump, crowded
):
    refill(path, range(300))
    clock[0] += jump
    refill(path, range(300, 500))
    assert numbers_in(path, range(300, 500)) == list(range(300, 500))
    clock[0] -= jump
    refill(path, range(500, 700))
    assert numbers_in(path, range(500, 700)) == list(range(500, 700))


def test_a_clock_that_jumps_during_a_run_does_no_harm(path, clock, crowded):
    cache = Cache(path, limit=LIMIT)
    for number in range(700):
        clock[0] += -1e6 if number % 2 else 9e5
        cache.put(key(number), reply(number, SOME // 2))
        if number % 10 == 0:
            cache.flush()
            cache.get_many([key(n) for n in range(number)])
    cache.close()
    assert cache.broken is None
    found = numbers_in(path, range(700))
    assert set(found) >= set(range(600, 700))


def test_a_lower_limit_shrinks_the_file(path, crowded):
    fill(path, range(3000), SOME // 2)
    before = path.stat().st_size
    for number in range(5000, 5020):
        refill(path, [number])
    assert path.stat().st_size < before / 2
    assert numbers_in(path, range(5000, 5020)) == list(range(5000, 5020))


def test_a_limit_of_nothing_keeps_nothing(path, crowded):
    fill(path, range(100), limit=0)
    assert numbers_in(path, range(100)) == []


# -- for people -----------------------------------------------------------------


def test_info_tells_of_a_file_that_is_in_use(path, clock, monkeypatch):
    cache = open_cache(path)
    cache.put(key(1), reply(1))
    cache.flush()
    clock[0] += 100
    cache.put(key(2), reply(2))
    told = info(path)
    assert (told.path, told.entries) == (path, 2)
    assert told.bytes > 4096
    assert (told.newest - told.oldest).total_seconds() == 100
    cache.close()
    assert info(str(path)).bytes == path.stat().st_size


def test_clear_empties_a_file_and_those_who_use_it_go_on(path):
    fill(path, range(500), SOME)
    cache = open_cache(path)
    assert len(cache.get_many([key(n) for n in range(500)])) == 500
    cache.put(key(600), reply(600))
    assert clear(path) == 501
    assert cache.get_many([key(n) for n in range(700)]) == {}
    cache.put(key(1), reply(1))
    cache.close()
    assert cache.broken is None
    assert numbers_in(path, range(700)) == [1]
    assert path.stat().st_size < 40_000
    assert reply(2).choices[0].text.encode() not in path.read_bytes()


def test_a_file_that_is_not_there_is_not_made_by_asking(path):
    assert info(path) == (path, 0, 0, None, None)
    assert clear(path) == 0
    assert not path.parent.exists()


USUAL = Path(platformdirs.user_cache_dir("pandas_llm", appauthor=False))


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        (False, None, None),
        (False, "/somewhere/x", None),
        (True, None, USUAL / "replies.sqlite"),
        (True, "", USUAL / "replies.sqlite"),
        (True, "1", USUAL / "replies.sqlite"),
        (True, "On", USUAL / "replies.sqlite"),
        (True, "0", None),
        (True, "off", None),
        (True, " False ", None),
        (True, "/somewhere/x", Path("/somewhere/x")),
        ("/here/y", "off", Path("/here/y")),
        (Path("/here/y"), "/somewhere/x", Path("/here/y")),
        ("~/y", None, Path("~/y").expanduser()),
        (SCRIPT.parent, None, SCRIPT.parent / "replies.sqlite"),
    ],
)
def test_the_option_and_the_environment_name_the_file(
    monkeypatch, option, environment, expected
):
    monkeypatch.delenv("PANDAS_LLM_CACHE")
    if environment is not None:
        monkeypatch.setenv("PANDAS_LLM_CACHE", environment)
    assert location(option) == expected


FIRST = [
    "import pandas_llm.cache",
    "from pandas_llm.cache import clear, info",
    "import pandas_llm",
    "import pandas_llm.options",
    "import pandas_llm.batch",
    "import pandas_llm._display.tracebacks",
    "import pandas as pd, pandas_llm; pd.Series(['a']).llm",
]
ASKED = """
from pandas_llm.cache import clear, info
told = info()
print(told.path, told.entries, clear(), info().entries)
"""


@posix
@pytest.mark.parametrize("named", [None, "own.sqlite", "off"])
def test_whatever_is_imported_first_the_environment_names_the_file(tmp_path, named):
    folders = [tmp_path / str(number) for number in range(len(FIRST))]
    cases, expected = [], []
    for folder, first in zip(folders, FIRST, strict=True):
        usual = folder / "caches" / "pandas_llm" / "replies.sqlite"
        own = folder / "own.sqlite"
        fill(usual, range(3), SOME)
        fill(own, range(5), SOME)
        more = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "caches")}
        if named is not None:
            more["PANDAS_LLM_CACHE"] = "off" if named == "off" else str(own)
        cases.append((first + ASKED, more))
        told = {None: f"{usual} 3 3 0", "own.sqlite": f"{own} 5 5 0"}
        expected.append(told.get(named, "None 0 0 0") + "\n")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    environment.pop("PANDAS_LLM_CACHE")
    done = subprocess.run(
        [sys.executable, SCRIPT.with_name("first_import.py"), json.dumps(cases)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == expected, done.stderr
    for folder in folders:
        usual = folder / "caches" / "pandas_llm" / "replies.sqlite"
        assert info(usual).entries == (0 if named is None else 3)
        assert info(folder / "own.sqlite").entries == (
            0 if named == "own.sqlite" else 5
        )


# -- processes ------------------------------------------------------------------


@posix
def test_kill_9_takes_at_most_the_last_200_ms_and_harms_no_file(tmp_path):
    assert run("kill", tmp_path) == [0, 0, 0, 0]
    moments = 0
    for path in sorted(tmp_path.glob("*.sqlite")):
        lines = Path(f"{path}.log").read_text().splitlines()
        put = {int(line.split()[0]): float(line.split()[1]) for line in lines}
        found = set(numbers_in(path, list(put)))
        for number, killed in enumerate(json.loads(Path(f"{path}.killed").read_text())):
            own = [n for n in put if n // 100_000 == number]
            kept = [n for n in own if n in found]
            assert kept == own[: len(kept)]  # in order, without a hole
            assert [n for n in own if put[n] < killed - LOST and n not in found] == []
            moments += 1
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert moments >= 20


@posix
def test_processes_make_and_fill_one_file_together(tmp_path):
    assert run("two", tmp_path) == [0, 0, 0, 0]
    path = tmp_path / "replies.sqlite"
    assert numbers_in(path, range(4000)) == list(range(4000))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@posix
def test_a_forked_child_works_with_connections_of_its_own(tmp_path):
    told = run("fork", tmp_path)
    assert told == {"codes": [0] * 21, "found": 23, "broken": None}
    with closing(sqlite3.connect(tmp_path / "replies.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@posix
def test_a_full_disk_keeps_what_was_written_and_ends_nothing(tmp_path):
    told = run("full", tmp_path)
    assert "disk" in told["broken"]
    assert told["right"]
    assert 0 < told["found"] < 2000
    path = tmp_path / "replies.sqlite"
    assert numbers_in(path, range(2000)) == list(range(told["found"]))


@posix
def test_what_may_not_be_written_is_broken_once_and_still_read():
    with tempfile.TemporaryDirectory() as folder:
        told = run("read_only", folder)
    for place, found in (("file", 10), ("folder", 10), ("new", 0)):
        assert "no more replies are kept" in told[place]["broken"]
        assert told[place]["found"] == found
