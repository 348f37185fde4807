"""Postbacks go out: what is sent, when it is sent again, and what becomes of what cannot be delivered."""
import contextlib
import json
import re
import sqlite3
import subprocess
import time
import urllib.parse

import pytest

from deliver_help import (ID, Database, Receiver, Silent, accept, deliver_config, die_at, free_port, kill_role, queue_counts, stage_metric,
                          wait_dead, wait_stage_metric)
from harness import MILLRACE, SLOW, wait_until
from http_help import events

HEX32 = re.compile(r"[0-9a-f]{32}")


def test_the_example_arrives_exactly_as_it_is_written(instance, tmp_path):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        data = [{"mascot": "Gopher", "location": "https://blog.golang.org/gopher/gopher.png"}]
        accept(millrace, receiver.url("/data?title={mascot}&image={location}&foo={bar}"), data)
        request = receiver.wait(1)[0]
        assert (request.method, request.path, request.body) == (
            "GET", "/data?title=Gopher&image=https%3A%2F%2Fblog.golang.org%2Fgopher%2Fgopher.png&foo=", b"")
        assert HEX32.fullmatch(request.headers[ID])
        assert re.fullmatch(r"millrace/\S+", request.headers["user-agent"])
        assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert "content-length" not in request.headers and "content-type" not in request.headers
        wait_stage_metric(millrace, "delivered", 1)
        assert queue_counts(millrace)["free"] == 4096


@pytest.mark.parametrize("sender, no_connection", [("auto", "cannot connect"), ("curl", "Failed to connect")])
def test_methods_and_bodies_by_either_sender(instance, tmp_path, sender, no_connection):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(
            tmp_path, sender=sender, unmatched="none", endpoints=[{"match": receiver.url("/json"), "body": "json"}]))
        data = {"name": "a b&c", "n": 1.50, "yes": True, "nothing": None, "list": [1, "x"], "ü": "é"}
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            accept(millrace, receiver.url(f"/form/{method}?n={{n}}&missing={{missing}}"), [data], method)
        accept(millrace, receiver.url("/json/POST"), [data], "POST")
        seen = {request.path.partition("?")[0]: request for request in receiver.wait(6)}
        for method in ("GET", "DELETE"):
            request = seen[f"/form/{method}"]
            assert (request.method, request.path, request.body) == (method, f"/form/{method}?n=1.5&missing=none", b"")
        for method in ("POST", "PUT", "PATCH"):
            request = seen[f"/form/{method}"]
            assert request.method == method and request.headers["content-type"] == "application/x-www-form-urlencoded"
            assert urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True) == [
                ("name", "a b&c"), ("n", "1.5"), ("yes", "true"), ("nothing", ""), ("list", '[1,"x"]'), ("ü", "é")]
        request = seen["/json/POST"]
        assert request.headers["content-type"] == "application/json" and json.loads(request.body) == data
        wait_stage_metric(millrace, "delivered", 6)
        # nothing but their words tells them apart
        accept(millrace, f"http://127.0.0.1:{free_port()}/", [{}])
        wait_until(lambda: any(event.get("error", "").startswith(no_connection) for event in events(millrace, "delivery")), 10, no_connection)


def test_connections_are_kept(instance, tmp_path):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path, per_host={"connections": 4}))
        for i in range(20):
            accept(millrace, receiver.url("/{n}"), [{"n": i}])
            receiver.wait(i + 1)
        accept(millrace, receiver.url("/{n}"), [{"n": i} for i in range(200)])
        receiver.wait(220)
        assert receiver.connections <= 4


def test_a_postback_leaves_within_milliseconds_when_all_was_quiet(instance, tmp_path):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        took = []
        for i in range(12):
            time.sleep(0.1)
            begun = time.time()
            accept(millrace, receiver.url(f"/{i}"), [{}])
            took.append(receiver.wait(i + 1)[-1].at - begun)
        assert sorted(took)[len(took) // 2] < 0.03 * SLOW, took


def test_what_fails_is_sent_again_with_the_same_id_until_it_is_delivered(instance, tmp_path):
    answers = {}

    def answer(request):
        n = answers[request.path] = answers.get(request.path, 0) + 1
        status = int(request.path.strip("/"))
        return (status if n <= 2 else 204, {}, b"")

    with Receiver(answer) as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        for status in (500, 503, 408, 425, 429, 404, 401):
            accept(millrace, receiver.url(f"/{status}"), [{}])
        wait_stage_metric(millrace, "delivered", 7)
        by_path = {}
        for request in receiver.seen():
            by_path.setdefault(request.path, []).append(request)
        for path, requests in by_path.items():
            assert len(requests) == 3 and len({r.headers[ID] for r in requests}) == 1, path
            waits = [b.at - a.at for a, b in zip(requests, requests[1:])]
            assert all(0.2 <= wait < 2 * SLOW for wait in waits), (path, waits)
        assert len(by_path) == 7
        wait_until(lambda: Database(tmp_path).waiting() == [], 10, "no rows left")
        assert Database(tmp_path).dead() == []


def test_retry_after_lengthens_the_wait(instance, tmp_path):
    first = []

    def answer(request):
        if not first:
            first.append(request)
            return 503, {"Retry-After": "2"}, b""
        return 200, {}, b""

    with Receiver(answer) as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url(), [{}])
        one, two = receiver.wait(2)
        assert two.at - one.at >= 1.9


