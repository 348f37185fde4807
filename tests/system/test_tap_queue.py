"""A queue as people see it: tap, stat, and what consume says of it. The instance is one without stages, filled step by
step; this process has the lock of its supervisor."""
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest

from harness import BUILD, MILLRACE, ROOT, SLOW, wait_until

FOLLOW = 5000  # more than the queues of these tests hold: all that is there


class Queue:
    """An instance with the queue "postback"; made and changed by tests/queue_tool."""

    def __init__(self, shm_root, name, slots):
        self.name = name
        self.environment = dict(os.environ, MILLRACE_SHM=str(shm_root), MILLRACE_INSTANCE=name)
        self.directory = shm_root / name
        self.tool("make", slots)
        self.lock = open(self.directory / "lock", "wb")  # pylint: disable=consider-using-with
        fcntl.lockf(self.lock, fcntl.LOCK_EX)

    def tool(self, *arguments):
        subprocess.run(
            [str(BUILD / "tests" / "queue_tool"), self.name, *map(str, arguments)], check=True, env=self.environment,
            timeout=30 * SLOW)

    def millrace(self, *arguments, text=True):
        return subprocess.run(
            [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=text,
            env=self.environment, timeout=30 * SLOW)

    def numbers(self, *arguments):
        """What a tap that does not follow prints, by number."""
        result = self.millrace("tap", "postback", "--no-follow", *arguments)
        assert result.returncode == 0 and result.stderr == "", result.stderr
        return [number(line) for line in result.stdout.splitlines()]


def number(line):
    return int(json.loads(line)["url"].rsplit("/", 1)[1])


@pytest.fixture
def queue(shm_root):
    made = []

    def make(slots=64):
        made.append(Queue(shm_root, f"queue-{os.getpid()}-{time.monotonic_ns()}", slots))
        return made[-1]

    yield make
    for one in made:
        one.lock.close()
        shutil.rmtree(one.directory)


class Tap:
    """A tap that follows, its output in a file."""

    def __init__(self, one, tmp_path, *arguments):
        self.out, self.err = tmp_path / "tap.out", tmp_path / "tap.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [str(MILLRACE), "tap", "postback", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=one.environment)

    def numbers(self):
        return [number(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_numbers(self, expected):
        wait_until(lambda: self.numbers() == expected, 15, f"{expected} at the tap")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=15 * SLOW)


@pytest.fixture
def tap(tmp_path, started):
    return lambda one, *arguments: started(Tap(one, tmp_path, *arguments))


def test_a_tap_shows_the_newest_messages_of_a_queue_and_takes_none(queue):
    one = queue()
    one.tool("push", 1, 9)
    assert one.numbers("--last", FOLLOW) == list(range(1, 10))
    assert one.numbers("--last", 3) == [7, 8, 9]
    assert one.numbers("--last", 3, "--count", 2) == [7, 8]
    assert one.numbers() == []
    assert one.numbers("--last", FOLLOW) == list(range(1, 10))


def test_messages_that_are_taken_are_shown_until_they_are_done(queue):
    one = queue()
    one.tool("push", 1, 5)
    one.tool("take", 2)
    assert one.numbers("--last", FOLLOW) == [1, 2, 3, 4, 5]
    one.tool("done")
    assert one.numbers("--last", FOLLOW) == [3, 4, 5]


def test_a_message_has_the_form_that_is_documented(queue):
    one = queue()
    one.tool("push", 4, 5)
    first, second = map(json.loads, one.millrace("tap", "postback", "--last", 2, "--no-follow").stdout.splitlines())
    assert first == {
        "id": f"{7:016x}{4:016x}", "ts": 4000, "ip": "10.0.0.4", "method": "GET", "url": "http://host/4",
        "data": {"mascot": "Gopher"}}
    assert second["method"] == "POST" and second["id"] == f"{7:016x}{5:016x}"


def test_filters_choose_among_messages_and_know_their_fields(queue):
    one = queue()
    one.tool("push", 1, 6)
    assert one.numbers("--last", FOLLOW, "--filter", "method=GET") == [2, 4, 6]
    assert one.numbers("--last", FOLLOW, "--filter", "url=http://host/3") == [3]
    assert one.numbers("--last", FOLLOW, "-f", "method=POST", "-f", "ip=10.0.0.5") == [5]
    result = one.millrace("tap", "postback", "--filter", "colour=red")
    assert result.returncode == 2 and "events of postback" in result.stderr and "url" in result.stderr


def test_raw_messages_are_records_with_a_header(queue):
    one = queue()
    one.tool("push", 1, 2)
    data = one.millrace("tap", "postback", "--last", 2, "--no-follow", "--format", "raw", text=False).stdout
    for i in (1, 2):
        length, kind, flags = struct.unpack_from("<IHH", data)
        assert kind == 6 and flags == 0
        assert struct.unpack_from("<Q", data, 8)[0] == i * 10**9
        assert f"http://host/{i}".encode() in data[8:8 + length]
        data = data[8 + (length + 7) // 8 * 8:]
    assert data == b""


def test_a_tap_follows_what_comes_over_many_laps(queue, tap):
    one = queue(16)
    one.tool("push", 1, 3)
    following = tap(one, "--last", 2)
    following.wait_numbers([2, 3])
    expected = [2, 3]
    for first in range(4, 64, 5):
        one.tool("push", first, first + 4)
        expected += range(first, first + 5)
        following.wait_numbers(expected)
        one.tool("take", 5)
        one.tool("done")
    assert following.end() == 0 and following.err.read_text() == ""


def test_a_tap_ends_after_so_many_messages(queue, tap):
    one = queue()
    one.tool("push", 1, 2)
    following = tap(one, "--last", 2, "--count", 4)
    following.wait_numbers([1, 2])
    one.tool("push", 3, 7)
    assert following.process.wait(timeout=15 * SLOW) == 0
    assert following.numbers() == [1, 2, 3, 4]


def test_a_tap_ends_with_the_instance(queue, tap):
    one = queue()
    one.tool("push", 1, 1)
    following = tap(one, "--last", 1)
    following.wait_numbers([1])
    one.tool("end")
    one.lock.close()
    assert following.process.wait(timeout=15 * SLOW) == 0
    assert "has ended" in following.err.read_text()


def test_what_is_no_postback_is_left_out_and_counted(queue):
    one = queue()
    one.tool("push", 1, 1)
    one.tool("garbage")
    one.tool("push", 2, 2)
    result = one.millrace("tap", "postback", "--last", FOLLOW, "--no-follow")
    assert result.returncode == 0
    assert [number(line) for line in result.stdout.splitlines()] == [1, 2]
    assert "1 messages are not what their type says" in result.stderr


def test_stat_counts_the_slots_of_a_queue_by_phase(queue):
    one = queue(32)
    one.tool("push", 1, 9)
    one.tool("take", 4)
    stat = json.loads(one.millrace("stat", "--json").stdout)
    assert stat["queues"] == [
        {"queue": "postback", "slots": 32, "slot_bytes": 1000, "free": 23, "filling": 0, "ready": 5, "taken": 4}]
    lines = one.millrace("stat").stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("QUEUE"))
    assert lines[head].split() == ["QUEUE", "SLOTS", "SLOT", "SIZE", "FREE", "FILLING", "READY", "TAKEN"]
    assert lines[head + 1].split()[0] == "postback" and lines[head + 1].split()[-4:] == ["23", "0", "5", "4"]


@pytest.mark.parametrize("rest", [["--", "cat"], ["--forget"]])
def test_consume_says_that_a_queue_is_no_topic(queue, rest):
    one = queue()
    result = one.millrace("consume", "postback", "--group", "g", *rest)
    assert result.returncode == 1
    assert '"postback" is a queue, not a topic' in result.stderr and "millrace tap postback" in result.stderr


def test_completion_offers_topics_to_both_and_queues_to_tap_alone(queue):
    one = queue()
    script = (
        f"source {ROOT}/cli/completion/millrace; "
        "try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _millrace; echo \"${COMPREPLY[*]}\"; }; "
        f"try {MILLRACE} tap ''; try {MILLRACE} consume ''")
    result = subprocess.run(
        ["bash", "-uc", script], capture_output=True, text=True, env=one.environment, timeout=30 * SLOW, check=True)
    assert result.stderr == ""
    assert [line.split() for line in result.stdout.splitlines()] == [["ip", "postback"], ["ip"]]
