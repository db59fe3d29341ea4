"""The command line: real processes over real files, signals and exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from batch_between import Between, first
from loopback_server import Server, completion

import pandas_llm
from pandas_llm import options
from pandas_llm.__main__ import main
from pandas_llm._cli.commands import EXIT_CODES, parse_keys

ROOT = Path(pandas_llm.__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "command-line.md").read_text()
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
CSV = """\
id,city,text
007,Oslo,"Oslo lies on a fjord. It is the capital, of Norway."
008,Nowhere,
009,Rome,Rome is old.
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Be in a folder with docs.csv, and a cache of its own."""
    (tmp_path / "docs.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANDAS_LLM_CACHE", str(tmp_path / "kept.sqlite"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def start(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "pandas_llm", *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **more,
    )


def command(*words, given=None):
    process = start(*words)
    out, said = process.communicate(given, timeout=50)
    assert "Traceback" not in said, said
    return process.returncode, out, said


@pytest.fixture
def run_main(capfd):
    """Run a command in this process; returned are its code and what it wrote."""

    def run(*words):
        capfd.readouterr()
        code = main([*map(str, words)])
        return code, *capfd.readouterr()

    return run


def at(server):
    return ("--model", "sim", "--base-url", server.base_url)


def lines(text):
    return [json.loads(line) for line in text.split("\n") if line]


# -- from file to file ----------------------------------------------------------


def test_generate_explodes_a_csv_and_keeps_its_cells(folder, simulator):
    code, out, said = command(
        *("generate", "docs.csv", "-o", "facts.csv", "-t", "Facts of ${text}"),
        *("--keys", "fact,score:int,tone:good|bad,tags:list", *at(simulator())),
    )
    assert (code, out) == (0, "")
    table = pd.read_csv(folder / "facts.csv", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == [
        *("id", "city", "text", "fact", "score", "tone", "tags")
    ]
    assert set(table["id"]) == {"007", "008", "009"}
    assert (table["id"] == "007").sum() > 1
    assert table.loc[table["id"] == "008", "fact"].tolist() == [""]
    answered = table[table["fact"] != ""]
    assert answered["score"].str.fullmatch(r"-?\d+").all()
    assert answered["tone"].isin(["good", "bad"]).all()
    assert all(isinstance(json.loads(cell), list) for cell in answered["tags"])
    assert f"3 rows became {len(table)} in facts.csv; 2 requests" in said


def test_conversations_of_a_file_are_asked_with_a_template_or_without(
    folder, simulator, run_main
):
    server = simulator()
    turns = [{"role": "user", "content": "Hi"}]
    rows = [{"id": 1, "said": turns}, {"id": 2, "said": None}]
    (folder / "chats.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    pd.DataFrame({"said": [json.dumps(turns)], "few": ['[["Q", "A"]]']}).to_csv(
        folder / "chats.csv", index=False
    )
    code, out, _ = run_main(
        *("complete", "chats.jsonl", "--messages", "said", "-q", *at(server))
    )
    assert code == 0
    assert [row["completion"] for row in lines(out)] == ["[simulated] Hi", None]
    words = ("complete", "chats.csv", "-t", "So?", "--messages", "said")
    code, out, _ = run_main(*words, "--examples", "few", "-q", *at(server), "--preview")
    assert out == "--- row 0\nturns: user: Q\nassistant: A\nuser: Hi\n\nSo?\n"
    code, out, _ = run_main(*words, "--examples", "few", "-q", *at(server))
    assert (code, server.stats()["requests"]) == (0, 2)
    said = [t["content"] for t in server.requests()[-1]["body"]["messages"]]
    assert said == ["Q", "A", "Hi", "So?"]
    code, out, _ = run_main(*words, "--examples", '[["R", "B"]]', "-q", *at(server))
    said = [t["content"] for t in server.requests()[-1]["body"]["messages"]]
    assert said == ["R", "B", "Hi", "So?"]


def test_commands_make_a_pipe_of_json_lines(folder, simulator):
    rows = [{"id": 1, "deep": {"a": [1]}, "big": 2**70, "text": "Ähre\u2028. One."}]
    server = simulator()
    code, out, said = command(
        *("complete", "-", "-t", "About ${text}", "-q", *at(server)),
        given="".join(json.dumps(row) + "\n\n" for row in rows),
    )
    assert (code, said) == (0, "")
    assert lines(out)[0]["completion"].startswith("[simulated]")
    code, out, _ = command(
        *("extract", "-", "-t", "Of ${completion}", "--keys", "n:int", *at(server)),
        given=out,
    )
    assert code == 0
    (row,) = lines(out)
    assert isinstance(row.pop("n"), int)
    del row["completion"]
    assert row == rows[0]


def test_a_csv_as_standard_input_is_told_what_is_read(run_main, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"text\nhi\n")))
    code, _, said = run_main("complete", "-", "-t", "Of ${text}", "--model", "sim")
    assert code == 2
    assert "standard input (JSON Lines), line 1 is not JSON" in said


def test_classify_writes_parquet_with_its_dtypes(folder, simulator, run_main):
    (folder / "prompt.txt").write_text("Topic of ${text}")
    code, _, said = run_main(
        *("classify", "docs.csv", "-o", "out.parquet", "-t", "prompt.txt"),
        *("--labels", '{"sea": "ships", "land": "hills"}', "--n", 3, "--confidence"),
        *at(simulator()),
    )
    assert code == 0, said
    table = pd.read_parquet(folder / "out.parquet")
    assert table["label"].cat.categories.tolist() == ["sea", "land"]
    assert table["confidence"].dtype == "Float64"
    assert table["label"].isna().tolist() == [False, True, False]


def test_the_share_of_the_votes_goes_by_the_name(folder, simulator):
    words = ("classify", "docs.csv", "-t", "Of ${text}", "--labels", "sea,land")
    server = simulator()
    more = ("--confidence", "--name", "topic", "-o", "out.csv", *at(server))
    assert main([*words, *more]) == 0
    names = ["topic", "topic_confidence"]
    assert pd.read_csv(folder / "out.csv").columns[-2:].tolist() == names
    before = server.stats()["requests"]
    assert main([*words, *more, "--error-column", "topic_confidence"]) == 2
    assert server.stats()["requests"] == before


def test_a_parquets_index_becomes_a_column(folder, simulator, capfd):
    table = pd.DataFrame({"text": ["One.", "Two."]}, index=pd.Index([5, 5], name="k"))
    table.to_parquet("in.parquet")
    words = ("complete", "in.parquet", "-o", "out.jsonl", "-t", "${text}", "-q")
    assert main([*words, "--no-progress", *at(simulator())]) == 0
    assert [row["k"] for row in lines(Path("out.jsonl").read_text())] == [5, 5]


def test_options_of_the_run_are_flags_that_arrive(folder, capfd):
    both = {"prompt_tokens": 7, "completion_tokens": 9}
    with Server(lambda _: completion("Fine.", **both)) as server:
        code = main(
            [
                *("complete", "docs.csv", "-t", "About $text", "-o", "o.jsonl"),
                *("--model", "openai/m", "--base-url", server.base_url),
                *("--system", "Be ${tone}.", "--values", "tone=brief", "--n", "2"),
                *("--temperature", "0.5", "--max-tokens", "77", "--stop", "END"),
                *("--extra", "top_k=5", "--extra", '{"min_p": 0.1}', "--details"),
                *("--examples", '[["Q", "A"]]', "--headers", "X-Team=a=b"),
                *("--prices", "m=1,2", "--na-action", "none", "--error-column", "why"),
            ]
        )
    assert code == 0
    body = server.bodies[0]
    assert [message["content"] for message in body["messages"]] == [
        *(
            "Be brief.",
            "Q",
            "A",
            "About Oslo lies on a fjord. It is the capital, of Norway.",
        )
    ]
    assert (body["model"], body["temperature"], body["n"]) == ("m", 0.5, 2)
    assert (body["max_completion_tokens"], body["stop"]) == (77, ["END"])
    assert (body["top_k"], body["min_p"]) == (5, 0.1)
    assert server.headers[0]["X-Team"] == "a=b"
    rows = lines((folder / "o.jsonl").read_text())
    assert [row["completion"] for row in rows] == ["Fine."] * 3
    assert {"llm_text", "why"} <= rows[0].keys()
    assert re.search(r"3 rows became 3 in o.jsonl; .*\$\d", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (("--details", "raw"), "llm_raw"),
        (("--details=raw",), "llm_raw"),
        (("--details",), "llm_service_tier"),
        (("--details", "raw", "--no-details"), "completion"),
    ],
    ids=str,
)
def test_details_are_a_flag_or_a_word(folder, simulator, words, last):
    given = ("complete", "docs.csv", "-t", "${text}", "-o", "o.csv", "-q")
    assert main([*given, *words, "--no-progress", *at(simulator())]) == 0
    assert pd.read_csv("o.csv").columns[-1] == last


def test_no_other_word_is_one_of_details(folder, simulator, capsys):
    server = simulator()
    with pytest.raises(SystemExit) as ended:
        main(["complete", "--details", "docs.csv", "-t", "${text}", *at(server)])
    assert ended.value.code == 2
    assert "--details: invalid choice: 'docs.csv'" in capsys.readouterr().err
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize("flag", ["--service-tier", "--na-action"])
def test_words_are_shown_as_they_are_typed(capsys, flag):
    with pytest.raises(SystemExit):
        main(["complete", "docs.csv", "-o", "o.csv", "-t", "x", flag, "None"])
    said = capsys.readouterr().err.rpartition("choose from ")[2]
    assert said
    assert "None" not in said


def test_none_as_a_word_is_none(folder, simulator):
    pd.DataFrame({"text": ["a", None]}).to_csv("gaps.csv", index=False)
    given = ("complete", "gaps.csv", "-t", "Say ${text}", "-o", "o.csv", "-q")
    words = ("--na-action", "none", "--service-tier", "none", "--no-progress")
    assert main([*given, *words, *at(server := simulator())]) == 0
    assert server.stats()["requests"] == 2


def test_flags_come_from_the_table_of_options(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.replace("-\n", "-").split())
    for name, option in options.listed(options.ExplodeOptions).items():
        assert (f"--{name.replace('_', '-')}" in shown) == option.flag, name
        says = option.says.replace("`", "").replace("None", "none")
        assert (says in words) == option.flag, name
    hidden = {name for name, option in options.OPTIONS.items() if not option.flag}
    assert hidden == {"api_key", "session", "loop", "on_row"}
    assert "--api-key" not in shown
    assert "exit codes" in shown
    assert re.search(
        r"--request-timeout N\s+Seconds for a request. By default 600", shown
    )


# -- nothing is sent ------------------------------------------------------------


def test_preview_shows_the_prompts_and_needs_no_key(folder, run_main):
    code, out, said = run_main(
        *("generate", "docs.csv", "-t", "Facts of ${text}", "--keys", "fact"),
        *("--system", "For ${city}.", "--preview", "--rows", 1),
    )
    assert (code, said) == (0, "")
    assert out == (
        "--- row 0\nsystem: For Oslo.\n\nFacts of Oslo lies on a fjord. It is the "
        "capital, of Norway.\n"
    )


def test_estimate_tells_tokens_and_cost(folder, simulator, capsys):
    server = simulator()
    words = ("complete", "docs.csv", "-t", "Of ${text}", "--prices", "sim=1,2")
    assert main([*words, "--estimate", *at(server)]) == 0
    assert re.search(r"requests to send +2\n", capsys.readouterr().out)
    assert server.stats()["requests"] == 0
    assert main([*words, "--estimate", "--pilot", "1", *at(server)]) == 0
    assert "$" in capsys.readouterr().out
    assert server.stats()["requests"] == 1


WRONG = [
    ("extract docs.csv -t ${txt} --keys a", "did you mean ${text}?"),
    ("extract docs.csv -t ${text} --keys a:itn", "did you mean int?"),
    ("extract docs.csv -t ${text} --keys a,,b", "has the name ''"),
    ("extract docs.csv -t ${text} --keys a,a", "a name twice"),
    ("extract docs.csv -t ${text} --keys city", "has a column 'city' already"),
    ("extract docs.csv -t ${text} --keys a --modl m", "did you mean --model?"),
    ("extract docs.csv -t {text} --keys a", "write ${text}"),
    ("extract docs.csv -t ${text} --keys a --max-workers 4", "write --concurrency"),
    ("extract docs.csv -t ${text} --keys a --timeout 4", "write --request-timeout"),
    ("extract docs.csv -t ${text} --keys a=int", "has the name 'a=int'; write"),
    ("extract docs.csv -t ${text} --keys a --n 2", "n must be 1"),
    ("complete docs.csv -t ${text} --max-cost 1 --no-cache", "pass --prices '"),
    ("complete docs.csv -t ${text} --temperature hot", "--temperature must be a"),
    ("complete docs.csv -t ${text} --model gpt-5", "set OPENAI_API_KEY\n"),
    ("extract docs.csv -t ${text} --keys a --max-r 2", "unrecognized argument"),
    ("extract docs.csv -t ${text} --keys a --concurrency fast", "'auto' or a whole"),
    ("extract docs.csv -t ${text} --keys a --values x", "NAME=VALUE or a JSON"),
    ("extract docs.csv -t ${text} --keys a --na-action x", "--na-action"),
    ("extract docs.csv -t ${text} --keys a -o docs.csv", "OUTPUT is INPUT"),
    ("extract docs.csv -t ${text} --keys a -o x/a.csv", "the folder x is not there"),
    ("extract docs.csv -t ${text} --keys a -o a.xls", "the ending must be .csv"),
    ("extract docs.csv -t ${text} --keys a -o folder.csv", "not a file that can be"),
    ("extract docs.csv -t missing.txt --keys a", "there is no file missing.txt"),
    ("extract nothing.csv -t ${text} --keys a", "nothing.csv: No such file"),
    ("extract docs.txt -t ${text} --keys a", "the ending must be .csv"),
    ("extract bad.jsonl -t ${text} --keys a", "bad.jsonl, line 2 is not JSON"),
    ("extract list.jsonl -t ${text} --keys a", "line 1 is not a JSON object"),
    ("extract empty.csv -t ${text} --keys a", "empty.csv is empty"),
    ("extract wide.csv -t ${text} --keys a", "wide.csv is not a CSV"),
    ("extract latin.csv -t ${text} --keys a", "latin.csv is not text in UTF-8"),
    ("extract bad.parquet -t ${text} --keys a", "arquet"),
    ("extract mixed.jsonl -t ${text} --keys a -o o.parquet", "Parquet cannot hold"),
    ("classify docs.csv -t ${text} --labels {", "Expecting"),
    ("complete docs.csv -t ${text} --name city", "has a column 'city' already"),
    ("complete docs.csv -t ${text} --model m", "pass --base-url 'http://localhost"),
    ("complete docs.csv -t {text}", "pass --values 'braces={text}'"),
    ("extract docs.csv -t ${text} --keys city", "pass --overwrite to replace it"),
    ("complete docs.csv", "required: -t/--template"),
    ("summarize docs.csv", "invalid choice"),
]


@pytest.fixture
def bad_files(folder):
    for name, content in {
        "bad.jsonl": b'{"text": "a"}\n{"text": \n',
        "list.jsonl": b"[1]\n",
        "empty.csv": b"",
        "wide.csv": b"text,b\n1,2\n1,2,3,4\n",
        "latin.csv": b"text\n\xe4\n",
        "bad.parquet": b"PAR1 no",
        "mixed.jsonl": b'{"text": "a", "x": 1}\n{"text": "b", "x": "c"}\n',
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder.csv").mkdir()
    return folder


@pytest.mark.parametrize(("words", "told"), WRONG, ids=[words for words, _ in WRONG])
def test_what_is_wrong_is_said_before_anything_is_sent(
    words, told, bad_files, simulator, capsys
):
    server = simulator()
    before = sorted(bad_files.iterdir())
    given = shlex.split(words)
    if "--model" not in given:
        given += at(server)
    try:
        code = main(given)
    except SystemExit as ended:
        code = ended.code
    out, said = capsys.readouterr()
    assert (code, out) == (2, "")
    assert told in said
    assert server.stats()["requests"] == 0
    assert sorted(bad_files.iterdir()) == before


def test_a_table_without_rows_costs_nothing(folder, simulator, capfd):
    server = simulator()
    (folder / "none.csv").write_text("text\n")
    (folder / "none.jsonl").write_text("")
    words = ["extract", "none.csv", "-o", "o.csv", "-t", "${text}", "--keys", "a"]
    assert main([*words, *at(server)]) == 0
    assert (folder / "o.csv").read_text() == "text,a\n"
    words[1:4] = ["none.jsonl", "-o", "o.jsonl"]
    assert main([*words, *at(server)]) == 0
    assert (folder / "o.jsonl").read_text() == ""
    assert server.stats()["requests"] == 0


def test_parse_keys_reads_every_type():
    keys = parse_keys("a, b:str ,c:float?,d:list[int],e:x|y?,f:datetime,g:bool")
    assert keys["a"] is keys["b"] is str
    assert keys["c"] == float | None
    assert keys["d"] == list[int]
    plan = pandas_llm.Plan("x", keys, verb="extract")
    empty = plan(pd.DataFrame({"t": []}))
    assert str(empty["e"].dtype) == "category"


# -- when something fails -------------------------------------------------------


def test_failed_rows_are_empty_told_and_asked_again(folder, simulator, run_main):
    server = simulator(fail_if={"Rome": "refusal"})
    words = ("extract", "docs.csv", "-o", "o.csv", "-t", "${text}", "--keys", "fact")
    code, _, said = run_main(*words, *at(server))
    assert code == 1
    assert re.search(r"row 2 failed \(refusal\): ", said)
    assert "1 of 3 rows failed; they are empty in OUTPUT" in said
    table = pd.read_csv(folder / "o.csv", dtype=str)
    assert table["fact"].isna().tolist() == [False, True, True]
    server.configure(fail_if={})
    code, _, said = run_main(*words, *at(server))
    assert code == 0
    assert "1 request, 1 row from the cache" in said
    assert pd.read_csv(folder / "o.csv")["fact"].isna().tolist() == [False, True, False]


def test_a_remark_is_a_warning_on_stderr(folder, simulator, capfd):
    server = simulator(reject_params=("temperature",))
    words = ("complete", "docs.csv", "-t", "${text}", "--temperature", "1", *at(server))
    assert main([*words, "-q"]) == 0
    assert re.search(r"^pandas-llm: warning: .*temperature", capfd.readouterr().err)


def test_an_error_that_all_rows_share_leaves_the_old_output(
    folder, simulator, run_main
):
    (folder / "o.csv").write_text("old")
    server = simulator(api_key="sk-right")
    code, _, said = run_main(
        *("complete", "docs.csv", "-o", "o.csv", "-t", "${text}", *at(server))
    )
    assert code == 3
    assert "Check the key" in said
    assert (folder / "o.csv").read_text() == "old"
    assert server.stats()["requests"] == 1


@pytest.fixture
def many(folder):
    rows = [json.dumps({"text": f"Fact number {i}."}) for i in range(600)]
    (folder / "many.jsonl").write_text("\n".join(rows))
    return folder


def interrupted(server, *words):
    process = start(*words, *at(server))
    until = time.monotonic() + 30
    while server.stats()["answered"] < 60:
        assert time.monotonic() < until, "nothing to interrupt"
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said


@posix
def test_ctrl_c_keeps_what_was_answered_and_the_same_command_goes_on(many, simulator):
    server = simulator(latency=0.1)
    words = ("complete", "many.jsonl", "-o", "o.jsonl", "-t", "Repeat: ${text}")
    said = interrupted(server, *words, "--concurrency", 20)
    done = int(re.search(r"interrupted\n(\d+) of 600 rows were done", said)[1])
    assert done >= 40
    assert "the same command goes on from there" in said
    assert sorted(path.name for path in many.glob("[!k]*")) == [
        *("docs.csv", "many.jsonl")
    ]
    server.configure(latency=0)
    code, _, said = command(*words, *at(server))
    assert code == 0
    cached = int(re.search(r"(\d+) rows from the cache", said)[1])
    assert cached >= done
    rows = lines((many / "o.jsonl").read_text())
    assert [row["completion"][12:] for row in rows] == [row["text"] for row in rows]
    assert server.stats()["requests"] <= 600 + 20


@posix
def test_ctrl_c_while_a_batch_is_created_says_what_may_exist(folder, simulator):
    commands = []

    async def interrupt(_):
        commands[0].send_signal(signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError

    with Between(simulator(), after=first("create", interrupt)) as between:
        words = ("complete", "docs.csv", "-o", "o.csv", "-t", "${text}", "--batch")
        there = ("--model", "openai/sim", "--base-url", between.base_url)
        key = {**os.environ, "OPENAI_API_KEY": "k"}
        commands.append(start(*words, *there, env=key))
        _, said = commands[0].communicate(timeout=60)
    assert commands[0].returncode == 130, said
    assert "interrupted\n1 of 3 rows were done" in said  # the one without text
    assert re.search(r"A batch of \d requests may exist", said)
    assert "The same call looks for it" in said
    assert between.base_url in said


@posix
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_ctrl_c_without_a_cache_writes_what_was_answered(ending, many, simulator):
    server = simulator(latency=0.1)
    words = ("complete", "many.jsonl", "-o", f"o.b{ending}", "-t", "Repeat: ${text}")
    said = interrupted(server, *words, "--no-cache", "--concurrency", 20)
    assert f"the answers are in o.b.partial{ending}" in said
    rows = pd.read_json(many / f"o.b.partial{ending}", lines=True)
    assert len(rows) == 600
    assert rows["completion"].notna().sum() >= 40
    assert not (many / f"o.b{ending}").exists()


@pytest.mark.parametrize("more", [(), ("--no-cache",)], ids=["cache", "no cache"])
def test_an_output_that_cannot_be_written_loses_nothing(more, many, simulator):
    server = simulator(latency=0.05)
    (many / "gone").mkdir()
    words = ("complete", "many.jsonl", "-o", "gone/o.jsonl", "-t", "${text}", *more)
    process = start(*words, *at(server))
    until = time.monotonic() + 30
    while server.stats()["answered"] < 1:
        assert time.monotonic() < until
        time.sleep(0.02)
    (many / "gone").rmdir()
    _, said = process.communicate(timeout=50)
    assert process.returncode == 3
    assert "gone/o.jsonl could not be written" in said
    assert "Traceback" not in said
    if more:
        place = Path(re.search(r"the answers are in (.*)", said)[1])
        assert len(lines(place.read_text())) == 600
        return
    assert "the same command goes on from there" in said
    (many / "gone").mkdir()
    before = server.stats()["requests"]
    assert main([*words, "-q", "--no-progress", *at(server)]) == 0
    assert server.stats()["requests"] == before


def test_a_reader_that_goes_away_is_no_traceback(many, simulator):
    process = start("complete", "many.jsonl", "-t", "${text}", *at(simulator()))
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(timeout=50)
    assert process.returncode == 3
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_the_exit_codes_stand_on_the_page():
    for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE):
        assert re.search(rf"^\| {code} \|", PAGE, re.MULTILINE), code


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_pages_commands_run_as_they_stand_there(folder):
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    (folder / "prompt.txt").write_text("Facts of ${text}")
    module = f'pandas-llm() {{ "{sys.executable}" -m pandas_llm "$@"; }}'
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join([module, *blocks])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in (
        "faq.jsonl",
        "facts.parquet",
        "topics.csv",
        "rephrased.jsonl",
        "about.csv.gz",
        "vectors.parquet",
        "parts.tsv",
        "page.html",
        "run.html",
    ):
        assert (folder / name).stat().st_size, name
    assert "--- row 0" in done.stdout
    assert "requests to send" in done.stdout
    assert "kept.sqlite" in done.stdout


# -- the cache ------------------------------------------------------------------


def test_the_cache_is_shown_and_cleared_after_a_yes(folder, simulator, run_main):
    words = ["complete", "docs.csv", "-t", "${text}", "-q", "-o", "o.csv"]
    assert run_main(*words, *at(simulator()))[0] == 0
    code, out, _ = run_main("cache", "info")
    assert code == 0
    assert str(folder / "kept.sqlite") in out
    assert re.search(r"replies +2\n", out)
    code, out, said = command("cache", "clear", given="")
    assert (code, out) == (2, "")
    assert "--yes" in said
    code, out, _ = run_main("cache", "clear", "--yes")
    assert (code, out) == (0, "2 replies forgotten\n")
    code, _, said = run_main("cache", "info", "--file", folder / "docs.csv")
    assert code == 1
    assert "docs.csv" in said


def test_a_cache_that_is_off_is_said_to_be_none(capsys):
    assert main(["cache", "info"]) == 0
    assert "PANDAS_LLM_CACHE" in capsys.readouterr().out
    assert main(["cache", "clear", "--yes"]) == 0
    assert "forgotten" not in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{pandas_llm.__version__}\n"


def test_the_script_is_the_module(folder):
    script = Path(sys.executable).with_name("pandas-llm")
    if not script.exists():
        pytest.skip("the package is not installed here, only on the path")
    done = subprocess.run(
        [script, "--help"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.startswith("usage: pandas-llm ")


def test_a_port_that_cannot_be_is_a_message(capsys):
    assert main(["simulate", "--port", "99999"]) == 2
    assert "pandas-llm: bind(): port must be 0-65535" in capsys.readouterr().err
