"""tally and the read side killed again and again while events of every topic come in: each is counted once, in the book of its topic, and the
API says so.

The senders remember what was answered with success; nothing else is killed, so these are all events, each once. What deliver tried is in the
topic, which is large enough to hold all of it. The tests of each topic compare every answer of the reports; here all books are written by the same
commits. A client asks all the while: no answer of it may go back on an earlier one.
"""
import collections
import contextlib
import json
import os
import random
import time
import urllib.parse

import pytest

from deliver_help import Receiver, deliver_config
from harness import SLOW, default_config, rows, wait_until
from http_help import Client, events, http_address
from load import Expected, ipevent, mixture, random_sha, send_paced
from serve_help import serve_address, serve_config
from tally_help import Killer, Loop, Sender, allow

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
        self.sha = random_sha(rng)  # of the application that all the while gets more
        self.rngs = [random.Random(rng.random()) for _ in range(4)]
        self.all = [Sender(http_address(one), send) for send in (self.datagrams, self.metric, self.track, self.postback)]

    def datagrams(self, _):
        rng = self.rngs[0]
        some = mixture(rng, 290, 50, 10, self.ips)
        for ip in (rng.randrange(1000) for _ in range(10)):
            some.append(ipevent(self.sha, ip))
            self.ips.valid(self.sha, ip)
        send_paced(self.one.address(), some, DATAGRAMS_A_SECOND)
        return len(some)

    def metric(self, client):
        rng = self.rngs[1]
        event = {"username": rng.choice(USERS), "count": rng.randrange(-1000, 1000), "metric": rng.choice(METRICS)}
        assert client.ask("POST", "/event", event).status == 200
        self.metrics[event["metric"]] += 1
        self.sums[event["username"], event["metric"]].append(event["count"])
        return 1

    def track(self, client):
        rng = self.rngs[2]
        type_ = rng.choice(TYPES)
        assert client.ask("GET", "/t/" + urllib.parse.quote(type_) + f"?n={rng.randrange(9)}").status == 200
        self.types[type_] += 1
        return 1

    def postback(self, client):
        rng = self.rngs[3]
        n = rng.randrange(1, 5)
        body = {"endpoint": {"method": "GET", "url": self.receiver.url(rng.choice(["/good", "/bad"]) + "?n={n}")}, "data": [{"n": i} for i in range(n)]}
        reply = client.ask("POST", "/ingest", body)
        assert reply.status == 202, reply
        self.postbacks += n
        time.sleep(0.002)
        return n

    def end(self):
        for sender in self.all:
            sender.end()


class Asker(Loop):
    """One client of the API. It connects again by itself; what is counted never becomes less from one answer to the next."""

    def __init__(self, address, sha):
        self.address = address
        self.paths = {"/api/stat": self.stat, f"/events/{sha}": self.application, "/metrics/hourly_logs/total": self.hour, "/deliveries": self.deliveries}
        self.seen = collections.Counter()
        self.answers = collections.Counter()
        self.lost = 0
        super().__init__(self.ask)

    def ask(self):
        try:
            with Client(self.address) as client:
                while not self.ending.is_set():
                    for path, look in self.paths.items():
                        reply = client.ask("GET", path)
                        # Until something was counted there is nothing.
                        assert reply.status == 200 or (reply.status == 404 and not self.answers[path, 200] and path != "/api/stat"), (path, reply)
                        self.answers[path, reply.status] += 1
                        if reply.status == 200:
                            look(reply.json())
        except (EOFError, OSError):  # it was killed, or is not there yet
            self.lost += 1
            time.sleep(0.005)

    def grows(self, about, count):
        assert count >= self.seen[about], f"{about}: {count} after {self.seen[about]}"
        self.seen[about] = count

    def stat(self, answer):
        for entry in answer["ledger"]:
            self.grows(("written", entry["topic"]), entry["written"])

    def application(self, answer):
        self.grows("application", answer["count"])

    def hour(self, answer):
        for entry in answer:
            self.grows(("metric", entry["_id"]), entry["count"])

    def deliveries(self, answer):
        # A life begins with what the lanes hold, so with all: but it reads them piece by piece.
        assert answer["missed"] == 0 and len(answer["attempts"]) == min(answer["held"], 100)


def counted(tmp_path, query, *arguments):
    return rows(tmp_path / "data" / "tally.db", query, *arguments)


def listed(tmp_path, names):
    """{key: count} of the lists with such names, together; all counts are exact."""
    query = "SELECT key, sum(count), max(error) FROM top_counter JOIN top ON top.id = list WHERE name LIKE ? GROUP BY key"
    found = counted(tmp_path, query, names)
    assert all(error == 0 for _, _, error in found)
    return {key.decode() if isinstance(key, bytes) else key: count for key, count, _ in found}


def check_ip(one, sent):
    assert one.counts() == sent.ips.count
    for sha in sorted(sent.ips.count)[:10]:
        assert one.report(sha) == sent.ips.report(sha)


