"""millrace trace: where an event has been, and what is said of one that is no longer known."""
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from cli_help import millrace, wait_tap
from deliver_help import accept, deliver_config, wait_dead, wait_stage_metric
from harness import default_config, wait_until
from http_help import ask, events, http_address, http_config
from load import ipevent, random_sha, send_paced
from objects_help import objects_config, send_logs, unpack
from test_catch import Catch


def trace(one, identity, status=0, more=()):
    result = one.millrace("trace", identity, "--json", *more)
    assert result.returncode == status and result.stderr == "", result
    told = json.loads(result.stdout)
    assert told["id"] == identity and told["known"] == (status == 0), told
    people = one.millrace("trace", identity, *more)
    assert people.returncode == status and people.stdout and people.stderr == "", people
    return told, people.stdout


def readers(record):
    return {reader["group"]: reader for reader in record["readers"]}


def track(one, path):
    reply = ask(http_address(one), "GET", path, {"User-Agent": "Mozilla/5.0"})
    assert reply.status == 200, reply


def test_a_call_is_followed_from_its_arrival_to_the_event_that_is_counted_and_kept(instance, tmp_path):
    config = http_config(tmp_path)
    config["tally"] = {"commit_interval": "50ms"}
    config["sinks"] = [{"name": "kept", "kind": "null", "topics": ["track"], "filter": ["type=buy"]}]
    one = instance(config=config)
    track(one, "/t/buy?item=7")
    track(one, "/t/look?item=7")
    calls = wait_until(lambda: (found := events(one, "track.raw")) and len(found) == 2 and found, 10, "two calls")
    made = wait_until(lambda: (found := events(one, "track")) and len(found) == 2 and found, 10, "two events")

    def finished(identity):
        told, _ = trace(one, identity)
        return told if all(r["state"] in ("done", "filtered") for record in told["records"] for r in record["readers"]) else None

    for call, event, kept in zip(calls, made, ("done", "filtered")):
        told = wait_until(lambda: finished(call["id"]), 10, "its readers")
        assert [record["id"] for record in told["records"]] == [call["id"], event["id"]] and "notes" not in told
        raw, after = told["records"]
        assert raw["event"] == call and after["event"] == event
        assert (raw["topic"], raw["lane"], raw["state"]) == ("track.raw", 0, "held")
        assert raw["role"] == "ingest-http.0" and after["role"] == "enrich.0"
        assert raw["arrived_ts"] == after["arrived_ts"] == call["ts"]
        assert after["enriched_ts"] - after["arrived_ts"] - event["klag"] in (0, 1)
        assert {"group": "enrich", "stage": "enrich", "required": True, "state": "done"} in raw["readers"]
        assert readers(after)["tally"]["state"] == "done" and readers(after)["kept"]["state"] == kept
        assert trace(one, event["id"])[0]["records"] == told["records"]
    _, people = trace(one, calls[0]["id"])
    for word in ("track.raw, lane 0 (ingest-http.0)", "track, lane 0 (enrich.0)", "arrived", "enriched", "counted", "written"):
        assert word in people, people
    assert "left out by its filter" in trace(one, made[1]["id"])[1]


@contextlib.contextmanager
def held_up(one, role):
    """The process of the role does nothing meanwhile."""
    pid = one.pid_of(role)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_an_event_that_waits_says_how_many_are_before_it(instance, rng):
    one = instance()
    with held_up(one, "tally.0"):
        send_paced(one.address(), [ipevent(random_sha(rng), n) for n in range(1, 6)], 1000)
        fourth = wait_until(lambda: (found := events(one, "ip")) and len(found) == 5 and found, 10, "five events")[3]
        told, people = trace(one, fourth["id"])
        tally = readers(told["records"][0])["tally"]
        assert (tally["state"], tally["records_before"], tally["bytes_before"]) == ("waiting", 3, 3 * 72)
        assert "not yet: 3 events are before it" in people
    wait_until(lambda: readers(trace(one, fourth["id"])[0]["records"][0])["tally"]["state"] == "done", 10, "counted")


def test_a_reader_that_came_later_never_had_it(instance, running, rng):
    one = instance()
    send_paced(one.address(), [ipevent(random_sha(rng), 1)], 1000)
    one.settle("ip", 1)
    tap = running(one, "tap", "ip")
    wait_tap(one, tap)
    told, people = trace(one, events(one, "ip")[0]["id"])
    reader = readers(told["records"][0])[f"tap.{tap.process.pid}"]
    assert reader == {"group": f"tap.{tap.process.pid}", "stage": None, "required": False, "state": "began later"}
    assert "began to read after it" in people


def test_what_is_not_known_is_said(instance, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)], 1000)
    one.settle("ip", 1)
    first = events(one, "ip")[0]["id"]
    generation = first.split("-")[0]
    other = f"{int(generation, 16) ^ 1:016x}"
    for identity, word in ((f"{generation}-ip-0-8", "no event begins"), (f"{generation}-ip-0-3", "no event begins"),
                           (f"{generation}-ip-0-72", "has not come so far"), (f"{generation}-ip-9-0", "has no lane 9"),
                           (f"{generation}-nothing-0-0", "there is no topic"), (f"{other}-ip-0-0", "another life"),
                           (generation + "0" * 16, "never there")):
        told, people = trace(one, identity, 3)
        assert word in " ".join(told["notes"]) and word in people and "nothing is known" in people
    for wrong in ("x", generation, f"{generation}-ip-0", f"{generation}-ip-00-0", f"{generation}-ip-0-+1", f"{generation}-ip-99-0",
                  f"{generation}--0-0", f"{generation}-ip-0-18446744073709551616", "0" * 31, "0" * 33):
        result = one.millrace("trace", wrong)
        assert result.returncode == 2 and "is no id" in result.stderr, (wrong, result)