def test_final_answers_and_used_up_attempts_make_dead_letters_with_their_history(instance, tmp_path):
    with Receiver(lambda request: (int(request.path[1:4]), {}, b"why")) as receiver:
        millrace = instance(config=deliver_config(tmp_path, retry={"schedule": ["50ms", "50ms"], "jitter": "0"}))
        accept(millrace, receiver.url("/400"), [{"n": 1}])
        accept(millrace, receiver.url("/302"), [{"n": 2}])
        accept(millrace, receiver.url("/500"), [{"n": 3}])
        accept(millrace, f"http://127.0.0.1:{free_port()}/", [{"n": 4}])
        accept(millrace, "http://\u2100.example/", [{"host": "no name, as only IDNA can tell"}])
        wait_dead(millrace, tmp_path, 5)
        dead = {json.loads(row["data"]).get("n"): row for row in Database(tmp_path).dead()}
        assert (dead[1]["reason"], dead[1]["attempts"]) == ("answered 400", 1)
        assert (dead[2]["reason"], dead[2]["attempts"]) == ("answered 302", 1)
        assert (dead[3]["reason"], dead[3]["attempts"]) == ("3 attempts, the last: answered 500", 3)
        assert [entry["status"] for entry in json.loads(dead[3]["history"])] == [500, 500, 500]
        assert dead[4]["reason"].startswith("3 attempts, the last: ") and dead[4]["attempts"] == 3
        assert all(entry["error"] for entry in json.loads(dead[4]["history"]))
        assert dead[None]["reason"].startswith("URL: ") and dead[None]["attempts"] == 0
        assert len(receiver.seen()) == 5


def test_an_endpoint_that_answers_410_gets_no_more_until_its_dead_letters_are_replayed(instance, tmp_path):
    status = [410]
    with Receiver(lambda request: (status[0], {}, b"")) as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url("/a?n={n}"), [{"n": 1}])
        wait_dead(millrace, tmp_path, 1)
        accept(millrace, receiver.url("/a?n={n}"), [{"n": 2}, {"n": 3}])
        accept(millrace, receiver.url("/b"), [{}])
        wait_dead(millrace, tmp_path, 4)
        assert sorted(request.path for request in receiver.seen()) == ["/a?n=1", "/b"]
        kill_role(millrace)
        accept(millrace, receiver.url("/a?n={n}"), [{"n": 4}])
        wait_until(lambda: len(Database(tmp_path).dead()) == 5, 20, "dead after a restart")
        assert len(receiver.seen()) == 2
        status[0] = 200
        result = millrace.millrace("dead", "replay", "--all")
        assert result.returncode == 0, result.stderr
        receiver.wait(7)
        wait_until(lambda: Database(tmp_path).dead() == [] and Database(tmp_path).waiting() == [], 20, "all delivered")


def test_all_endpoints_that_are_gone_come_back_with_a_replay(instance, tmp_path):
    status = [410]
    with Receiver(lambda request: (status[0], {}, b"")) as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        for n in range(40):
            accept(millrace, receiver.url(f"/{n}"), [{}])
        wait_stage_metric(millrace, "endpoints_gone", 40)
        wait_until(lambda: len(Database(tmp_path).dead()) == 40, 20, "dead")
        status[0] = 200
        assert millrace.millrace("dead", "replay", "--all").stdout == "replayed 40\n"
        wait_until(lambda: Database(tmp_path).waiting() == [] and len(receiver.seen()) >= 80, 20, "all sent again")
        assert Database(tmp_path).dead() == []
        wait_stage_metric(millrace, "endpoints_gone", 0)  # the next tick tells it


