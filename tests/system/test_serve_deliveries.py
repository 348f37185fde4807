"""/deliveries: the last attempts, one postback with what is stored of it, and the counts."""
import json
import os
import signal
from collections import Counter

import pytest

from deliver_help import accept, deliver_config, kill_role, stage_metric, wait_dead, wait_stage_metric
from harness import wait_until
from http_help import Client, ask, events
from serve_help import problem, serve_address, serve_config
from test_catch import Catch

WAITS = {"schedule": ["1h"], "jitter": "0"}


def config_of(tmp_path, deliver=None, **serve):
    config = deliver_config(tmp_path, **(deliver or {}))
    config["tally"] = {"commit_interval": "50ms"}
    return serve_config(tmp_path, {**config, "topics": {"ip": {"size": "1MiB"}, **config["topics"]}}, **serve)


def get(millrace, path, status=200):
    reply = ask(serve_address(millrace), "GET", path)
    assert reply.status == status, (path, reply)
    return reply.json() if status < 400 else problem(reply, status)


def taped(millrace):
    """All attempts, the newest first, as the command shows them, without the answers' bodies."""
    return [{k: v for k, v in event.items() if k not in ("body", "body_hex")} for event in reversed(events(millrace, "delivery"))]


def send(millrace, catch, path, numbers):
    accept(millrace, f"http://127.0.0.1:{catch.port}/{path}?n={{n}}", [{"n": n} for n in numbers])


