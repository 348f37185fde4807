"""ingest-http when a topic is full, when it drains, and when it ends under load: what it acknowledged is there."""
import json
import signal
import subprocess
import threading
import time

import pytest

from harness import MILLRACE, SLOW, wait_until
from http_help import (
    EXAMPLE, Client, Load, check_ledger, connect, events, http_address, http_config, request_bytes, wait_metric,
)

POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue
LANE_BYTES = 65536


def consume(millrace, topic, group, *arguments, program=("cat",)):
    """What a required group gets, up to what is newest now."""
    result = millrace.millrace("consume", topic, "--group", group, "--no-follow", *arguments, "--", *program, timeout=60)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def fill(client, target, make):
    """Asks until the answer is a 503, which it returns with the numbers that were acknowledged."""
    for n in range(1, 10 * LANE_BYTES):
        reply = client.ask("POST", target, make(n))
        if reply.status == 503:
            return reply, list(range(1, n))
        assert reply.status in (200, 202), reply
    raise AssertionError("it is never full")


def check_refusal(reply, most_s=60):
    assert 1 <= int(reply.headers["retry-after"]) <= most_s
    assert "connection" not in reply.headers and set(reply.json()) == {"error", "where"}, reply


def test_a_topic_whose_reader_does_not_read_is_answered_503_and_loses_nothing(instance, tmp_path, backend):
    config = http_config(tmp_path, backend, topics={"metric": {"size": "64KiB"}}, retry_after_max="7s")
    millrace = instance(config=config)
    assert consume(millrace, "metric", "slow") == []
    with Client(http_address(millrace)) as client:
        refusal, taken = fill(client, "/event", lambda n: {**EXAMPLE, "count": n})
        check_refusal(refusal, most_s=7)
        assert len(taken) > LANE_BYTES // 200
        ready = client.ask("GET", "/readyz")
        assert ready.status == 503 and "metric" in ready.json()["error"]
        # Others go on.
        assert client.ask("GET", "/t/open").status == 200 and client.ask("GET", "/healthz").status == 200
        check_ledger(millrace, "metric", received=len(taken) + 1, refused=1, written=len(taken))
        first = [event["count"] for event in consume(millrace, "metric", "slow")]
        assert first == taken
        assert client.ask("GET", "/readyz").status == 200
        assert client.ask("POST", "/event", {**EXAMPLE, "count": 10**6}).status == 200
    assert [event["count"] for event in consume(millrace, "metric", "slow")] == [10**6]
    check_ledger(millrace, "metric", received=len(taken) + 2, refused=1, written=len(taken) + 1)
    wait_metric(millrace, "event_failed_refused", 1)


def test_a_batch_that_has_no_room_is_refused_whole(instance, tmp_path, backend):
    config = http_config(tmp_path, backend, topics={"track.raw": {"size": "64KiB"}})
    millrace = instance(config=config)
    consume(millrace, "track.raw", "slow")
    most = 100
    with Client(http_address(millrace)) as client:
        refusal, taken = fill(client, "/batch", lambda n: [{"type": f"{n}.{k}"} for k in range(most)])
        check_refusal(refusal)
    found = [event["type"] for event in consume(millrace, "track.raw", "slow")]
    assert found == [f"{n}.{k}" for n in taken for k in range(most)] and len(taken) > 3
    check_ledger(millrace, "track.raw", received=len(found) + most, refused=most, written=len(found))


def test_a_queue_that_is_full_takes_all_elements_of_a_request_or_none(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, queue={"slots": 64, "slot_size": 512}))

    def postbacks(n):
        return {"endpoint": {"method": "GET", "url": "http://h/{n}"}, "data": [{"n": n, "k": k} for k in range(5)]}

    with Client(http_address(millrace)) as client:
        refusal, taken = fill(client, "/ingest", postbacks)
        check_refusal(refusal)
        # What was refused takes no room from those that need less.
        assert client.ask("GET", "/readyz").status == 200
        assert client.ask("POST", "/ingest", {**postbacks(0), "data": 4 * [{"n": 0}]}).status == 202
        assert client.ask("POST", "/ingest", {**postbacks(0), "data": [{"n": 0}]}).status == 503
        wait_until(lambda: client.ask("GET", "/readyz").status == 503, 20, "/readyz to say that the queue is full")
        reply = client.ask("POST", "/ingest", {**postbacks(0), "data": 65 * [{"n": 0}]})
        assert reply.status == 413 and "slots" in reply.json()["error"]
        reply = client.ask("POST", "/ingest", {**postbacks(0), "data": [{"n": 0}, {"n": 600 * "x"}]})
        assert reply.status == 413 and reply.json()["where"] == "data[1]"
    assert taken == list(range(1, 13))
    found = [(event["data"]["n"], event["data"].get("k")) for event in events(millrace, "postback")]
    assert found == [(n, k) for n in taken for k in range(5)] + 4 * [(0, None)]
    assert millrace.stat()["queues"][0] == {**millrace.stat()["queues"][0], "free": 0, "filling": 0, "ready": 64, "taken": 0}
    wait_metric(millrace, "postbacks_refused", 6)
    assert millrace.stop() == POSTBACKS_WAIT


