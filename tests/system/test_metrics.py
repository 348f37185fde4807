"""What tally counts of topic metric, against a reference in Python made from what was sent, under kill -9 of tally.

The senders remember each event that was answered 200; ingest-http lives on, so that these are all events, each once. When an event
arrived is in the topic, which is large enough to hold all of them.
"""
import collections
import datetime
import json
import random
import subprocess
import time
from fractions import Fraction

from harness import BUILD, MILLRACE, wait_until
from http_help import ask, events, http_address, http_config
from tally_help import Killer, Sender, allow

KILLS = 10
SENDERS = 3
EVENTS_MOST = 6000  # of one sender
USERS = ["kodingbot", "anna", "b\u00e9rt \u2615", "\"}], [{\"_id\": \"", "a\nb\tc", "\u202e", " ", "x" * 200] + [f"user{i}" for i in range(30)]
NAMES = ["kite_call", "login", "log in", "m\u00e9tric", "\\\"", "y" * 200] + [f"metric_{i}" for i in range(8)]
COUNTS = [2**63 - 1, -(2**63), 0, 1, -1, 12412414]


def metrics_config(tmp_path, **tally):
    config = http_config(tmp_path, topics={"metric": {"size": "32MiB"}})
    config["tally"] = {"commit_interval": "20ms", **tally}
    return config


def report(millrace, *arguments):
    result = millrace.millrace("report", *arguments)
    assert result.returncode == 0, (arguments, result.stderr)
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def statistics(values):
    """As BEHAVIOUR wants it; the average is rounded once."""
    return {"minimum": min(values), "maximum": max(values), "average": float(Fraction(sum(values), len(values))), "count": len(values)}


def expected_hour(sent):
    """{metric: statistics} and {(username, metric): statistics}."""
    total, per_user = collections.defaultdict(list), collections.defaultdict(list)
    for event in sent:
        total[event["metric"]].append(event["count"])
        per_user[event["username"], event["metric"]].append(event["count"])
    return {k: statistics(v) for k, v in total.items()}, {k: statistics(v) for k, v in per_user.items()}


def by_id(entries):
    """The entries of an answer by what they are about."""
    found = {}
    for entry in entries:
        about = entry.pop("_id")
        found[about if isinstance(about, str) else (about["username"], about["metric"])] = entry
    assert len(found) == len(entries)
    return found


def date_of(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)


def check_hour(millrace, sent):
    total, per_user = expected_hour(sent)
    assert by_id(report(millrace, "metrics", "hour")) == total
    assert by_id(report(millrace, "metrics", "user-hour", "--limit", "10000")) == per_user
    pages = []
    while page := report(millrace, "metrics", "user-hour", "--limit", "150", "--offset", str(len(pages))):
        pages += page
    assert by_id(pages) == per_user


def check_days(millrace, arrived):
    """Days and months by the arrival in the topic: the test may run over midnight."""
    for form, words in (("%Y-%m-%d", ("metrics", "day")), ("%Y-%m", ("metrics", "month"))):
        expected = collections.defaultdict(collections.Counter)
        for event in arrived:
            expected[date_of(event["ts"]).strftime(form)][event["metric"]] += 1
        for date, counts in expected.items():
            answer = report(millrace, *words, date)
            order = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
            assert answer == {"date": date, "total": sum(counts.values()), "keys": len(counts), "forgotten": 0,
                              "metrics": [{"_id": name, "count": count, "error": 0} for name, count in order]}


