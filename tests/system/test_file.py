"""Sinks that write lines: into a growing file, each event once whatever dies, and to standard output."""
import collections
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

import load
from harness import BUILD, MILLRACE, SLOW, default_config, namespace, wait_until
from http_help import EXAMPLE, LOG_EXAMPLE, Client, Load, ask, http_address, http_config

KILLS = 30
RATE = 20000 / SLOW


def with_sinks(config, *sinks):
    return {**config, "sinks": list(sinks)}


def file_sink(path, **more):
    return {"name": "lines", "kind": "file", "topics": ["log"], "path": str(path), "write_interval": "20ms", **more}


def role(millrace, name="file.lines"):
    return millrace.stage(name)


def metric(millrace, name, of="file.lines"):
    return role(millrace, of)["metrics"][name]


def files_of(path):
    """The file and all that it was before."""
    return sorted(p for p in path.parent.iterdir() if p.name.startswith(path.name))


def events_of(path):
    """Every line of all of them, which must be whole."""
    found = []
    for file in files_of(path):
        text = file.read_bytes()
        assert text == b"" or text.endswith(b"\n"), f"{file} ends within a line: {text[-80:]!r}"
        found += [json.loads(line) for line in text.splitlines()]
    return found


def log_event(number):
    return {**LOG_EXAMPLE, "content_id": number}


def send_logs(millrace, numbers):
    for number in numbers:
        assert ask(http_address(millrace), "POST", "/log", log_event(number)).status == 200


class Numbered:
    """Sends log events numbered from 1 on one connection."""

    def __init__(self, millrace):
        self.client = Client(http_address(millrace))
        self.next = 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.socket.close()

    def send(self, n):
        for _ in range(n):
            assert self.client.ask("POST", "/log", log_event(self.next)).status == 200
            self.next += 1


def numbers_of(path):
    return [event["content_id"] for event in events_of(path)]


def wait_numbers(path, expected, what="the lines"):
    expected = list(expected)

    def there():
        try:
            return sorted(numbers_of(path)) == sorted(expected)
        except AssertionError:  # it is being written
            return False

    wait_until(there, 20, what)


# ---- what is in it ----


def test_events_of_several_topics_become_lines_and_filters_leave_some_out(instance, tmp_path):
    path = tmp_path / "all.ndjson"
    some = tmp_path / "some.ndjson"
    one = instance(config=with_sinks(
        http_config(tmp_path),
        file_sink(path, topics=["log", "metric"]),
        file_sink(some, name="some", filter=["content_id=3", "client_id=1"]),
    ))
    send_logs(one, range(1, 6))
    assert ask(http_address(one), "POST", "/event", EXAMPLE).status == 200
    wait_until(lambda: len(events_of(path)) == 6, what="all lines")
    events = events_of(path)
    assert [e for e in events if "content_id" in e] == [log_event(n) for n in range(1, 6)]
    assert [e["metric"] for e in events if "metric" in e] == ["kite_call"]
    wait_numbers(some, [3])
    wait_until(lambda: metric(one, "filtered_records", "file.some") == 4, what="those left out are counted")
    assert metric(one, "lines", "file.some") == 1
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, "others must not read events"


def test_tracking_events_can_be_tracking_lines(instance, tmp_path):
    path = tmp_path / "track.log"
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path, topics=["track"], format="line")))
    assert ask(http_address(one), "GET", "/track?event=view&color=red").status < 300
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == 1, what="the line")
    tapped = one.millrace("tap", "track", "--last", 10, "--no-follow", "--format", "line")
    assert tapped.stdout == path.read_text()


def test_ip_events_are_json_as_tap_shows_them(instance, tmp_path, rng):
    path = tmp_path / "ip.ndjson"
    one = instance(config=with_sinks(default_config(tmp_path), file_sink(path, topics=["ip"], format="json")))
    sha = load.random_sha(rng)
    load.send_paced(one.address(), [load.ipevent(sha, n + 1) for n in range(500)], RATE)
    one.settle("ip", 500)
    wait_until(lambda: len(events_of(path)) == 500, what="all lines")
    tapped = one.millrace("tap", "ip", "--last", 500, "--no-follow", "--format", "json")
    assert tapped.stdout == path.read_text()


