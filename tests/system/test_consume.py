"""millrace consume: a program gets each event at least once."""
import json
import os
import signal
import sys
import time

import pytest

from cli_help import wait_group, wait_tap, events, send_events, RATE
from harness import SLOW, default_config, wait_until
from load import ipevent, random_sha, send_paced
from processes import pause, resume


def test_a_program_gets_every_event_once_when_nothing_fails(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    taken = tmp_path / "taken"
    consumer = running(one, "consume", "ip", "--group", "archive", "--batch", 300, "--", "sh", "-c", f"cat >> {taken}")
    wait_group(one, "ip", "archive")
    send_events(one, sha, range(5000))
    wait_until(lambda: one.group("ip", "archive")["read_records"] == 5000, 20, "all acknowledged")
    assert consumer.end() == 0 and consumer.errors() == ""
    got = events(taken.read_text())
    assert [e["ip"] for e in got] == [f"0.0.{i >> 8}.{i & 255}" for i in range(5000)]
    assert len({e["id"] for e in got}) == 5000


def test_what_comes_while_nobody_reads_waits_for_the_group(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    send_events(one, sha, [1])
    one.settle("ip", 1)
    consumer = running(one, "consume", "ip", "--group", "later", "--", "cat")
    wait_group(one, "ip", "later")
    assert consumer.end() == 0
    send_events(one, sha, [2, 3, 4])
    wait_until(lambda: one.group("ip", "later")["waiting_records"] == 3, 10, "three waiting")
    result = one.millrace("consume", "ip", "--group", "later", "--no-follow", "--", "cat")
    assert result.returncode == 0 and result.stderr == ""
    assert [e["ip"] for e in events(result.stdout)] == ["0.0.0.2", "0.0.0.3", "0.0.0.4"]
    assert one.millrace("consume", "ip", "--group", "later", "--no-follow", "--", "cat").stdout == ""
    oldest = one.millrace("consume", "ip", "--group", "whole", "--from", "oldest", "--count", 2, "--", "cat")
    assert [e["ip"] for e in events(oldest.stdout)] == ["0.0.0.1", "0.0.0.2"]
    assert one.group("ip", "whole")["waiting_records"] == 2
    for group in ("later", "whole"):
        assert one.millrace("consume", "ip", "--group", group, "--forget").returncode == 0
        assert one.group("ip", group) == {}
    assert one.millrace("consume", "ip", "--group", "later", "--forget").returncode == 1
    forbidden = one.millrace("consume", "ip", "--group", "tally", "--forget")
    assert forbidden.returncode == 1 and "tally" in forbidden.stderr


def test_no_program_takes_the_group_of_a_stage_even_while_that_is_down(instance, rng):
    one = instance()
    send_events(one, random_sha(rng), range(50))
    one.settle("ip", 50)
    pid = one.pid_of("tally.0")
    pause(pid)
    try:
        for command in ("consume", "ip", "--group", "tally", "--no-follow", "--", "cat"), ("consume", "ip", "--group", "tally", "--forget"):
            result = one.millrace(*command)
            assert result.returncode == 1 and result.stdout == "" and "belongs to a stage" in result.stderr
        os.kill(pid, signal.SIGKILL)
        result = one.millrace("consume", "ip", "--group", "tally", "--no-follow", "--", "cat")
        assert result.returncode == 1 and "belongs to a stage" in result.stderr
    finally:
        resume(pid)
    send_events(one, random_sha(rng), range(50))
    one.settle("ip", 100)
    wait_until(lambda: one.group("ip", "tally")["read_records"] == 100, 15, "tally counts on")


@pytest.mark.parametrize("program, why", [
    (["./absent"], "No such file"), (["absent-from-every-folder"], "No such file"), (["/etc/passwd"], "not an executable"),
    (["/"], "not an executable"), ([""], "No such file"),
])
def test_a_program_that_cannot_be_started_leaves_no_group(instance, program, why):
    one = instance()
    result = one.millrace("consume", "ip", "--group", "typo", "--from", "oldest", "--", *program)
    assert result.returncode == 1 and why in result.stderr, result.stderr
    assert one.group("ip", "typo") == {}


def test_a_new_group_of_which_nothing_was_acknowledged_is_taken_back_when_its_program_fails(instance, rng):
    one = instance()
    send_events(one, random_sha(rng), [1, 2, 3])
    one.settle("ip", 3)
    failing = ("--retries", 0, "--batch", 1, "--no-follow", "--", "false")
    result = one.millrace("consume", "ip", "--group", "new", "--from", "oldest", *failing)
    assert result.returncode == 1 and "is not kept" in result.stderr
    assert one.group("ip", "new") == {}
    assert one.millrace("consume", "ip", "--group", "old", "--from", "oldest", "--count", 1, "--", "cat").returncode == 0
    result = one.millrace("consume", "ip", "--group", "old", *failing)
    assert result.returncode == 1 and "keeps its place" in result.stderr
    assert one.group("ip", "old")["waiting_records"] == 2
    assert one.millrace("consume", "ip", "--group", "old", "--forget").returncode == 0


def test_a_batch_that_failed_is_given_again(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    log = tmp_path / "log"
    # Fails on its first two calls, each in another way, after having read everything.
    script = (
        f"n=$(ls {tmp_path}/call.* 2>/dev/null | wc -l); cat > {tmp_path}/call.$n; "
        f"case $n in 0) exit 3;; 1) kill -9 $$;; esac; cat {tmp_path}/call.$n >> {log}"
    )
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", script)
    wait_group(one, "ip", "g")
    send_events(one, sha, range(20))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 20, 15, "acknowledged in the end")
    assert consumer.end() == 0
    assert [e["ip"] for e in events(log.read_text())] == [f"0.0.0.{i}" for i in range(20)]
    assert (tmp_path / "call.0").read_text() == (tmp_path / "call.1").read_text()
    assert "exited with 3" in consumer.errors() and "killed by SIGKILL" in consumer.errors()


def test_a_program_that_always_fails_leaves_the_place_where_it_was(instance, running, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat").returncode == 0
    consumer = running(one, "consume", "ip", "--group", "g", "--retries", 1, "--", "false")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(7))
    assert consumer.process.wait(timeout=20 * SLOW) == 1
    assert "2 of 2 attempts" in consumer.errors() and "--forget" in consumer.errors()
    assert one.group("ip", "g")["waiting_records"] == 7
    missing = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "/nonexistent/program")
    assert missing.returncode == 1 and "cannot start /nonexistent/program" in missing.stderr
    assert one.group("ip", "g")["waiting_records"] == 7
    again = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat")
    assert len(events(again.stdout)) == 7


def test_killed_at_any_moment_a_consumer_loses_nothing(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    # A file for each program: one that was cut off in a line must not spoil the first line of the next.
    keep = f"cat > $(mktemp -p {tmp_path} taken.XXXXXX)"
    arguments = ["consume", "ip", "--group", "g", "--batch", 50, "--linger", "5ms", "--", "sh", "-c", keep]
    consumer = running(one, *arguments)
    wait_group(one, "ip", "g")
    for start in range(0, 4000, 500):
        send_events(one, sha, range(start, start + 500))
        time.sleep(rng.random() * 0.1)
        consumer.process.kill()
        consumer.process.wait()
        consumer = running(one, *arguments)
    wait_until(lambda: one.group("ip", "g")["read_records"] == 4000, 30, "all acknowledged")
    # All may have been acknowledged before the last kill: then this one has not even begun, and cannot end in order yet.
    wait_until(lambda: one.group("ip", "g")["reader_pid"] == consumer.process.pid, 30, "the last consumer to read")
    assert consumer.end() == 0
    # A line may have been cut when its program was killed with the consumer; the batch came again, whole.
    got = set()
    for taken in tmp_path.glob("taken.*"):
        for line in taken.read_text().split("\n"):
            try:
                got.add(json.loads(line)["ip"])
            except ValueError:
                continue
    assert got == {f"0.0.{i >> 8}.{i & 255}" for i in range(4000)}


LINE_PROGRAM = """
import json, os, sys
batch = []
for line in sys.stdin:
    if line != "\\n":
        batch.append(json.loads(line)["ip"])
        continue
    with open(sys.argv[1], "a") as out:
        out.write(json.dumps({"pid": os.getpid(), "batch": batch}) + "\\n")
    batch = []
    print("ok", flush=True)
with open(sys.argv[1], "a") as out:
    out.write(json.dumps({"pid": os.getpid(), "end": True, "rest": batch}) + "\\n")
"""


def test_a_program_may_stay_and_acknowledge_by_a_line(instance, running, tmp_path, rng):
    one = instance()
    log = tmp_path / "log"
    consumer = running(
        one, "consume", "ip", "--group", "g", "--ack", "line", "--batch", 40, "--", sys.executable, "-c", LINE_PROGRAM, log
    )
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(200))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 200, 15, "all acknowledged")
    assert consumer.end() == 0 and consumer.errors() == ""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({e["pid"] for e in entries}) == 1
    assert entries[-1].get("end") and entries[-1]["rest"] == []
    assert [ip for e in entries for ip in e.get("batch", [])] == [f"0.0.0.{i}" for i in range(200)]
    assert all(len(e["batch"]) <= 40 for e in entries[:-1])