def check_accounts(millrace, arrived):
    first = {}
    for event in arrived:
        first[event["username"]] = min(event["ts"], first.get(event["username"], event["ts"]))
    for username, ms in first.items():
        seen = date_of(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
        assert report(millrace, "account", username) == {"username": username, "first_seen": seen, "first_seen_ms": ms}


class Events:
    """Random events for POST /event, one to the example to 20 others, and those that were sent."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.sent = []

    def draw(self):
        rng = self.rng
        if rng.randrange(21) == 0:
            return {"username": "kodingbot", "count": 12412414, "metric": "kite_call"}
        return {"username": rng.choice(USERS), "count": rng.choice(COUNTS + [rng.randrange(-1000, 1000)] * 10), "metric": rng.choice(NAMES)}

    def send(self, client):
        event = self.draw()
        reply = client.ask("POST", "/event", event)
        assert reply.status == 200, (event, reply)
        self.sent.append(event)
        return 1


def test_statistics_equal_a_reference_whenever_tally_is_killed(instance, tmp_path, rng):
    one = instance(config=metrics_config(tmp_path))
    drawn = [Events(rng.random()) for _ in range(SENDERS)]
    senders = [Sender(http_address(one), some.send) for some in drawn]
    killer = Killer(one, rng)
    for _ in range(KILLS):
        allow(senders, EVENTS_MOST // KILLS)
        killer.kill()
    for sender in senders:
        sender.end()
    sent = [event for some in drawn for event in some.sent]
    print(f"{len(sent)} events, {KILLS} kills")
    assert len(sent) > 500
    one.settle("metric", len(sent))
    arrived = events(one, "metric")
    assert len(arrived) == len(sent)
    check_hour(one, sent)
    check_days(one, arrived)
    check_accounts(one, arrived)
    killer.check()


def test_tally_alone_makes_the_same_statistics_of_the_same_records(instance, tmp_path, rng):
    one = instance(config=metrics_config(tmp_path))
    drawn = Events(rng.random())
    sent = [drawn.draw() for _ in range(100)]
    for event in sent:
        assert ask(http_address(one), "POST", "/event", event).status == 200
    one.settle("metric", len(sent))
    environment, records, alone = one.environment(), tmp_path / "records", f"data_dir={tmp_path}/alone"
    with open(records, "wb") as file:
        subprocess.run([MILLRACE, "tap", "metric", "--last", "1G", "--no-follow", "--format", "raw"], stdout=file, env=environment, check=True)
    command = [BUILD / "libexec" / "millrace" / "tally", "--input", records, "--set", alone]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"counted {len(sent)}\n" in told.stdout
    total, per_user = expected_hour(sent)
    assert by_id(report(one, "metrics", "hour", "--set", alone)) == total
    assert by_id(report(one, "metrics", "user-hour", "--set", alone)) == per_user
    check_days(one, events(one, "metric"))


def test_what_nobody_sent_or_no_day_can_be_is_told(instance, tmp_path):
    one = instance(config=metrics_config(tmp_path))
    assert report(one, "metrics", "hour") == [] and report(one, "metrics", "user-hour") == []
    today = date_of(time.time() * 1000).strftime("%Y-%m-%d")
    assert report(one, "metrics", "day", today)["total"] == 0
    gone = one.millrace("report", "metrics", "day", "2020-07-01")
    assert gone.returncode == 3 and "with their month alone: 2020-07" in gone.stderr
    unknown = one.millrace("report", "account", "nobody")
    assert unknown.returncode == 3 and "no event of this account" in unknown.stderr
    for words in (["day", "2026-02-30"], ["day", "2026-11"], ["month", "2026-13"], ["month", "2026-11-01"]):
        wrong = one.millrace("report", "metrics", *words)
        assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and words[1] in wrong.stderr
    absent = one.millrace("report", "metrics", "hour", "--set", f"data_dir={tmp_path}/nothing")
    assert absent.returncode == 1 and "nothing was counted there yet" in absent.stderr


def test_over_the_limits_the_totals_are_exact_and_the_report_says_what_is_missing(instance, tmp_path):
    one = instance(config=metrics_config(tmp_path, accounts=2, metric_names=2, hour_cells=1000, names=2))
    sent = [{"username": f"u{i % 4}", "count": i, "metric": f"m{i % 5}"} for i in range(100)]
    for event in sent:
        assert ask(http_address(one), "POST", "/event", event).status == 200
    one.settle("metric", len(sent))
    total = report(one, "metrics", "hour")
    assert [entry["_id"] for entry in total] == ["m0", "m1", {"other": True}]
    assert total[2]["count"] == 60 and total[2]["maximum"] == 99 and sum(entry["count"] for entry in total) == 100
    users = one.millrace("report", "metrics", "user-hour")
    assert sum(entry["count"] for entry in json.loads(users.stdout)) == 50 and "50 events of this hour" in users.stderr
    day = date_of(events(one, "metric")[0]["ts"]).strftime("%Y-%m-%d")
    listed = report(one, "metrics", "day", day)
    assert listed["total"] == 100 and listed["keys"] == 2 and listed["forgotten"] >= 20
    assert all(entry["count"] - entry["error"] <= 20 <= entry["count"] for entry in listed["metrics"])
    assert one.millrace("report", "account", "u3").returncode == 3
    metrics = wait_until(lambda: (found := one.stage("tally.0")["metrics"])["accounts_beyond_events"] == 50 and found, 10, "the gauges")
    assert (metrics["accounts"], metrics["metric_names"], metrics["hour_beyond_events"]) == (2, 2, 50)