# ---- what dies, moves, and is full ----


@pytest.mark.limit(180)
def test_every_event_is_there_once_whatever_is_killed_and_moved(instance, tmp_path, rng):
    """Kills of the sink under load. Victims are held first, so that the kill finds them at work, and wait for the disk,
    so that it comes between a write and its note. Now and then somebody moves the file away, and it is rotated by its
    size all the time."""
    path = tmp_path / "crash.ndjson"
    config = http_config(tmp_path, topics={"log": {"size": "4MiB"}})
    config["restart_backoff_max"] = "10ms"
    one = instance(config=with_sinks(config, file_sink(path, rotate={"size": "256KiB"}, write_interval="1ms", sync=True)))
    sender = Load(http_address(one), tmp_path, "--route", "log", "--rate", int(30000 / SLOW), "--duration", "120s", "-p", 4)
    moved = 0
    try:
        for _ in range(KILLS):
            pid = wait_until(lambda: role(one)["state"] == "running" and role(one)["pid"], 20, "the next life")
            time.sleep(rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0, 0.1))
            os.kill(pid, signal.SIGCONT)
            time.sleep(rng.uniform(0, 0.01))
            os.kill(pid, signal.SIGKILL)
            if rng.random() < 0.3:
                with contextlib.suppress(FileNotFoundError):  # the call that was killed was the rotation's own rename
                    path.rename(f"{path}.moved{moved}")
                    moved += 1
            wait_until(lambda before=pid: role(one)["pid"] not in (0, before), 20, "another process")
        account = sender.end()
    finally:
        sender.discard()
    acknowledged = sender.acknowledged()
    assert account["unanswered"] == 0 and len(acknowledged) > 1000
    wait_until(lambda: one.group("log", "lines")["waiting_records"] == 0 and metric(one, "uncommitted_records") == 0, 30, "all is read")
    counted = collections.Counter(numbers_of(path))
    twice = {n: times for n, times in counted.items() if times != 1}
    assert not twice, f"{len(twice)} events are there more than once: {sorted(twice.items())[:5]}"
    missing = set(acknowledged) - set(counted)
    assert not missing and len(counted) == len(acknowledged), f"{len(missing)} are missing: {sorted(missing)[:5]}"
    assert role(one)["restarts"] == KILLS
    assert metric(one, "foreign_changes") == 0


def test_more_lanes_than_one_commit_can_name_are_committed_in_turns(instance, tmp_path):
    """48 lanes of three topics get a record each while the sink is held, so that it finds all of them at once."""
    path = tmp_path / "many.ndjson"
    topics = ["orders", "visits", "clicks"]
    config = {**default_config(tmp_path), "topics": {t: {"size": "64KiB", "outside_lanes": 16} for t in topics}}
    one = instance(config=with_sinks(config, file_sink(path, topics=topics, write_interval="1m")))
    os.kill(role(one)["pid"], signal.SIGSTOP)
    try:
        writers = [subprocess.Popen([str(BUILD / "tests" / "outside_writer"), one.name, topic], env=one.environment(),
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for topic in topics for _ in range(16)]
        for number, writer in enumerate(writers):
            assert writer.stdout.readline() == "ready\n"
            writer.stdin.write(f"record {number}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "0\n"
        for writer in writers:
            writer.stdin.close()
            assert writer.wait(20 * SLOW) == 0
            writer.stdout.close()
    finally:
        os.kill(role(one)["pid"], signal.SIGCONT)
    wait_until(lambda: metric(one, "commits") >= 1, what="a commit long before its time, as its lanes are many")
    os.kill(role(one)["pid"], signal.SIGUSR1)  # millrace flush
    wait_until(lambda: len(events_of(path)) == 48, what="all records")
    assert len({event["id"] for event in events_of(path)}) == 48
    wait_until(lambda: metric(one, "commits") == 2 and metric(one, "uncommitted_records") == 0, what="two commits")


def test_a_new_supervisor_goes_on_in_the_same_file(instance, tmp_path):
    path = tmp_path / "lines.ndjson"
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path)))
    send_logs(one, [1, 2])
    wait_numbers(path, [1, 2])
    one.kill()
    one.start()
    send_logs(one, [3])
    wait_numbers(path, [1, 2, 3])
    assert one.stop() == 0
    one.start()
    send_logs(one, [4])
    wait_numbers(path, [1, 2, 3, 4])


