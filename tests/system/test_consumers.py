"""What tally counts of tracking events, against a reference in Python made from what was sent, under kill -9 of tally.

The senders remember each call that was answered 200; ingest-http and enrich live on, so that these are all events, each once.
"""
import codecs
import collections
import json
import random
import signal
import urllib.parse

import pytest

from harness import default_config, wait_until
from http_help import Client, ask, events, http_address, http_config
from tally_help import Killer, Sender, allow

KILLS = 10
SENDERS = 3
EVENTS_MOST = 20000  # of one sender
TYPES = ["app_open", "offr", "offr", "offr", "buy", "", "caf\u00e9 \u2615", "a/b", "x[y]", "long" * 60]
PIECES = ["action=preview", "action=preview", "action=preview", "action=view", "a%63tion=preview", "action=a+b", "action=%C3%A4", "action=", "action",
          "ACTION=no", "text=red+shoes", "text=red%20shoes", "t%65xt=boots", "text=", "text", "text=%ff%00", "text=%zz%4", "n=1", "", "=", "q=%26action=x"]
WORDS = ["preview", "view", "red shoes", "=&%+", "\u00fc", ""]

codecs.register_error("as_it_is", lambda error: ("".join(map(chr, error.object[error.start:error.end])), error.end))


def consumer_config(tmp_path, **tally):
    config = http_config(tmp_path, topics={"track.raw": {"size": "16MiB"}, "track": {"size": "64MiB"}})
    config["enrich"] = {"pod": "10.0.0.7"}
    config["tally"] = {"commit_interval": "20ms", **tally}
    return config


