"""A stop, a reload, a database that fails: nothing is lost, and nothing stays behind."""
import contextlib
import json
import os
import signal
import sqlite3
import time

from deliver_help import (Database, Receiver, Silent, accept, deliver_config, pause, post, queue_counts, stage_metric,
                          wait_stage_metric)
from harness import SLOW, cpu_seconds, wait_until
from http_help import http_address


def test_a_stop_with_postbacks_under_way_ends_in_time_and_the_next_start_delivers_all(instance, tmp_path):
    with Silent() as silent, Receiver(port=0) as receiver:
        config = deliver_config(tmp_path, drain_timeout="1s", per_host={"connections": 8}, in_flight=64)
        millrace = instance(config=config)
        accept(millrace, silent.url("/{n}"), [{"n": i} for i in range(300)])
        wait_stage_metric(millrace, "started", 8)
        begun = time.monotonic()
        assert millrace.stop() == 0
        assert time.monotonic() - begun < 8 * SLOW
        assert not millrace.directory.exists()
        waiting = Database(tmp_path).waiting()
        assert len(waiting) == 300 and {row["state"] for row in waiting} <= {"parked", "later"}
        ids = {row["id"] for row in waiting}
        silent.socket.close()
        with Receiver(port=silent.port) as there:
            millrace.start()
            there.wait_distinct(300)
            assert set(there.by_id()) == ids and len({r.path for r in there.seen()}) == 300
            wait_until(lambda: Database(tmp_path).waiting() == [], 20, "all delivered")
            assert millrace.stop() == 0
        assert receiver.seen() == []


def test_what_is_under_way_at_a_stop_may_end(instance, tmp_path):
    def answer(request):
        time.sleep(0.7)
        return 200, {}, b""

    with Receiver(answer) as receiver:
        millrace = instance(config=deliver_config(tmp_path, drain_timeout="10s"))
        accept(millrace, receiver.url("/{n}"), [{"n": i} for i in range(20)])
        wait_stage_metric(millrace, "started", 20)
        assert millrace.stop() == 0
        assert len(receiver.seen()) == 20 and Database(tmp_path).waiting() == []


def test_a_reload_of_the_stage_alone_gives_back_what_it_has_not_begun(instance, tmp_path):
    with Silent() as silent:
        config = deliver_config(tmp_path, per_host={"connections": 2, "waiting": 1000}, drain_timeout="300ms")
        millrace = instance(config=config)
        accept(millrace, silent.url("/{n}"), [{"n": i} for i in range(100)])
        wait_until(lambda: stage_metric(millrace, "in_memory") == 100, 10, "all in memory")
        pid = millrace.pid_of("deliver.0")
        config["deliver"]["user_agent"] = "changed"
        config["deliver"]["per_host"] = {"connections": 100}
        millrace.write_config(config)
        silent.socket.close()
        with Receiver(port=silent.port) as receiver:
            millrace.kill(signal.SIGHUP)
            wait_until(lambda: millrace.pid_of("deliver.0") != pid, 20, "another process")
            receiver.wait_distinct(100)
            wait_until(lambda: queue_counts(millrace)["free"] == 4096 and Database(tmp_path).waiting() == [], 20, "nothing left")


def test_a_process_that_is_configured_no_longer_leaves_nothing_behind(instance, tmp_path, rng):
    """Once it ends in order, once it is killed while it ends."""
    with Silent() as silent:
        for killed in (False, True):
            config = deliver_config(tmp_path, processes=2, per_host={"connections": 500}, in_flight=100, drain_timeout="2s" if killed else "200ms")
            millrace = instance(config=config)
            accept(millrace, silent.url("/{n}"), [{"n": i} for i in range(300)])
            wait_until(lambda: stage_metric(millrace, "in_memory") >= 140, 10, "both are full")  # pylint: disable=cell-var-from-loop
            pid = millrace.pid_of("deliver.1")
            config["deliver"]["processes"] = 1
            millrace.write_config(config)
            silent.socket.close()
            with Receiver(port=silent.port) as receiver:
                millrace.kill(signal.SIGHUP)
                if killed:
                    with contextlib.suppress(ProcessLookupError):
                        time.sleep(rng.random())
                        os.kill(pid, signal.SIGKILL)
                receiver.wait_distinct(300, timeout=40)
                wait_until(lambda: Database(tmp_path).waiting() == [], 40, "deliver.db empty")
                wait_until(lambda: queue_counts(millrace)["free"] == 4096, 20, "queue empty")  # pylint: disable=cell-var-from-loop
                assert millrace.stop() == 0
            silent.__init__()  # pylint: disable=unnecessary-dunder-call


