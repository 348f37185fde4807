"""tally killed again and again while events of every topic come in: each is counted once, in the book of its topic.

The senders remember what was answered with success; nothing else is killed, so these are all events, each once. What deliver tried is in the
topic, which is large enough to hold all of it. The tests of each topic compare every answer of the reports; here all books are written by the same
commits.
"""
import collections
import contextlib
import json
import os
import random
import sqlite3
import threading
import time
import urllib.parse

import pytest

from deliver_help import Receiver, deliver_config
from harness import SLOW, default_config, kill_pid, processes, wait_until
from http_help import Client, events, http_address
from load import Expected, mixture, send_paced

KILLS = int(os.environ.get("MILLRACE_KILLS", "50"))
TOPICS = ("ip", "metric", "track", "delivery")
USERS = [f"user{i}" for i in range(20)]
METRICS = [f"metric_{i}" for i in range(7)]
TYPES = ["app_open", "offr", "buy", "café ☕"]
OUTCOMES = ["delivered", "again", "dead", "gone"]
DATAGRAMS_A_SECOND = 3000 / SLOW
EVENTS_MOST = 100000  # of one kind, so that the topics hold all


def everything(tmp_path):
    """All listeners, and lanes that hold what comes while tally is dead. The topic delivery holds all of it."""
    config = deliver_config(tmp_path)
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    config["tally"] = {"commit_interval": "20ms"}
    config["deliver"]["processes"] = 1
    config["topics"] = {name: {"size": "64MiB"} for name in ("ip", "metric", "log", "track.raw", "track", "delivery")}
    return config


class Work(threading.Thread):
    """Calls `once` until it is told to end."""

    def __init__(self, once):
        super().__init__(daemon=True)
        self.once = once
        self.ending = threading.Event()
        self.failure = None

    def run(self):
        try:
            for _ in range(EVENTS_MOST):
                if self.ending.is_set():
                    return
                self.once()
        except Exception as failure:  # told by end()
            self.failure = failure

    def end(self):
        self.ending.set()
        self.join()
        if self.failure:
            raise self.failure


class Senders:
    """One for each topic, and what they have sent."""

    def __init__(self, one, receiver, rng):
        self.ips = Expected()
        self.metrics = collections.Counter()
        self.sums = collections.defaultdict(list)
        self.types = collections.Counter()
        self.postbacks = 0
        self.one = one
        self.receiver = receiver
        self.rngs = [random.Random(rng.random()) for _ in range(4)]
        self.stack = contextlib.ExitStack()
        self.clients = [self.stack.enter_context(Client(http_address(one))) for _ in range(3)]
        self.works = [Work(once) for once in (self.datagrams, self.metric, self.track, self.postback)]
        for work in self.works:
            work.start()

    def datagrams(self):
        some = mixture(self.rngs[0], 300, 50, 10, self.ips)
        send_paced(self.one.address(), some, DATAGRAMS_A_SECOND)

    def metric(self):
        rng = self.rngs[1]
        event = {"username": rng.choice(USERS), "count": rng.randrange(-1000, 1000), "metric": rng.choice(METRICS)}
        assert self.clients[0].ask("POST", "/event", event).status == 200
        self.metrics[event["metric"]] += 1
        self.sums[event["username"], event["metric"]].append(event["count"])

    def track(self):
        rng = self.rngs[2]
        type_ = rng.choice(TYPES)
        assert self.clients[1].ask("GET", "/t/" + urllib.parse.quote(type_) + f"?n={rng.randrange(9)}").status == 200
        self.types[type_] += 1

    def postback(self):
        rng = self.rngs[3]
        n = rng.randrange(1, 5)
        body = {"endpoint": {"method": "GET", "url": self.receiver.url(rng.choice(["/good", "/bad"]) + "?n={n}")}, "data": [{"n": i} for i in range(n)]}
        reply = self.clients[2].ask("POST", "/ingest", body)
        assert reply.status == 202, reply
        self.postbacks += n
        time.sleep(0.002)

    def end(self):
        for work in self.works:
            work.end()
        self.stack.close()