def consumer(millrace, name, *options):
    result = millrace.millrace("report", "consumer", name, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def counts(answer):
    """{key: count} of an answer in which all counts are exact and all keys are there."""
    assert answer["forgotten"] == 0 and all(item["error"] == 0 for item in answer["list"])
    assert answer["keys"] == len(answer["list"]) and answer["total"] == sum(item["count"] for item in answer["list"])
    order = [(-item["count"], item["key"].encode()) for item in answer["list"]]
    assert [count for count, _ in order] == sorted(count for count, _ in order)
    found = {item["key"]: item["count"] for item in answer["list"]}
    assert len(found) == len(answer["list"])
    return found


# ---- the reference ----


def decoded(text):
    return urllib.parse.unquote_to_bytes(text.replace("+", " "))


def key_of(data):
    """Bytes as a report shows them, cut at 200 where a character ends."""
    if len(data) > 200:
        data = data[:200].decode("utf-8", "ignore").encode()  # there are no long keys here that are no UTF-8
    return data.decode("utf-8", "as_it_is")


class Reference:
    def __init__(self):
        self.type = collections.Counter()
        self.search = collections.Counter()
        self.addresses = collections.Counter()

    def add(self, type_, pairs, address):
        """pairs: [(name, value)], bytes, decoded."""
        first = {}
        for name, value in pairs:
            first.setdefault(name, value)
        key = type_.encode() or b"/"
        action, text = first.get(b"action"), first.get(b"text")
        if type_ == "offr" and action == b"preview" and text is not None:
            self.search[key_of(text)] += 1
        if action is not None:
            key += b"[" + action + b"]"
        self.type[key_of(key)] += 1
        self.addresses[address] += 1

    def __add__(self, other):
        both = Reference()
        both.type = self.type + other.type
        both.search = self.search + other.search
        both.addresses = self.addresses + other.addresses
        return both


def test_the_reference_knows_what_a_query_says():
    one = Reference()
    one.add("offr", [(b"action", b"preview"), (b"text", b"a\xff"), (b"text", b"b")], "::1")
    assert dict(one.type) == {"offr[preview]": 1} and dict(one.search) == {"a\u00ff": 1}


# ---- the senders ----


class Calls:
    """Calls of many kinds, and what they come to."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.reference = Reference()

    def send(self, client):
        """Returns how many events."""
        return (self.batch if self.rng.random() < 0.1 else self.call)(client)

    def call(self, client):
        rng, type_, address = self.rng, self.rng.choice(TYPES), self.rng.choice(["10.1.2.", "2001:db8::"]) + str(self.rng.randrange(1, 9))
        pieces = [rng.choice(PIECES) for _ in range(rng.randrange(5))]
        target = "/t/" + urllib.parse.quote(type_, safe="") + ("?" + "&".join(pieces) if pieces else "")
        reply = client.ask("GET", target, None, f"X-Forwarded-For: {address}")
        assert reply.status == 200, (target, reply)
        pairs = [(decoded(name), decoded(value)) for name, _, value in (piece.partition("=") for piece in pieces if piece)]
        self.reference.add(type_, pairs, address)
        return 1

    def batch(self, client):
        rng, address = self.rng, f"10.9.9.{self.rng.randrange(1, 9)}"
        made = [{"type": rng.choice([t for t in TYPES if t]), "params": {name: rng.choice(WORDS) for name in rng.sample(["action", "text", "n"], rng.randrange(4))}}
                for _ in range(rng.randrange(1, 20))]
        reply = client.ask("POST", "/batch", made, f"X-Forwarded-For: {address}")
        assert reply.status == 200, reply
        for event in made:
            self.reference.add(event["type"], [(name.encode(), value.encode()) for name, value in event["params"].items()], address)
        return len(made)


@pytest.mark.limit(120)
def test_consumers_equal_what_was_sent_when_tally_is_killed_again_and_again(instance, tmp_path, rng):
    config = consumer_config(tmp_path)
    millrace = instance(config=config)
    calls = [Calls(rng.random()) for _ in range(SENDERS)]
    senders = [Sender(http_address(millrace), one.send) for one in calls]
    killer = Killer(millrace, rng)
    for kill in range(KILLS):
        if kill == KILLS // 2:  # from now on the events come from another host
            config["enrich"]["pod"] = "10.0.0.8"
            millrace.write_config(config)
            millrace.kill(signal.SIGHUP)
        read = millrace.group("track", "tally").get("read_records", 0)
        allow(senders, EVENTS_MOST // KILLS)
        wait_until(lambda n=read: millrace.group("track", "tally").get("read_records", 0) > n, 30, "tally counts")
        killer.kill()
    for sender in senders:
        sender.end()
    expected = sum((one.reference for one in calls), Reference())
    n = sum(sender.events for sender in senders)
    millrace.settle("track.raw", n, timeout=60)
    millrace.settle("track", n, timeout=60)
    there = events(millrace, "track")
    assert len(there) == n > KILLS * 10

    assert counts(consumer(millrace, "type", "--limit", 10000)) == expected.type
    assert counts(consumer(millrace, "search", "--limit", 10000)) == expected.search
    assert counts(consumer(millrace, "addresses")) == expected.addresses
    assert counts(consumer(millrace, "countries")) == {"XX": n}
    pods = counts(consumer(millrace, "pods"))
    assert pods == collections.Counter(event["pod"] for event in there) and len(pods) == 2
    timing = consumer(millrace, "timing")
    klag = sum(event["klag"] for event in there)  # in whole milliseconds
    assert timing["total"] == n and klag <= timing["klag_ms"] * n + 1 and timing["klag_ms"] * n <= klag + n + 1
    assert timing["counting_ms"] >= timing["klag_ms"]
    killer.check()


# ---- asking ----


def test_pages_of_a_list_begin_with_the_most_frequent(instance, tmp_path):
    millrace = instance(config=consumer_config(tmp_path))
    with Client(http_address(millrace)) as client:
        for i in range(20):
            for _ in range(1 + i):
                assert client.ask("GET", f"/t/type{i:02}").status == 200
    millrace.settle("track", 210)
    whole = consumer(millrace, "type")
    assert [(item["key"], item["count"]) for item in whole["list"]] == [(f"type{i:02}", i + 1) for i in reversed(range(20))]
    assert consumer(millrace, "type", "--limit", 3)["list"] == whole["list"][:3]
    page = consumer(millrace, "type", "--limit", 7, "--offset", 5)
    assert page["list"] == whole["list"][5:12] and (page["total"], page["keys"]) == (210, 20)
    listed = json.loads(millrace.millrace("report", "consumers").stdout)
    assert [entry["name"] for entry in listed] == ["type", "pods", "addresses", "countries", "search", "timing"]
    assert [entry["total"] for entry in listed] == [210, 210, 210, 210, 0, 210]


def test_over_tops_the_most_frequent_stay_and_say_how_sure_they_are(instance, tmp_path):
    millrace = instance(config=consumer_config(tmp_path, tops=10))
    with Client(http_address(millrace)) as client:
        for i in range(300):
            for type_ in ("often", f"rare{i}"):
                assert client.ask("GET", f"/t/{type_}").status == 200
    millrace.settle("track", 600)
    answer = consumer(millrace, "type")
    first = answer["list"][0]
    assert (answer["total"], answer["keys"], first["key"]) == (600, 10, "often")
    assert first["count"] - first["error"] <= 300 <= first["count"]
    assert all(item["count"] - item["error"] <= 1 <= item["count"] for item in answer["list"][1:])
    assert sum(item["count"] for item in answer["list"]) == 600 and answer["forgotten"] == answer["list"][-1]["count"]
    assert millrace.stage("tally.0")["metrics"]["track_full_lists"] == 1


def test_counts_of_consumers_go_on_after_a_stop_and_a_start(instance, tmp_path):
    millrace = instance(config=consumer_config(tmp_path))
    for life in range(1, 4):
        assert ask(http_address(millrace), "GET", "/t/offr?action=preview&text=%1b%5b2J").status == 200
        millrace.settle("track", 1)
        result = millrace.millrace("report", "consumer", "search")
        assert json.loads(result.stdout)["list"] == [{"key": "\x1b[2J", "count": life, "error": 0}] and "\x1b" not in result.stdout
        assert millrace.stop() == 0
        stored = millrace.millrace("report", "consumer", "type", "-c", millrace.config_file)
        assert json.loads(stored.stdout)["list"] == [{"key": "offr[preview]", "count": life, "error": 0}]
        if life < 3:
            millrace.start()


def test_a_question_that_cannot_be_answered_is_told(instance, tmp_path):
    one = instance(config=default_config(tmp_path))
    unknown = one.millrace("report", "consumer", "types")
    assert unknown.returncode == 3 and "addresses, countries, search, timing" in unknown.stderr
    for wrong in (["consumer"], ["consumers", "type"], ["consumer", "type", "x"], ["consumer", "type", "--limit", "10001"]):
        result = one.millrace("report", *wrong)
        assert result.returncode == 2 and result.stderr.count("\n") == 1, wrong
    elsewhere = one.millrace("report", "consumers", "--set", f"data_dir={tmp_path}/nothing")
    assert elsewhere.returncode == 1 and "nothing was counted there yet" in elsewhere.stderr