@pytest.mark.limit(120)
def test_what_is_acknowledged_under_pressure_is_read_once(instance, tmp_path, backend):
    """More than the lane holds, by clients that come again, and a reader that is slow."""
    millrace = instance(config=http_config(tmp_path, backend, topics={"metric": {"size": "64KiB"}}))
    found = tmp_path / "found"
    consume(millrace, "metric", "slow")
    reader = subprocess.Popen(
        [str(MILLRACE), "consume", "metric", "--group", "slow", "--batch", "50", "--linger", "1ms", "--", "sh", "-c",
         f"cat >> {found}"], stdin=subprocess.DEVNULL, env=millrace.environment())
    load = Load(http_address(millrace), tmp_path, "-c", 4, "-p", 16, "-n", 20000)
    try:
        account = load.end(interrupt=False)
    finally:
        load.discard()
    refused = account["codes"].get("503", 0)
    assert account["codes"] == {"200": 20000 - refused, "503": refused} and 0 < refused < 20000
    assert account["retry_after"]["min_s"] >= 1 and account["unanswered"] == account["connections"]["broken"] == 0
    stat = millrace.settle("metric", 20000)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(timeout=30 * SLOW) == 0
    assert sorted(json.loads(line)["count"] for line in found.read_text().splitlines()) == sorted(load.acknowledged())
    assert millrace.ledger("metric", stat)["refused"] == refused


# ---- the end ----


class Tap:
    """A tap that follows to the end of the instance; entered when it is in place."""

    def __init__(self, millrace, topic):
        self.millrace = millrace
        self.topic = topic

    def __enter__(self):
        self.process = subprocess.Popen(
            [str(MILLRACE), "tap", self.topic], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.millrace.environment())
        group = f"tap.{self.process.pid}"
        wait_until(lambda: self.millrace.group(self.topic, group), 20, "the tap's group")
        return self

    def events(self):
        out, _ = self.process.communicate(timeout=30 * SLOW)
        return [json.loads(line) for line in out.splitlines()]

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def halves(data):
    middle = len(data) // 2
    return data[:middle], data[middle:]


def test_what_is_under_way_at_the_end_is_answered_and_the_rest_closed(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    address = http_address(millrace)
    with Client(address) as posting, Client(address) as asking, Client(address) as idle, Client(address) as never:
        assert idle.ask("GET", "/readyz").status == 200
        event, rest_of_event = halves(request_bytes("POST", "/event", {**EXAMPLE, "count": 5}))
        question, rest_of_question = halves(request_bytes("GET", "/readyz"))
        posting.send(event)
        asking.send(question)
        wait_metric(millrace, "received_bytes", len(request_bytes("GET", "/readyz")) + len(event) + len(question))
        wait_metric(millrace, "connections", 4)
        millrace.kill(signal.SIGTERM)
        assert idle.ends() and never.ends()
        asking.send(rest_of_question)
        reply = asking.reply()
        assert reply.status == 503 and reply.json()["error"] == "draining" and reply.headers["connection"] == "close"
        assert asking.ends()
        with Tap(millrace, "metric") as tap:
            posting.send(rest_of_event)
            reply = posting.reply()
            assert reply.status == 200 and reply.headers["connection"] == "close" and posting.ends()
            assert millrace.wait_end() == 0
            assert [event["count"] for event in tap.events()] == [5]
    with pytest.raises(ConnectionRefusedError):
        connect(address)


@pytest.mark.limit(120)
@pytest.mark.parametrize("arguments", [("-c", 16, "-p", 4), ("-c", 8, "--keep-alive", "off")], ids=["keep_alive", "a_connection_each"])
def test_sigterm_under_load_loses_nothing_that_was_acknowledged(instance, tmp_path, backend, arguments):
    millrace = instance(config=http_config(tmp_path, backend, topics={"metric": {"size": "16MiB"}}))
    found = tmp_path / "found"
    consume(millrace, "metric", "all")
    reader = subprocess.Popen(
        [str(MILLRACE), "consume", "metric", "--group", "all", "--", "sh", "-c", f"cat >> {found}"], stdin=subprocess.DEVNULL,
        env=millrace.environment())
    load = Load(http_address(millrace), tmp_path, *arguments, "--duration", 600)
    try:
        wait_until(lambda: millrace.ledger("metric")["written"] > 3000, 30, "some events")
        assert millrace.stop() == 0, millrace.log()
        assert reader.wait(timeout=30 * SLOW) == 0
        account = load.end()
    finally:
        load.discard()
    assert not millrace.directory.exists()
    read = [json.loads(line) for line in found.read_text().splitlines()]
    counts = [event["count"] for event in read]
    taken = load.acknowledged()
    print("unanswered", account["unanswered"], account["connections"], account["codes"])
    assert len(counts) == len(set(counts)), "none is there twice"
    assert set(taken) <= set(counts) and len(taken) > 3000
    assert set(account["codes"]) == {"200"}


class Talker(threading.Thread):
    """Asks over and over on one connection, until an answer says that it is the last one."""

    def __init__(self, address):
        super().__init__()
        self.client = Client(address)
        self.answers = 0
        self.last = None
        self.problem = None
        self.pause_s = 0.0  # how long the connection was idle at last

    def run(self):
        answered = time.monotonic()
        try:
            while self.last != "close":
                self.pause_s = time.monotonic() - answered
                self.last = self.client.ask("POST", "/event", {**EXAMPLE, "count": self.answers}).headers.get("connection")
                answered = time.monotonic()
                self.answers += 1
        except (OSError, EOFError) as error:
            self.problem = error
        finally:
            self.client.socket.close()


@pytest.mark.limit(120)
def test_at_the_end_every_connection_that_asks_is_told_to_close(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    talkers = [Talker(http_address(millrace)) for _ in range(8)]
    for talker in talkers:
        talker.start()
    wait_until(lambda: all(talker.answers > 20 for talker in talkers), 30, "answers to all")
    assert millrace.stop() == 0
    for talker in talkers:
        talker.join()
    # Who pauses for long is closed as idle, and may find that out with a request.
    busy = [talker for talker in talkers if talker.pause_s < 0.1]
    assert [talker.problem for talker in busy] == len(busy) * [None]
    assert all(talker.last == "close" for talker in busy)