def kill_tally(one, rng, last):
    """Once the life after `last` is at work; half of the time what gathers for it comes to it just before. Returns its pid."""

    def at_work():
        stage = one.stage("tally.0")
        return stage["state"] == "running" and stage["pid"] != last and stage["pid"]

    pid = wait_until(at_work, 30, "tally runs")
    time.sleep(rng.uniform(0, 0.1))
    if rng.random() < 0.5:
        with contextlib.suppress(ProcessLookupError):
            processes.pause(pid)
            time.sleep(rng.uniform(0.01, 0.05))
            processes.resume(pid)
            time.sleep(rng.uniform(0, 0.01) * SLOW)
    assert kill_pid(pid), "it has ended by itself"
    return pid


def rows(tmp_path, query, *arguments):
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path / 'data' / 'tally.db'}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(query, arguments).fetchall()


def listed(tmp_path, names):
    """{key: count} of the lists with such names, together; all counts are exact."""
    query = "SELECT key, sum(count), max(error) FROM top_counter JOIN top ON top.id = list WHERE name LIKE ? GROUP BY key"
    found = rows(tmp_path, query, names)
    assert all(error == 0 for _, _, error in found)
    return {key.decode() if isinstance(key, bytes) else key: count for key, count, _ in found}


def check_ip(one, sent):
    assert one.counts() == sent.ips.count
    for sha in sorted(sent.ips.count)[:10]:
        assert one.report(sha) == sent.ips.report(sha)


def check_metrics(one, tmp_path, sent):
    assert listed(tmp_path, "metric/day/%") == sent.metrics
    assert {name for name, in rows(tmp_path, "SELECT CAST(name AS TEXT) FROM account")} == {user for user, _ in sent.sums}
    result = one.millrace("report", "metrics", "user-hour", "--limit", 10000)
    assert result.returncode == 0, result.stderr
    hour = {(entry["_id"]["username"], entry["_id"]["metric"]): entry for entry in json.loads(result.stdout)}
    assert {about: (entry["count"], entry["minimum"], entry["maximum"]) for about, entry in hour.items()} == {
        about: (len(values), min(values), max(values)) for about, values in sent.sums.items()}


def check_tracks(tmp_path, sent):
    assert listed(tmp_path, "track/type") == sent.types
    assert rows(tmp_path, "SELECT value FROM total WHERE name = 'track_events'") == [(sum(sent.types.values()),)]


def check_deliveries(one, tmp_path, sent, receiver):
    tried = collections.Counter((event["endpoint"], event["outcome"]) for event in events(one, "delivery"))
    found = {(endpoint, OUTCOMES[outcome]): n for endpoint, outcome, n in rows(
        tmp_path, "SELECT endpoint, outcome, sum(count) FROM delivery_minute GROUP BY endpoint, outcome")}
    assert found == tried
    assert sum(tried.values()) == sent.postbacks == len(receiver.seen())


@pytest.mark.limit(300)
def test_each_event_of_every_topic_is_counted_once_whenever_tally_is_killed(instance, tmp_path, rng):
    one = instance(config=everything(tmp_path))
    with Receiver(lambda request: (400 if request.path.startswith("/bad") else 200, {}, b"")) as receiver:
        sent = Senders(one, receiver, rng)
        pid = None
        try:
            for _ in range(KILLS):
                pid = kill_tally(one, rng, pid)
        finally:
            sent.end()
        receiver.wait(sent.postbacks, 60)
        n = {"ip": sent.ips.sent, "metric": sum(sent.metrics.values()), "track": sum(sent.types.values()), "delivery": sent.postbacks}
        for topic in TOPICS:
            one.settle(topic, n[topic], timeout=60)
    stage = one.stage("tally.0")
    print(f"{KILLS} kills; sent {n}; {stage['metrics']['commits']} commits, {stage['metrics']['events']} events counted in memory")
    assert one.ledger("ip")["kernel_dropped"] == 0 and stage["restarts"] == KILLS
    for topic in TOPICS:
        ledger = one.ledger(topic)
        assert ledger["dropped"] == ledger["refused"] == 0 and one.group(topic, "tally")["read_records"] == ledger["written"] > KILLS
    assert stage["metrics"]["bad_records"] == stage["metrics"]["lost_records"] == 0
    check_ip(one, sent)
    check_metrics(one, tmp_path, sent)
    check_tracks(tmp_path, sent)
    check_deliveries(one, tmp_path, sent, receiver)