def test_what_was_overwritten_is_known_by_the_cursors_alone(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["topics"]["ip"] = {"size": "64KiB"}
    one = instance(config=config)
    send_paced(one.address(), [ipevent(random_sha(rng), 1)], 1000)
    one.settle("ip", 1)
    first = events(one, "ip")[0]["id"]
    send_paced(one.address(), [ipevent(random_sha(rng), n) for n in range(1, 3001)], 5000)
    one.settle("ip", 3001)
    told, people = trace(one, first)
    assert told["records"][0]["state"] == "overwritten" and "event" not in told["records"][0]
    assert readers(told["records"][0])["tally"]["state"] == "done"
    assert "overwritten" in people and "counted" in people
    for event in events(one, "ip")[::400]:
        assert trace(one, event["id"])[0]["records"][0]["event"] == event


def test_the_object_of_an_event_is_named_while_it_is_open_and_when_it_is_stored(instance, tmp_path):
    one = instance(config=objects_config(tmp_path, format="json", key="k/{client_id}"))
    send_logs(one, range(50))

    def where(event):
        reader = readers(trace(one, event["id"])[0]["records"][0])["logs"]
        return reader.get("object") if reader["state"] == "done" else None

    first = events(one, "log")
    assert len(first) == 50
    told = wait_until(lambda: where(first[-1]), 10, "the sink")
    assert told["sure"] and told["key"] == f"k/{first[-1]['client_id']}" and told["store"] == "directory"
    assert [o["state"] for o in told["objects"]] == ["open"]
    # Three rows of objects of the same keys: each event is in the one that is told.
    for count in (50, 100, 150):
        assert one.millrace("flush", "logs").returncode == 0
        if count < 150:
            send_logs(one, range(count, count + 50))
    everything = events(one, "log")
    assert len(everything) == 150
    stored = {}
    for event in everything[::7]:
        told = where(event)
        assert told["sure"], told
        (found,) = told["objects"]
        assert found["state"] == "stored", found
        stored.setdefault(found["path"], []).append(event["id"])
    for path, ids in stored.items():
        assert set(ids) <= {json.loads(line)["id"] for line in unpack(Path(path).read_bytes())}, path
    assert len(stored) >= 9
    assert "in the store since" in trace(one, everything[0]["id"])[1]


def test_a_postback_is_followed_to_its_answers(instance, tmp_path):
    with Catch("--answer", "/good=200", "--answer", "/bad=400", "--answer", "/later=503", "--body", "said") as catch:
        one = instance(config=deliver_config(tmp_path, retry={"schedule": ["1h"], "jitter": "0"}))
        for path in ("good", "bad", "later"):
            accept(one, f"http://127.0.0.1:{catch.port}/{path}?n={{n}}", [{"n": 1}])
        wait_stage_metric(one, "delivered", 1)
        wait_dead(one, tmp_path, 1)
        attempts = wait_until(lambda: (found := events(one, "delivery")) and len(found) == 3 and found, 10, "three attempts")
        by_outcome = {event["outcome"]: event for event in attempts}
        for outcome, state, status in (("delivered", "delivered", 200), ("dead", "dead", 400), ("again", "waiting", 503)):
            event = by_outcome[outcome]
            told, people = wait_until(lambda: (t := trace(one, event["postback"])) and t[0]["state"] == state and t, 10, state)
            assert [a["event"] for a in told["attempts"]] == [event] and event["status"] == status
            assert told["attempts"][0]["id"] == event["id"] and told["arrived_ts"] == event["postback_ts"]
            assert ("postback" in told) == (outcome != "delivered")
            assert f"answer {status}" in people and state in people
            assert trace(one, event["id"])[0]["records"][0]["event"] == event  # an attempt is an event, too
        dead = by_outcome["dead"]["postback"]
        one.stop()
        told, people = trace(one, dead, more=["--set", f"data_dir={tmp_path}/data"])
        assert told["state"] == "dead" and told["attempts"] == [] and "only deliver.db was asked" in told["notes"][0]
        assert "answer 400" in people  # from its history


def test_a_postback_that_nobody_has_taken_is_in_the_queue(instance, tmp_path):
    with Catch() as catch:
        one = instance(config=deliver_config(tmp_path))
        with held_up(one, "deliver.0"):
            accept(one, f"http://127.0.0.1:{catch.port}/x", [{}])
            identity = events(one, "postback")[0]["id"]
            told, people = trace(one, identity)
            assert told["state"] == "queued" and told["queue"] == {"taken": False} and told["attempts"] == [] and "queued" in people
        wait_until(lambda: trace(one, identity)[0]["state"] == "delivered", 10, "delivered")


@pytest.mark.parametrize("identity, status", [("0" * 32, 3), ("0" * 16 + "-ip-0-0", 1)])
def test_without_an_instance_only_postbacks_are_looked_for(identity, status, tmp_path, shm_root):
    result = millrace("trace", identity, "--instance", "nobody", "--set", f"data_dir={tmp_path}", env={"MILLRACE_SHM": str(shm_root)})
    assert result.returncode == status, result
    assert "not running" in result.stderr + result.stdout
    assert status != 3 or f"{tmp_path}/deliver.db" in result.stdout