@contextlib.contextmanager
def locked(path):
    """Another program writes to the database and does not end."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


def test_while_the_database_fails_what_succeeds_goes_on_and_nothing_is_lost(instance, tmp_path):
    up = []
    with Receiver(lambda request: (200 if up or request.path.startswith("/good") else 500, {}, b"")) as receiver:
        millrace = instance(config=deliver_config(tmp_path, circuit={"failures": 0}))
        with locked(tmp_path / "data" / "deliver.db"):
            accept(millrace, receiver.url("/bad/{n}"), [{"n": i} for i in range(50)])
            wait_until(lambda: stage_metric(millrace, "failing") == 1, 30, "failing")
            wait_until(lambda: millrace.stage("deliver.0")["note"].startswith("deliver.db: "), 10, "the note says so")
            took = []
            for n in range(20):
                begun = time.monotonic()
                accept(millrace, receiver.url(f"/good/{n}"), [{}])
                wait_until(lambda: sum(r.path.startswith("/good") for r in receiver.seen()) == n + 1, 30, "a good one")  # pylint: disable=cell-var-from-loop
                took.append(time.monotonic() - begun)
            assert sorted(took)[10] < 0.3 * SLOW, took
            assert queue_counts(millrace)["taken"] >= 50
        up.append(1)
        wait_stage_metric(millrace, "delivered", 70, timeout=40)
        wait_stage_metric(millrace, "failing", 0)
        assert all(n <= 2 for n in receiver.by_id().values())


def test_a_database_that_is_removed_is_made_anew(instance, tmp_path):
    up = []
    with Receiver(lambda request: (200 if up else 503, {}, b"")) as receiver:
        millrace = instance(config=deliver_config(tmp_path, retry={"schedule": ["1h"] * 3, "jitter": "0"}))
        accept(millrace, receiver.url("/{n}"), [{"n": 1}])
        wait_until(lambda: Database(tmp_path).waiting(), 10, "a row")
        for file in (tmp_path / "data").glob("deliver.db*"):
            file.unlink()
        accept(millrace, receiver.url("/{n}"), [{"n": 2}])
        wait_until(lambda: (tmp_path / "data" / "deliver.db").exists() and [json.loads(r["data"]) for r in Database(tmp_path).waiting()] ==
                   [{"n": 2}], 20, "a new file with what came")
        up.append(1)


def test_a_full_queue_refuses_and_delivers_what_it_accepted(instance, tmp_path):
    with Silent() as silent:
        config = deliver_config(tmp_path, queue={"slots": 64, "slot_size": 512}, in_flight=16, per_host={"connections": 4})
        millrace = instance(config=config)
        address = http_address(millrace)
        with locked(tmp_path / "data" / "deliver.db"):
            accepted = 0
            for n in range(200):
                reply = post(millrace, silent.url("/{n}"), [{"n": n}], address=address)
                assert reply.status in (202, 503)
                accepted += reply.status == 202
            assert 64 <= accepted < 200
        silent.socket.close()
        with Receiver(port=silent.port) as receiver:
            receiver.wait_distinct(accepted, timeout=60)
            wait_until(lambda: queue_counts(millrace)["free"] == 64 and Database(tmp_path).waiting() == [], 40, "nothing left")
            assert len(receiver.by_id()) == accepted


def test_idle_costs_next_to_nothing(instance, tmp_path):
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url(), [{}])
        receiver.wait(1)
        pid = millrace.pid_of("deliver.0")
        pause(1)
        begun = cpu_seconds(pid)
        pause(3)
        assert cpu_seconds(pid) - begun < 0.05 * SLOW


def test_a_stop_that_waits_for_the_database_costs_next_to_nothing(instance, tmp_path):
    """With an open circuit, whose probe comes due meanwhile."""
    with Receiver(lambda request: (500, {}, b"")) as receiver:
        config = deliver_config(
            tmp_path, circuit={"failures": 1, "pause": "4s", "pause_most": "4s"}, drain_timeout="100ms")
        # longer than the test looks, or the supervisor ends what it looks at
        millrace = instance(config={**config, "drain_timeout": f"{30 * SLOW:.0f}s"})
        accept(millrace, receiver.url(), [{}])
        wait_stage_metric(millrace, "circuits_open", 1)
        pid = millrace.pid_of("deliver.0")
        with locked(tmp_path / "data" / "deliver.db"):
            accept(millrace, receiver.url(), [{}] * 3)
            wait_stage_metric(millrace, "failing", 1)
            millrace.kill(signal.SIGTERM)
            wait_until(lambda: "no more is sent" in millrace.log(), 10, "draining")
            begun = cpu_seconds(pid)
            pause(5)
            assert cpu_seconds(pid) - begun < 0.3 * SLOW
        assert millrace.wait_end(30) == 0, millrace.log()[-3000:]
        assert len(Database(tmp_path).waiting()) == 4


def test_dead_letters_over_their_number_are_deleted_as_fast_as_they_come(instance, tmp_path):
    with Receiver(lambda request: (410, {}, b"")) as receiver:
        millrace = instance(config=deliver_config(tmp_path, dead={"most": 10}))
        for _ in range(15):
            wait_until(lambda: post(millrace, receiver.url(), [{}] * 500).status == 202, 10, "room in the queue")
        wait_stage_metric(millrace, "dead", 7500)
        wait_stage_metric(millrace, "expired", 7490, timeout=12)
        assert len(Database(tmp_path).dead()) == 10