def check_metrics(one, tmp_path, sent):
    assert listed(tmp_path, "metric/day/%") == sent.metrics
    assert {name for name, in counted(tmp_path, "SELECT CAST(name AS TEXT) FROM account")} == {user for user, _ in sent.sums}
    result = one.millrace("report", "metrics", "user-hour", "--limit", 10000)
    assert result.returncode == 0, result.stderr
    hour = {(entry["_id"]["username"], entry["_id"]["metric"]): entry for entry in json.loads(result.stdout)}
    assert {about: (entry["count"], entry["minimum"], entry["maximum"]) for about, entry in hour.items()} == {
        about: (len(values), min(values), max(values)) for about, values in sent.sums.items()}


def check_tracks(tmp_path, sent):
    assert listed(tmp_path, "track/type") == sent.types
    assert counted(tmp_path, "SELECT value FROM total WHERE name = 'track_events'") == [(sum(sent.types.values()),)]


def check_deliveries(one, tmp_path, sent, receiver):
    tried = collections.Counter((event["endpoint"], event["outcome"]) for event in events(one, "delivery"))
    found = {(endpoint, OUTCOMES[outcome]): n for endpoint, outcome, n in counted(
        tmp_path, "SELECT endpoint, outcome, sum(count) FROM delivery_minute GROUP BY endpoint, outcome")}
    assert found == tried
    assert sum(tried.values()) == sent.postbacks == len(receiver.seen())


def check_api(one, sent, receiver):
    """What the last life of the read side answers."""
    tried = collections.Counter((event["endpoint"], event["outcome"]) for event in events(one, "delivery"))
    with Client(serve_address(one)) as client:
        def get(path):
            reply = client.ask("GET", path)
            assert reply.status == 200, (path, reply)
            return reply.json()

        for sha in [sent.sha, *sorted(sent.ips.count)[:1000]]:
            assert get(f"/events/{sha}") == sent.ips.report(sha)
        values = collections.defaultdict(list)
        for (_, metric), some in sent.sums.items():
            values[metric] += some
        assert {entry["_id"]: (entry["count"], entry["minimum"], entry["maximum"]) for entry in get("/metrics/hourly_logs/total")} == {
            metric: (len(some), min(some), max(some)) for metric, some in values.items()}
        assert {entry["key"]: entry["count"] for entry in get("/consumers/type")["list"]} == sent.types
        wait_until(lambda: get("/deliveries?limit=1")["held"] == sent.postbacks, 20, "all attempts are read")
        shown, before = [], ""
        while before is not None:
            page = get(f"/deliveries?limit=1000{before}")
            assert page["missed"] == 0
            shown += page["attempts"]
            before = f"&before={page['next']}" if "next" in page else None
        assert len({attempt["id"] for attempt in shown}) == len(shown) == sent.postbacks == len(receiver.seen())
        assert collections.Counter((attempt["endpoint"], attempt["outcome"]) for attempt in shown) == tried
        counts = get("/deliveries/counts?since=2h")
        assert {(item["endpoint"], outcome): sums["count"] for item in counts["items"] for outcome, sums in item["outcomes"].items()} == tried
        stat = get("/api/stat")
        assert stat["ledger"] == one.stat()["ledger"] and one.ledger("ip", stat)["received"] == sent.ips.sent


@pytest.mark.limit(400)
def test_each_event_of_every_topic_is_counted_once_whenever_tally_or_the_read_side_is_killed(instance, tmp_path, rng):
    socket = str(tmp_path / "api")
    one = instance(config=serve_config(tmp_path, everything(tmp_path), listen=[f"unix:{socket}"], recent_deliveries=200000, recent_bytes="256MiB"))
    roles = ["tally.0", "serve.0"] * KILLS
    rng.shuffle(roles)
    with Receiver(lambda request: (400 if request.path.startswith("/bad") else 200, {}, b"")) as receiver:
        sent, killer = Senders(one, receiver, rng), Killer(one, rng)
        asker = Asker(socket, sent.sha)
        with contextlib.ExitStack() as ends:
            ends.callback(sent.end)
            ends.callback(asker.end)
            for role in roles:
                allow(sent.all, EVENTS_MOST // len(roles))
                killer.kill(role)
        receiver.wait(sent.postbacks, 60)
        n = {"ip": sent.ips.sent, "metric": sum(sent.metrics.values()), "track": sum(sent.types.values()), "delivery": sent.postbacks}
        for topic in TOPICS:
            one.settle(topic, n[topic], timeout=60)
    stage = one.stage("tally.0")
    print(f"{killer.kills}; sent {n}; {stage['metrics']['commits']} commits, {stage['metrics']['events']} events counted in memory; "
          f"answers {asker.answers}, {asker.lost} connections lost")
    assert one.ledger("ip")["kernel_dropped"] == 0 and stage["restarts"] == KILLS
    killer.check()
    assert asker.lost > 0 and all(asker.answers[path, 200] > KILLS for path in asker.paths)
    for topic in TOPICS:
        ledger = one.ledger(topic)
        assert ledger["dropped"] == ledger["refused"] == 0 and one.group(topic, "tally")["read_records"] == ledger["written"] > KILLS
    assert stage["metrics"]["bad_records"] == stage["metrics"]["lost_records"] == 0
    check_ip(one, sent)
    check_metrics(one, tmp_path, sent)
    check_tracks(tmp_path, sent)
    check_deliveries(one, tmp_path, sent, receiver)
    check_api(one, sent, receiver)