def test_the_last_attempts_are_shown_filtered_and_in_pages(instance, tmp_path):
    with Catch("--answer", "/good=200", "--answer", "/mixed=503:0.5,204:0.5", "--answer", "/bad=400", "--body", "said") as catch:
        millrace = instance(config=config_of(tmp_path))
        for i, path in enumerate(("good", "mixed", "bad")):
            send(millrace, catch, path, range(10 * i, 10 * i + 10))
        wait_stage_metric(millrace, "delivered", 20)
        wait_stage_metric(millrace, "dead", 10)
        attempts = taped(millrace)
        told = get(millrace, "/deliveries?limit=1000")
        assert told == {"attempts": attempts, "held": len(attempts), "missed": 0}
        assert Counter(a["outcome"] for a in attempts)["delivered"] == 20

        def shown(query):
            return get(millrace, f"/deliveries?limit=1000&{query}")["attempts"]

        assert shown("outcome=again") == [a for a in attempts if a["outcome"] == "again"]
        assert shown("status=204") == [a for a in attempts if a["status"] == 204] != []
        assert shown("outcome=dead&status=400") == [a for a in attempts if a["status"] == 400] != []
        assert shown("host=127.0.0.1") == shown(f"host=127.0.0.1:{catch.port}") == attempts
        assert shown("host=localhost") == shown("status=500") == shown("since=2100-01-01") == []
        middle = attempts[len(attempts) // 2]["ts"]
        assert shown(f"since={middle}") == [a for a in attempts if a["ts"] >= middle]
        assert shown("since=30000d") == attempts and shown("since=18446744073710") == []  # before 1970; no clock shows it

        pages, before = [], ""
        while True:
            page = get(millrace, f"/deliveries?limit=7{before}")
            pages += page["attempts"]
            if "next" not in page:
                break
            before = f"&before={page['next']}"
        assert pages == attempts
        for wrong in ("outcome=lost", "status=1000", "status=x", "since=soon", "before=0", "limit=1001"):
            assert wrong.split("=")[0] in get(millrace, f"/deliveries?{wrong}", 400)


def test_a_postback_is_shown_where_it_stands(instance, tmp_path):
    with Catch("--answer", "/good=200", "--answer", "/bad=400", "--answer", "/gone=410", "--answer", "/later=503", "--body", "said") as catch:
        millrace = instance(config=config_of(tmp_path, {"retry": WAITS}))
        send(millrace, catch, "good", [1])
        send(millrace, catch, "bad", [2])
        send(millrace, catch, "gone", [3])
        send(millrace, catch, "later?token=hush&x", [4])
        wait_dead(millrace, tmp_path, 2)
        wait_until(lambda: len(get(millrace, "/deliveries")["attempts"]) == 4, 20, "four attempts")
        ids = {a["endpoint"].rsplit("/", 1)[1]: a["postback"] for a in get(millrace, "/deliveries")["attempts"]}

        good = get(millrace, f"/deliveries/{ids['good'].upper()}")
        assert (good["id"], good["state"]) == (ids["good"], "delivered") and "postback" not in good
        assert [(a["outcome"], a["status"], a["body"]) for a in good["attempts"]] == [("delivered", 200, "said")]
        for path, status in (("bad", 400), ("gone", 410)):
            dead = get(millrace, f"/deliveries/{ids[path]}")
            assert dead["state"] == dead["postback"]["state"] == "dead" and dead["postback"]["status"] == status
            assert {**dead["postback"], "state": 0} == {**get(millrace, f"/dead/{ids[path]}"), "state": 0}
        later = wait_until(
            lambda: (one := get(millrace, f"/deliveries/{ids['later']}")).get("postback") and one, 20, "the postback in deliver.db",
        )
        assert later["state"] == "waiting" and later["postback"]["state"] == "later" and "dead_ts" not in later["postback"]
        assert later["postback"]["due_ts"] == later["attempts"][0]["next_ts"] and later["postback"]["attempts"] == 1
        assert later["postback"]["data"] == {"n": 4} and "hush" not in json.dumps(later)
        for wrong in ("0" * 32, "f" * 31, "x" * 32, "1/2"):
            get(millrace, f"/deliveries/{wrong}", 404)


def test_counts_are_those_of_the_report(instance, tmp_path):
    with Catch("--answer", "/good=200", "--answer", "/bad=400") as catch:
        millrace = instance(config=config_of(tmp_path))
        wait_until(lambda: ask(serve_address(millrace), "GET", "/deliveries/counts").status == 200, 20, "tables")
        send(millrace, catch, "good", range(5))
        send(millrace, catch, "bad", range(5, 8))

        def report(*arguments):
            result = millrace.millrace("report", "deliveries", *arguments)
            assert result.returncode == 0, result.stderr
            return json.loads(result.stdout)

        wait_until(lambda: get(millrace, "/deliveries/counts")["all"]["attempts"] == 8, 20, "eight attempts")
        span = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
        told = get(millrace, f"/deliveries/counts?since={span[0]}&until={span[1]}")
        assert told == report("--since", span[0], "--until", span[1]) and told["all"]["success"] == 5 / 8
        told = get(millrace, f"/deliveries/counts?since={span[0]}&until={span[1]}&step=1&limit=1&endpoint=http://127.0.0.1:{catch.port}/b")
        assert told == report("--since", span[0], "--until", span[1], "--step", "1m", "-n", "1", "--endpoint", f"http://127.0.0.1:{catch.port}/b")
        for wrong in ("since=soon", "step=0", "limit=10001", "since=1h&until=2h"):
            get(millrace, f"/deliveries/counts?{wrong}", 400)


@pytest.mark.limit(120)
def test_a_page_of_attempts_ends_where_the_answer_is_full(instance, tmp_path):
    with Catch("--body", "said") as catch:
        millrace = instance(config=config_of(tmp_path, max_answer="64KiB"))
        send(millrace, catch, "x" * 700, range(120))
        wait_until(lambda: get(millrace, "/deliveries?limit=1")["held"] == 120, 20, "all attempts")
        shown, before, pages = [], "", 0
        with Client(serve_address(millrace)) as client:
            while before is not None:
                reply = client.ask("GET", f"/deliveries?limit=1000{before}")
                assert reply.status == 200 and len(reply.body) <= 65536, reply
                page = reply.json()
                assert page["attempts"]
                shown += page["attempts"]
                before = f"&before={page['next']}" if "next" in page else None
                pages += 1
        assert shown == taped(millrace) and len(shown) == 120 and pages > 2


@pytest.mark.limit(120)
def test_lanes_that_come_with_a_reload_are_read_and_the_next_life_has_what_they_hold(instance, tmp_path):
    with Catch() as catch:
        config = config_of(tmp_path, {"processes": 1})
        millrace = instance(config=config)
        send(millrace, catch, "a", range(10))
        wait_until(lambda: get(millrace, "/deliveries")["held"] == 10, 20, "ten attempts")
        config["deliver"]["processes"] = 3
        millrace.write_config(config)
        millrace.kill(signal.SIGHUP)
        wait_until(lambda: len(millrace.topic("delivery")["lanes"]) == 3, 20, "three lanes")
        millrace.wait_running()
        send(millrace, catch, "b", range(10, 200))
        wait_until(lambda: get(millrace, "/deliveries")["held"] == 200, 20, "two hundred attempts")
        ids = [a["id"] for a in get(millrace, "/deliveries?limit=1000")["attempts"]]
        assert len(set(ids)) == 200 and stage_metric(millrace, "deliveries_missed", "serve") == 0
        kill_role(millrace, "serve.0")
        wait_until(lambda: serve_address(millrace), 20, "an address")
        wait_until(lambda: get(millrace, "/deliveries?limit=1000")["held"] == 200, 20, "what the lanes hold")
        again = get(millrace, "/deliveries?limit=1000")["attempts"]
        assert sorted(a["id"] for a in again) == sorted(ids)


@pytest.mark.limit(120)
def test_a_read_side_that_stands_still_holds_up_no_delivery_and_says_what_it_missed(instance, tmp_path):
    with Catch("--body", "x" * 3000) as catch:
        config = config_of(tmp_path)
        config["topics"]["delivery"] = {"size": "256KiB"}
        millrace = instance(config=config)
        send(millrace, catch, "a", [0])
        wait_until(lambda: get(millrace, "/deliveries")["held"] == 1, 20, "an attempt")
        pid = millrace.pid_of("serve.0")
        os.kill(pid, signal.SIGSTOP)
        try:
            for i in range(10):
                send(millrace, catch, "a", range(100 * i, 100 * i + 100))
                wait_stage_metric(millrace, "delivered", 100 * i + 101)
        finally:
            os.kill(pid, signal.SIGCONT)
        written = millrace.ledger("delivery")["written"]
        assert written * 3000 > 4 * 262144, "the lane went round several times"

        def told():
            page = get(millrace, "/deliveries?limit=1")
            return page["held"] + page["missed"] == written and page

        page = wait_until(told, 20, f"{written} attempts held or missed")
        assert page["missed"] > written / 2 and page["held"] > 1
        wait_until(lambda: stage_metric(millrace, "deliveries_missed", "serve") == page["missed"], 20, "the metric")


def test_without_deliveries_there_are_none(instance, tmp_path):
    millrace = instance(config=serve_config(tmp_path))
    with Client(serve_address(millrace)) as client:
        assert client.ask("GET", "/deliveries").json() == {"attempts": [], "held": 0, "missed": 0}
        assert client.ask("GET", "/deliveries/" + "0" * 32).status == 404