def test_without_its_line_a_batch_is_not_acknowledged(instance, running, tmp_path, rng):
    one = instance()
    log = tmp_path / "log"
    # Dies once in the middle of a batch, without a word; then does as it should.
    program = f"import os\nif not os.path.exists({str(log)!r}):\n    open({str(log)!r}, 'w'); input(); os._exit(0)\n" + LINE_PROGRAM
    consumer = running(
        one, "consume", "ip", "--group", "g", "--ack", "line", "--", sys.executable, "-c", program, log
    )
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(30))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 30, 15, "all acknowledged")
    assert consumer.end() == 0 and "ended without acknowledging" in consumer.errors()
    batches = [json.loads(line) for line in log.read_text().splitlines()]
    assert [ip for e in batches for ip in e.get("batch", [])] == [f"0.0.0.{i}" for i in range(30)]


def test_a_program_that_talks_too_much_is_not_believed(instance, running, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat").returncode == 0
    consumer = running(one, "consume", "ip", "--group", "g", "--ack", "line", "--retries", 0, "--", "cat")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(30))
    assert consumer.process.wait(timeout=20 * SLOW) == 1
    assert "acknowledged" in consumer.errors()
    assert one.group("ip", "g")["waiting_records"] == 30
    assert one.millrace("consume", "ip", "--group", "g", "--forget").returncode == 0