def test_logrotate_moves_the_file_away_and_a_reload_begins_a_new_one(instance, tmp_path):
    path = tmp_path / "lines.ndjson"
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path)))
    pid = role(one)["pid"]
    send_logs(one, [1, 2])
    wait_numbers(path, [1, 2])
    path.rename(f"{path}.1")
    one.kill(signal.SIGHUP)
    wait_until(path.exists, what="the new file")
    send_logs(one, [3])
    wait_until(lambda: path.read_bytes().count(b"\n") == 1, what="its line")
    assert json.loads(path.read_text()) == log_event(3)
    assert (tmp_path / "lines.ndjson.1").read_bytes().count(b"\n") == 2
    # Without a reload it is seen, too.
    path.unlink()
    send_logs(one, [4])
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == 1, what="another new file")
    assert role(one)["pid"] == pid
    wait_until(lambda: metric(one, "reopened") == 2, what="both are counted")


def test_the_file_is_rotated_by_size_and_age_and_the_oldest_go(instance, tmp_path):
    path = tmp_path / "lines.ndjson"
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path, rotate={"size": 100, "after": "1s", "keep": 2})))
    for number in range(1, 6):
        send_logs(one, [number])
        wait_until(lambda n=number: one.group("log", "lines")["read_records"] == n, what="it is written")
    wait_until(lambda: metric(one, "rotations") >= 3, what="rotations by size and by age")
    # An empty file stays, however old.
    wait_until(lambda: path.exists() and path.stat().st_size == 0, what="an empty file")
    wait_until(lambda: metric(one, "file_bytes") == 0, what="the tick that tells of it, after the rotations")
    rotations = metric(one, "rotations")
    time.sleep(1.5 * SLOW)
    assert metric(one, "rotations") == rotations
    old = [p.name for p in files_of(path) if p != path]
    assert len(old) == 2 and all(re.fullmatch(r"lines\.ndjson\.\d{8}T\d{6}Z(-\d+)?", name) for name in old), old
    assert numbers_of(path)[-1] == 5


def test_what_others_do_to_the_file_spoils_no_line(instance, tmp_path):
    path = tmp_path / "lines.ndjson"
    path.write_text('{"content_id": 0}')  # no line feed
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path)))
    send_logs(one, [1])
    wait_numbers(path, [0, 1])
    with open(path, "a", encoding="utf-8") as other:
        other.write('{"content_id": 100}\n')
    send_logs(one, [2])
    wait_numbers(path, [0, 1, 100, 2])
    os.truncate(path, 0)  # as copytruncate does
    send_logs(one, [3])
    wait_numbers(path, [3])
    wait_until(lambda: metric(one, "foreign_changes") == 2, what="both are counted")