def test_a_circuit_opens_and_closes_again(instance, tmp_path):
    up = []
    with Receiver(lambda request: (200 if up else 500, {}, b"")) as receiver:
        millrace = instance(config=deliver_config(
            tmp_path, circuit={"failures": 3, "pause": "300ms", "pause_most": "600ms"}, retry={"schedule": ["50ms"] * 60, "jitter": "0"}))
        accept(millrace, receiver.url("/{n}?a=1"), [{"n": 0}] * 30)
        wait_until(lambda: stage_metric(millrace, "circuits_open") == 1, 10, "an open circuit")
        wait_until(lambda: "circuit open of 1 endpoint" in millrace.stage("deliver.0")["note"], 10, "the note says so")
        before = len(receiver.seen())
        time.sleep(1.5)
        assert len(receiver.seen()) - before <= 8
        up.append(1)
        wait_stage_metric(millrace, "delivered", 30)
        wait_stage_metric(millrace, "circuits_open", 0)


def test_redirects_are_followed_where_the_configuration_says_so(instance, tmp_path):
    with Receiver() as target:
        def answer(request):
            status, _, where = request.path.strip("/").partition("/")
            if where == "loop":
                return int(status), {"Location": request.path}, b""
            return int(status), {"Location": target.url(f"/at/{status}") if where == "far" else f"/200/{status}"}, b""

        with Receiver(answer) as receiver:
            millrace = instance(config=deliver_config(
                tmp_path, redirects=3, endpoints=[{"match": receiver.url("/307/not"), "redirects": 0}]))
            for status in (301, 302, 303, 307, 308):
                accept(millrace, receiver.url(f"/{status}/far"), [{"a": "b"}], "POST")
                accept(millrace, receiver.url(f"/{status}/near"), [{"a": "b"}], "POST")
            accept(millrace, receiver.url("/307/loop"), [{}], "POST")
            accept(millrace, receiver.url("/307/not"), [{}], "POST")
            wait_stage_metric(millrace, "delivered", 10)
            wait_dead(millrace, tmp_path, 2)
            far = {r.path: r for r in target.seen()}
            near = {r.path: r for r in receiver.seen() if r.path.startswith("/200/")}
            for status in (301, 302, 303, 307, 308):
                for request in (far[f"/at/{status}"], near[f"/200/{status}"]):
                    if status >= 307:
                        assert (request.method, request.body) == ("POST", b"a=b")
                    else:
                        assert (request.method, request.body) == ("GET", b"") and "content-type" not in request.headers
                    assert HEX32.fullmatch(request.headers[ID])
            assert sum(r.path == "/307/loop" for r in receiver.seen()) == 4
            assert sum(r.path == "/307/not" for r in receiver.seen()) == 1


def test_what_waits_for_its_endpoint_longer_than_all_retries_last_is_dead(instance, tmp_path):
    """Its arrival and first attempt are put back by hand, by a year."""
    with Receiver(lambda request: (200 if request.path == "/new" else 503, {}, b"")) as receiver:
        config = deliver_config(tmp_path, retry={"schedule": ["1h", "1h"], "jitter": "0"})
        millrace = instance(config=config)
        accept(millrace, receiver.url("/old"), [{}])
        wait_until(lambda: Database(tmp_path).waiting(), 10, "a row")
        assert millrace.stop() == 0
        with contextlib.closing(sqlite3.connect(Database(tmp_path).path)) as database, database:
            year_ms = 365 * 86400 * 1000
            database.execute("UPDATE postback SET due_ms = 1, first_ms = first_ms - ?, arrival_ns = arrival_ns - ?", (year_ms, year_ms * 10**6))
        millrace.start()
        accept(millrace, receiver.url("/new"), [{}])
        wait_until(lambda: [row["reason"] for row in Database(tmp_path).dead()] ==
                   ["waited for its endpoint for longer than all its retries last"], 20, "dead")
        assert sorted(request.path for request in receiver.wait(2)) == ["/new", "/old"]
        assert millrace.millrace("dead", "replay", "--all").returncode == 0
        wait_until(lambda: [row["attempts"] for row in Database(tmp_path).waiting()] == [1], 20, "its time begins anew with a replay")
        assert [request.path for request in receiver.seen()].count("/old") == 2


