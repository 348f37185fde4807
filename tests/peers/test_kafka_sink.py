"""Sinks of the kind kafka into Apache Kafka, read back by librdkafka (in confluent-kafka, another version than the sink's): every
event is there, in order, whatever dies meanwhile; with exactly_once each once to a read_committed reader."""
import json
import threading
import time

import pytest

from harness import SLOW, kill_pid, processes, wait_until
from http_help import connect, http_address, http_config

CLIENTS = 7
STAMP = 1586846680064
BATCH = 500
ROLE = "kafka.bus"


def config_of(tmp_path, kafka, log_size="64MiB", **sink):
    config = http_config(tmp_path, topics={"log": {"size": log_size}})
    config["sinks"] = [{"name": "bus", "kind": "kafka", "topics": ["log"], "brokers": [kafka.bootstrap], "topic": "{topic}-{instance}",
                        "key": "{client_id}", **sink}]
    return config


@pytest.fixture
def bus(instance, kafka, tmp_path):
    """bus(partitions, **sink): a running instance with the sink, and the name of its topic in Kafka, which ends with the test."""
    made = []

    def make(partitions=3, **sink):
        millrace = instance(config=config_of(tmp_path, kafka, **sink), start=False)
        made.append(f"log-{millrace.name}")
        kafka.create(made[-1], partitions=partitions)
        return millrace.start(), made[-1]

    yield make
    for topic in made:
        kafka.delete(topic)


def requests(numbers):
    for number in numbers:
        body = b'{"text":"hello","content_id":%d,"client_id":%d,"timestamp":%d}' % (number + 1, number % CLIENTS + 1, STAMP)
        yield b"POST /log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def send(millrace, numbers):
    """By one connection, so that they keep their order. Each is answered 200; replies are counted, not read, as there are many."""
    with connect(http_address(millrace)) as client:
        for start in range(numbers.start, numbers.stop, BATCH):
            some = range(start, min(numbers.stop, start + BATCH))
            client.sendall(b"".join(requests(some)))
            replies = b""
            while replies.count(b"HTTP/1.1 ") < len(some) or not replies.endswith(b"OK"):
                more = client.recv(1 << 16)
                assert more, "the connection was closed"
                replies += more
            assert replies.count(b"HTTP/1.1 200 ") == len(some), replies[-1000:]


class Sender:
    """Sends in a thread of its own until it is told to stop."""

    def __init__(self, millrace):
        self.millrace, self.count, self.problem, self.stopping = millrace, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                send(self.millrace, range(self.count, self.count + BATCH))
                self.count += BATCH
                time.sleep(0.05)
        except BaseException as error:  # pylint: disable=broad-except
            self.problem = error

    def stop(self):
        self.stopping.set()
        self.thread.join(60 * SLOW)
        assert self.problem is None and not self.thread.is_alive(), self.problem
        return self.count


def pid_of_sink(millrace):
    found = processes.children(of=millrace.process.pid)
    return next((pid for pid, command in found.items() if f"--role {ROLE}" in command), None)


def numbers_in(messages):
    """The numbers of the events in each partition, in order; each with the key of its client."""
    found = {}
    for partition, _, key, value in messages:
        event = json.loads(value)
        assert key == str(event["client_id"]).encode() and event["text"] == "hello" and event["timestamp"] == STAMP
        found.setdefault(partition, []).append(event["content_id"] - 1)
    return found


def check(messages, count, once):
    """All of 0 .. count - 1, each client's in the order in which they were sent; once, or at least once."""
    partitions = numbers_in(messages)
    every = [number for numbers in partitions.values() for number in numbers]
    missing = set(range(count)) - set(every)
    assert not missing, f"{len(missing)} of {count} missing: {sorted(missing)[:10]}"
    if once:
        assert len(every) == count, f"{len(every) - count} of {count} more than once"
    for numbers in partitions.values():
        for client in {number % CLIENTS for number in numbers}:
            first = list(dict.fromkeys(number for number in numbers if number % CLIENTS == client))
            assert first == sorted(first), f"out of order: client {client + 1}"
    assert len(partitions) > 1, "all went to one partition"


@pytest.mark.limit(240)
def test_a_million_events_are_there_in_order(bus, kafka):
    count = 1_000_000
    millrace, topic = bus(log_size="256MiB", properties=["compression.type=lz4"])
    send(millrace, range(count))
    assert millrace.stop() == 0
    check(kafka.consume(topic, timeout=100), count, once=True)


@pytest.mark.limit(240)
@pytest.mark.parametrize("exactly_once", [False, True])
def test_a_broker_that_dies_and_comes_back_loses_nothing(bus, kafka, rng, exactly_once):
    millrace, topic = bus(log_size="256MiB", exactly_once=exactly_once, transaction={"interval": "200ms"})
    sender = Sender(millrace)
    for _ in range(2):
        time.sleep(rng.uniform(0.5, 1.5))
        kafka.kill()
        time.sleep(rng.uniform(0.5, 1.5))
        kafka.start()
    count = sender.stop()
    assert millrace.stop() == 0
    # At least once: a producer that failed is made anew, and says again what was not confirmed to it.
    check(kafka.consume(topic, timeout=100), count, once=exactly_once)


@pytest.mark.limit(240)
def test_kills_of_a_sink_neither_lose_nor_repeat(bus, kafka, rng):
    millrace, topic = bus(exactly_once=True, transaction={"interval": "100ms"})
    sender = Sender(millrace)
    for _ in range(20):
        time.sleep(rng.uniform(0.05, 0.8))
        kill_pid(wait_until(lambda: pid_of_sink(millrace), 20, "a life of the sink"))
    count = sender.stop()
    wait_until(lambda: pid_of_sink(millrace), 20, "a life of the sink")
    assert millrace.stop() == 0
    check(kafka.consume(topic, timeout=100), count, once=True)
