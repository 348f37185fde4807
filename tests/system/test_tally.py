"""tally and its database in a running instance: what becomes of the counts when somebody moves the files away."""
import contextlib
import os
import shutil
import signal
import sqlite3
import time

from harness import default_config, wait_until
from http_help import EXAMPLE, ask, http_addresses, http_config
from load import ipevent, random_sha, send_paced

RATE = 20000


def note_of(one, role):
    return one.stage(role)["note"]


def test_a_database_deleted_under_tally_is_told_and_nothing_is_settled_on_it(instance, tmp_path, rng):
    one = instance(config=default_config(tmp_path))
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 500, RATE)
    one.settle("ip", 500)
    tally = one.pid_of("tally.0")
    (tmp_path / "data" / "tally.db").unlink()
    wait_until(lambda: one.stage("tally.0")["metrics"]["failing"] == 1, 10, "tally sees it")
    note = note_of(one, "tally.0")
    assert note.startswith("cannot commit: tally.db: deleted or moved away") and f"kill -9 {tally}" in note
    assert note in one.millrace("stat").stdout and "deleted or moved away" in one.log()
    send_paced(one.address(), [ipevent(sha, 1)] * 300, RATE)
    wait_until(lambda: one.ledger("ip")["written"] == 800, 10, "all written")
    group = one.group("ip", "tally")
    assert (group["read_records"], group["waiting_records"]) == (500, 300)
    # A new life begins with an empty database: what waits is counted, what was read before is named.
    os.kill(tally, signal.SIGKILL)
    one.settle("ip", 800)
    assert one.report(sha)["count"] == 300
    assert "counts are short of 500 records" in note_of(one, "tally.0")
    assert "records=500" in one.log() and one.stage("tally.0")["metrics"]["lost_records"] == 500


def test_a_start_waits_for_who_recovers_the_log_that_the_last_life_left(instance, tmp_path, rng):
    one = instance(config={**default_config(tmp_path), "restart_backoff": "5ms"})
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 500, RATE)
    one.settle("ip", 500)
    tally = one.pid_of("tally.0")
    os.kill(one.process.pid, signal.SIGSTOP)  # so that the next life comes when the file is locked
    os.kill(tally, signal.SIGKILL)
    database = sqlite3.connect(tmp_path / "data" / "tally.db", timeout=10)
    with contextlib.closing(database):
        # As a reader holds it that has found the log of a writer that died.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        wait_until(lambda: locks(database), 10, "the lock")
        os.kill(one.process.pid, signal.SIGCONT)
        wait_until(lambda: one.pid_of("tally.0") not in (0, tally), 10, "the next life")
        time.sleep(0.5)
    one.wait_running()
    assert one.stage("tally.0")["restarts"] == 1 and "cannot start" not in one.log()
    assert one.report(sha)["count"] == 500


def locks(database):
    try:
        return database.execute("SELECT count(*) FROM report").fetchone()
    except sqlite3.OperationalError:  # the one that was killed is not quite gone
        return None


def test_an_empty_data_dir_under_a_group_that_has_read_is_told_at_the_start(instance, tmp_path, rng):
    one = instance(config=default_config(tmp_path))
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 500, RATE)
    one.settle("ip", 500)
    one.kill()  # the segments stay, the next supervisor takes them over
    wait_until(lambda: one.stage("tally.0")["state"] != "running", 10, "tally ends with its supervisor")
    shutil.rmtree(tmp_path / "data")
    one.start()
    assert "counts are short of 500 records" in note_of(one, "tally.0")
    assert "the database lacks records that its group has read" in one.log()


def test_topics_that_a_reload_brings_are_read_and_counted(instance, tmp_path, rng):
    small = default_config(tmp_path)
    http = http_config(tmp_path)
    large = {**small, "ingest": {**small["ingest"], "http": http["ingest"]["http"]}, "topics": {**http["topics"], **small["topics"]},
             "queues": http["queues"], "deliver": http["deliver"]}
    one = instance(config=small)
    sha = random_sha(rng)
    posted = 0

    def reload_to(config):
        done = one.log().count("all stages run")
        one.write_config(config)
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: one.log().count("all stages run") > done, 20, "the end of the reload")

    def count(times):
        send_paced(one.address(), [ipevent(sha, 1)] * 100, RATE)
        one.settle("ip", 100 * times)

    def post():
        for _ in range(10):
            assert ask(http_addresses(one)[-1], "POST", "/event", EXAMPLE).status == 200
        one.settle("metric", posted)

    count(1)
    first = one.pid_of("tally.0")
    reload_to(large)
    second = one.pid_of("tally.0")
    assert second != first, "what it reads has changed"
    posted += 10
    post()
    count(2)
    assert one.group("metric", "tally")["read_records"] == posted
    # What goes is no change: the lane stays, with what may wait in it, and is read by the next life too.
    reload_to(small)
    assert one.pid_of("tally.0") == second
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: one.pid_of("tally.0") not in (0, second) and one.stage("tally.0")["state"] == "running", 10, "a new life")
    third = one.pid_of("tally.0")
    count(3)
    reload_to(large)
    assert one.pid_of("tally.0") != third, "the topic has come back"
    posted += 10
    post()
    count(4)
    assert one.group("metric", "tally")["read_records"] == posted
    assert one.report(sha)["count"] == 400 and one.stage("tally.0")["metrics"]["lost_records"] == 0