def test_every_attempt_is_an_event_of_the_topic_delivery(instance, tmp_path):
    answers = iter([500, 200])
    with Receiver(lambda request: (next(answers), {}, b"the body")) as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url("/x?token={t}"), [{"t": "secret"}], "POST")
        wait_stage_metric(millrace, "delivered", 1)
        first, second = wait_until(lambda: (found := events(millrace, "delivery")) if len(events(millrace, "delivery")) == 2 else None,
                                   10, "two events")
        assert (first["attempt"], first["outcome"], first["status"]) == (1, "again", 500)
        assert (second["attempt"], second["outcome"], second["status"]) == (2, "delivered", 200)
        for event in (first, second):
            assert event["postback"] == receiver.seen()[0].headers[ID] and event["method"] == "POST"
            assert event["url"] == receiver.url("/x?token=***") and event["body"] == "the body"
            assert event["endpoint"] == receiver.url("/x") and event["total_us"] > 0
        assert 150 <= first["next_ts"] - first["ts"] < 5000
        assert "secret" not in json.dumps([first, second])


def test_a_kept_connection_that_was_closed_costs_no_attempt(instance, tmp_path):
    seen = []

    def answer(request):
        seen.append(request.path)
        return None if seen.count("/closing") == 1 and request.path == "/closing" else (200, {}, b"")

    with Receiver(answer) as receiver:
        millrace = instance(config=deliver_config(tmp_path, per_host={"connections": 1}))
        accept(millrace, receiver.url("/first"), [{}])
        wait_stage_metric(millrace, "delivered", 1)
        accept(millrace, receiver.url("/closing"), [{}])
        wait_stage_metric(millrace, "delivered", 2)
        assert stage_metric(millrace, "attempts") == 2 and stage_metric(millrace, "resent") == 1
        assert seen == ["/first", "/closing", "/closing"]


def test_a_postback_at_which_the_process_dies_twice_is_set_aside(instance, tmp_path):
    with Silent() as silent, Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, silent.url("/poison"), [{}])
        accept(millrace, silent.url("/other"), [{}])
        wait_stage_metric(millrace, "started", 2)
        poison = next(e["id"] for e in events(millrace, "postback") if e["url"].endswith("/poison"))
        for deaths in (1, 2):
            die_at(millrace, "deliver.0", poison)
            wait_stage_metric(millrace, "deaths_at_postback", deaths)
        wait_stage_metric(millrace, "set_aside", 1)
        wait_until(lambda: [row["reason"] for row in Database(tmp_path).dead()] == ["killed its sender 2 times"], 10, "set aside")
        wait_stage_metric(millrace, "started", 1)
        accept(millrace, receiver.url(), [{}])
        receiver.wait(1)


def test_a_postback_of_another_kind_cannot_stop_the_others(instance, tmp_path):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path, url_most="200"))
        accept(millrace, receiver.url("/{a}/b"), [{"a": ".."}])
        accept(millrace, receiver.url("/{a}"), [{"a": "x" * 300}])
        accept(millrace, "http://nobody.invalid./", [{}])
        accept(millrace, receiver.url("/good"), [{}])
        assert [request.path for request in receiver.wait(1)] == ["/good"]
        wait_dead(millrace, tmp_path, 2)
        reasons = sorted(row["reason"] for row in Database(tmp_path).dead())
        assert any("url_most" in reason for reason in reasons), reasons


def test_a_name_that_cannot_be_looked_up_ends_attempts_also_when_no_failure_is_kept(instance, tmp_path):
    millrace = instance(config=deliver_config(
        tmp_path, retry={"schedule": ["100ms"], "jitter": "0"}, dns={"servers": ["127.0.0.1:1"], "timeout": "200ms", "tries": 1, "failure_kept": "0"}))
    accept(millrace, "http://nobody.example/", [{}])
    wait_dead(millrace, tmp_path, 1)
    assert Database(tmp_path).dead()[0]["attempts"] == 2


def test_alone_it_prints_the_requests_that_it_would_send(instance, tmp_path):
    with Silent() as silent:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, silent.url("/a?x={x}"), [{"x": "1 2"}], "POST")
        wait_stage_metric(millrace, "started", 1)
        raw = tmp_path / "postbacks"
        with open(raw, "wb") as file:
            subprocess.run([str(MILLRACE), "tap", "postback", "--last", "1G", "--no-follow", "--format", "raw"], check=True, stdout=file,
                           env=millrace.environment(), timeout=20 * SLOW)
        program = MILLRACE.parent.parent / "libexec" / "millrace" / "deliver"
        run = subprocess.run([str(program), "--input", str(raw)], capture_output=True, text=True, timeout=20 * SLOW, check=True)
        lines = run.stdout.splitlines()
        assert lines[0] == f"POST {silent.url('/a?x=1%202')}"
        assert lines[1:] == ["Content-Type: application/x-www-form-urlencoded", lines[2], "", "x=1+2", ""]
        assert re.fullmatch("Idempotency-Key: [0-9a-f]{32}", lines[2])
