"""What bounds the read side: how long a question may take, how long an answer may be; and what it says while it cannot answer."""
import contextlib
import os
import signal
import sqlite3

import pytest

from harness import default_config, kill_pid, processes, wait_until
from http_help import Client, ask, request_bytes
from serve_help import identity, make_letters, problem, serve_address, serve_config, write_tokens

ROWS = 200000
COPY = """INSERT INTO postback (id, state, owner, due_ms, endpoint, origin, method, arrival_ns, source, source_port, attempts, first_ms, dead_ms,
 reason, url, data, history)
 WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
 SELECT printf('%032x', n), state, owner, due_ms, endpoint, origin, method, arrival_ns, source, source_port, attempts, first_ms, dead_ms,
 reason, url, data, history FROM postback, number"""


def metric(one, name):
    return one.stage("serve.0")["metrics"][name]


def letters_config(tmp_path, **serve):
    config = default_config(tmp_path)
    config["deliver"] = {"processes": 0}
    return serve_config(tmp_path, config, **serve)


def change_letters(tmp_path, statement, *arguments):
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "deliver.db")) as db, db:
        db.execute(statement, arguments)


@pytest.mark.limit(120)
def test_a_question_that_takes_too_long_is_ended_and_counted(instance, tmp_path):
    make_letters(tmp_path / "data", 1)
    change_letters(tmp_path, COPY, ROWS)
    one = instance(config=letters_config(tmp_path, query_timeout="50ms"))
    address = serve_address(one)
    for _ in range(3):
        reply = ask(address, "GET", "/dead?reason=nothing_has_it")
        assert "serve.query_timeout" in problem(reply, 503) and reply.headers["retry-after"] == "5"
    # One that asks for less is answered, on a machine with time for it.
    late = []

    def answered():
        reply = ask(address, "GET", "/dead?limit=3")
        if reply.status != 200:
            late.append(problem(reply, 503))
        return reply.status == 200 and len(reply.json()["letters"]) == 3

    wait_until(answered, 20, "an answer")
    wait_until(lambda: metric(one, "query_timeouts") == 3 + len(late), 10, "the count")
    assert one.stage("serve.0")["restarts"] == 0


@pytest.mark.limit(120)
def test_a_page_ends_where_the_answer_is_full_and_one_letter_that_is_too_long_is_told(instance, tmp_path):
    make_letters(tmp_path / "data", 12)
    change_letters(tmp_path, "UPDATE postback SET reason = ?", "r" * 20000)
    change_letters(tmp_path, "UPDATE postback SET reason = ? WHERE id = ?", "r" * 100000, identity(1))  # the oldest
    one = instance(config=letters_config(tmp_path, max_answer="64KiB"))
    with Client(serve_address(one)) as client:
        seen, after, pages = [], "", 0
        while len(seen) < 11:
            reply = client.ask("GET", f"/dead?limit=1000{after}")
            assert reply.status == 200 and 20000 < len(reply.body) <= 65536, reply
            page = reply.json()
            seen += [letter["id"] for letter in page["letters"]]
            after = f"&after={page['next']}"
            pages += 1
        assert seen == [identity(n) for n in range(12, 1, -1)] and pages == 4  # three fit
        assert "serve.max_answer" in problem(client.ask("GET", f"/dead?limit=1000{after}"), 500)
        assert "serve.max_answer" in problem(client.ask("GET", f"/dead/{identity(1)}"), 500)
        assert client.ask("GET", f"/dead/{identity(2)}").status == 200
        assert [letter["id"] for letter in client.ask("GET", "/dead?limit=2").json()["letters"]] == seen[:2]


def ready(address):
    return ask(address, "GET", "/readyz")


@pytest.mark.limit(120)
def test_an_instance_is_not_ready_while_a_stage_is_down(instance, tmp_path):
    one = instance(config=serve_config(tmp_path))
    address = serve_address(one)
    wait_until(lambda: ready(address).status == 200, 20, "readiness")
    tally = one.pid_of("tally.0")
    os.kill(one.process.pid, signal.SIGSTOP)  # it cannot make another one
    try:
        kill_pid(tally)
        wait_until(lambda: ready(address).status == 503, 20, "no readiness")
        assert problem(ready(address), 503) == "tally.0 is dead"
        assert ask(address, "GET", "/healthz").status == 200
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    wait_until(lambda: ready(address).status == 200, 20, "readiness again")


@pytest.mark.limit(120)
def test_an_instance_is_not_ready_once_its_supervisor_is_dead(instance, tmp_path):
    """The stages end after it: the last that a client hears is 503, or the end of its connection."""
    one = instance(config=serve_config(tmp_path))
    with Client(serve_address(one)) as client:
        wait_until(lambda: client.ask("GET", "/readyz").status == 200, 20, "readiness")
        pid = one.pid_of("serve.0")
        processes.pause(pid)
        try:
            one.kill()
            client.send(request_bytes("GET", "/readyz"))
        finally:
            processes.resume(pid)
        with contextlib.suppress(EOFError, ConnectionResetError):
            assert problem(client.reply(), 503) in ("draining", "the supervisor is gone")
    one.start()
    wait_until(lambda: ready(serve_address(one)).status == 200, 20, "readiness again")


@pytest.mark.limit(120)
def test_tokens_that_cannot_be_read_at_the_start_open_nothing_until_they_can(instance, tmp_path):
    token = "reader-token-0123456789"
    read_file = tmp_path / "read"
    write_tokens(read_file, token)
    one = instance(config=serve_config(tmp_path, read_tokens=str(read_file)))
    pid = one.pid_of("serve.0")

    def status(path, *fields):
        return ask(serve_address(one), "GET", path, None, *fields).status

    bearer = f"Authorization: Bearer {token}"
    assert status("/sinks", bearer) == 200
    write_tokens(read_file, "short")
    kill_pid(pid)
    wait_until(lambda: one.pid_of("serve.0") not in (0, pid) and one.stage("serve.0")["state"] == "running", 20, "the next life")
    refused = ask(serve_address(one), "GET", "/sinks", None, bearer)
    assert "tokens" in problem(refused, 503) and refused.headers["retry-after"] == "1"
    assert status("/sinks") == 503 and status("/healthz") == 200
    assert any(file["refusal"] for file in one.stage("serve.0")["files"])
    write_tokens(read_file, token)
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status("/sinks", bearer) == 200, 20, "the token")
    assert status("/sinks") == 401