def test_a_folder_that_goes_is_failing_and_nothing_is_lost_when_it_comes_back(instance, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "lines.ndjson"
    one = instance(config=with_sinks(http_config(tmp_path), file_sink(path)))
    send_logs(one, [1])
    wait_numbers(path, [1])
    path.unlink()
    folder.rmdir()
    wait_until(lambda: metric(one, "failing") == 1, what="failing")
    assert "No such file or directory" in role(one)["note"]
    send_logs(one, [2, 3])
    folder.mkdir()
    wait_numbers(path, [2, 3])
    wait_until(lambda: metric(one, "failing") == 0, what="well again")
    said = one.log().count("cannot commit")
    # Once, and for the sandbox once more: it was about the old folder, until the stage had started again.
    assert said in (1, 2) and one.log().count("Permission denied") <= said - 1


@pytest.mark.skipif(namespace() is None, reason="no right to mount in a namespace of its own")
def test_a_full_disk_is_failing_and_the_file_has_whole_lines_only(instance, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    path = folder / "lines.ndjson"
    one = instance(start=False, config=with_sinks(http_config(tmp_path), file_sink(path)))
    one.wrapper = [*namespace(), "sh", "-c", f'mount -t tmpfs -o size=256k none "{folder}" && exec "$0" "$@"']
    one.start()
    seen = f"/proc/{role(one)['pid']}/root{path}"  # within its namespace

    def lines():
        with open(seen, "rb") as file:
            text = file.read()
        assert text == b"" or text.endswith(b"\n"), text[-80:]
        return [json.loads(line)["content_id"] for line in text.splitlines()]

    with open(os.path.join(os.path.dirname(seen), "ballast"), "wb") as ballast:
        ballast.write(bytes(200 << 10))
    with Numbered(one) as sender:
        sender.send(1000)
        wait_until(lambda: metric(one, "failing") == 1, what="failing")
        assert "No space left on device" in role(one)["note"]
        first = lines()
        assert first == list(range(1, len(first) + 1))
        os.unlink(os.path.join(os.path.dirname(seen), "ballast"))
        wait_until(lambda: metric(one, "failing") == 0, what="well again")
        wait_until(lambda: lines() == list(range(1, 1001)), what="all lines")


# ---- the list of sinks ----


def test_a_reload_adds_moves_changes_and_removes_sinks(instance, tmp_path):
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    a, b = file_sink(first, name="a"), file_sink(second, name="b")
    config = http_config(tmp_path)
    one = instance(config=with_sinks(config, a))

    def reload(*sinks):
        taken = len(re.findall(r"all stages run|no stage changes", one.log()))
        one.write_config(with_sinks(config, *sinks))
        one.kill(signal.SIGHUP)
        wait_until(lambda: len(re.findall(r"all stages run|no stage changes", one.log())) > taken, 20, "the reload")

    send_logs(one, [1])
    wait_numbers(first, [1])
    pid = role(one, "file.a")["pid"]
    reload(a, b)
    send_logs(one, [2])
    wait_numbers(first, [1, 2])
    wait_numbers(second, [2], "a new sink begins with what comes then")
    # Another order of the list restarts nobody.
    other = role(one, "file.b")["pid"]
    reload(b, a)
    assert (role(one, "file.a")["pid"], role(one, "file.b")["pid"]) == (pid, other)
    # Another option restarts that sink alone, which goes on where it was.
    reload({**b, "sync": True}, a)
    send_logs(one, [3])
    wait_numbers(second, [2, 3])
    assert role(one, "file.a")["pid"] == pid and role(one, "file.b")["pid"] != other
    # What is removed holds nobody up any more.
    reload(a)
    assert [s["name"] for s in one.stat()["stages"] if s["program"] == "file"] == ["file.a"]
    groups = {g["group"] for g in one.topic("log")["lanes"][0]["groups"]}
    assert groups == {"a"}
    send_logs(one, [4])
    wait_numbers(first, [1, 2, 3, 4])
    assert sorted(numbers_of(second)) == [2, 3]


def checked(tmp_path, *sinks):
    file = tmp_path / "checked.yaml"
    file.write_text(json.dumps(with_sinks(http_config(tmp_path), *sinks)))
    return subprocess.run([str(MILLRACE), "check", "-c", str(file)], capture_output=True, text=True, timeout=30 * SLOW, check=False)


@pytest.mark.parametrize("sink, words", [
    ({"topics": ["log", "metric"], "filter": ["content_id=3"]}, ["sinks[0].filter: events of metric have no field \"content_id\"; they have: ts, "]),
    ({"filter": ["content_id"]}, ["sinks[0].filter: \"content_id\" must be KEY=VALUE"]),
    ({"format": "line"}, ["sinks[0].format: events of log have no form \"line\"; allowed: auto, json"]),
    ({"format": "record"}, ["sinks[0].format: events of log have no form \"record\""]),
    ({"path": "/nowhere/at/all"}, ["sinks[0].path: /nowhere/at: No such file or directory"]),
    ({"path": "/dev/null"}, ["sinks[0].path: /dev/null: is no regular file"]),
    ({"path": ""}, ["sinks[0].path: is empty"]),
    ({"key": "{date}"}, ["sinks[0].key: is for kind objects kafka, this entry is of kind file; allowed: name, kind, topics"]),
    ({"topics": ["raw"]}, ["sinks[0].topics: nothing writes \"raw\""]),
    ({"name": "tally"}, ["sinks[0].name: \"tally\" is the name of a stage"]),
    ({"kind": "null"}, ["sinks[0].path: is for kind file, this entry is of kind null"]),
])
def test_check_says_what_is_wrong_with_a_sink(tmp_path, sink, words):
    result = checked(tmp_path, {**file_sink(tmp_path / "x"), **sink})
    assert result.returncode == 1
    for word in words:
        assert word in result.stderr, result.stderr
    assert not (tmp_path / "x").exists()


def test_check_takes_sinks_and_shows_them(tmp_path):
    result = checked(tmp_path, file_sink(tmp_path / "x"), {"name": "none", "kind": "null", "topics": "metric"})
    assert result.returncode == 0, result.stderr
    assert "stage file.lines: program file" in result.stdout and "required group: lines" in result.stdout
    assert "memory of file.lines: at most 2 MiB" in result.stdout
    assert not (tmp_path / "x").exists()
    same = checked(tmp_path, file_sink(tmp_path / "x"), file_sink(tmp_path / "x", name="other"))
    assert same.returncode == 1 and "is the file of sinks[1] too" in same.stderr, same.stderr


# ---- standard output, null ----


def test_standard_output_has_events_alone(instance, tmp_path):
    """What the supervisor says goes to standard error then."""
    one = instance(start=False, config=with_sinks(http_config(tmp_path), {"name": "out", "kind": "stdout", "topics": ["log"]}))
    out = tmp_path / "out"
    one.wrapper = ["sh", "-c", f'exec "$0" "$@" > "{out}"']
    one.start()
    send_logs(one, range(1, 51))
    wait_until(lambda: out.read_bytes().count(b"\n") == 50, what="the lines")
    assert [json.loads(line)["content_id"] for line in out.read_text().splitlines()] == list(range(1, 51))
    assert one.stop() == 0
    assert out.read_bytes().count(b"\n") == 50


def test_a_pipe_whose_reader_waits_is_said_and_goes_on_with_whole_lines(instance, tmp_path):
    config = http_config(tmp_path, topics={"log": {"size": "64KiB", "when_full": "refuse"}})
    one = instance(start=False, config=with_sinks(config, {"name": "out", "kind": "stdout", "topics": ["log"], "buffer": "64KiB", "stuck_after": "500ms"}))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    one.wrapper = ["sh", "-c", f'exec "$0" "$@" > "{pipe}"']
    one.start()
    with Numbered(one) as sender:
        accepted = 0
        while sender.client.ask("POST", "/log", {**log_event(accepted + 1), "text": "x" * 500}).status == 200:
            accepted += 1
            assert accepted < 100000
        assert accepted > 100
        wait_until(lambda: metric(one, "failing", "file.out") == 1, 30, "failing, after half a second without a byte")
        assert "its reader takes nothing" in role(one, "file.out")["note"]
        pid = role(one, "file.out")["pid"]
        os.kill(pid, signal.SIGKILL)
        text = b""
        while True:
            text += os.read(reader, 65536)
            lines = text.split(b"\n")
            if any(json.loads(line)["content_id"] == accepted for line in lines[:-1]):
                break
    numbers = [json.loads(line)["content_id"] for line in lines[:-1]]
    assert set(numbers) == set(range(1, accepted + 1)), "at least once, each line whole"
    wait_until(lambda: role(one, "file.out")["metrics"]["failing"] == 0, what="well again")
    os.close(reader)


def test_null_counts_and_forgets(instance, tmp_path):
    one = instance(config=with_sinks(http_config(tmp_path), {"name": "none", "kind": "null", "topics": ["log", "metric"]}))
    send_logs(one, [1, 2, 3])
    wait_until(lambda: metric(one, "lines", "file.none") == 3, what="they are counted")
    wait_until(lambda: one.group("log", "none")["waiting_records"] == 0 and metric(one, "uncommitted_records", "file.none") == 0, what="the cursor moves")