def test_sigterm_lets_the_batch_be_finished(instance, running, tmp_path, rng):
    one = instance()
    taken = tmp_path / "taken"
    script = f"touch {tmp_path}/begun; sleep {1 * SLOW}; cat >> {taken}"
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", script)
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(10))
    wait_until(lambda: (tmp_path / "begun").exists(), 10, "the program has begun")
    consumer.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert consumer.end(signal.SIGTERM) == 0  # timeout(1) sends it twice
    assert len(events(taken.read_text())) == 10
    assert one.group("ip", "g")["waiting_records"] == 0


def test_a_signal_a_second_later_ends_what_does_not_want_to_end(instance, running, tmp_path, rng):
    one = instance()
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", f"touch {tmp_path}/begun; exec sleep 30")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(10))
    wait_until(lambda: (tmp_path / "begun").exists(), 10, "the program has begun")
    consumer.process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert consumer.process.poll() is None
    assert consumer.end(signal.SIGINT) == -signal.SIGINT
    assert one.group("ip", "g")["waiting_records"] == 10
    assert one.millrace("consume", "ip", "--group", "g", "--forget").returncode == 0


def test_a_group_has_one_reader(instance, running):
    one = instance()
    consumer = running(one, "consume", "ip", "--group", "g", "--", "cat")
    wait_group(one, "ip", "g")
    second = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat")
    assert second.returncode == 1 and str(consumer.process.pid) in second.stderr
    stolen = one.millrace("consume", "ip", "--group", "tally", "--no-follow", "--", "cat")
    assert stolen.returncode == 1 and "tally" in stolen.stderr
    assert consumer.end() == 0


def test_a_changed_configuration_does_not_disturb_readers(instance, running, tmp_path, rng):
    config = default_config(tmp_path)
    one = instance(config=config)
    tap = running(one, "tap", "ip")
    consumer = running(one, "consume", "ip", "--group", "g", "--", "cat")
    wait_tap(one, tap)
    wait_group(one, "ip", "g")
    config["ingest"]["udp"].append({"listen": ["127.0.0.1:0"], "format": "ipevent", "processes": 1, "receive_buffer": "4MiB"})
    one.write_config(config)
    os.kill(one.process.pid, signal.SIGHUP)
    wait_until(lambda: len(one.topic("ip")["lanes"]) == 2, 20, "two lanes")
    one.wait_running()
    addresses = wait_until(lambda: len(one.addresses()) >= 2 and one.addresses(), 10, "the new listener's line")
    sha = random_sha(rng)
    send_paced(addresses[-1][:2], [ipevent(sha, i) for i in range(20)], RATE)
    wait_until(lambda: len(tap.lines()) == 20 and len(consumer.lines()) == 20, 15, "20 events at each")
    assert consumer.end() == 0 and tap.end() == 0
