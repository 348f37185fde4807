"""Readers that are missing: a group that nobody reads holds writers back, a topic that nobody keeps is overwritten, an instance that is down has
nothing to consume."""
import contextlib
import json
import re
import signal
import subprocess

import pytest

from harness import MILLRACE, SLOW, default_config, wait_until
from http_help import ask, http_address, http_config
from load import ipevent, random_sha, send_paced

RATE = 20000


def small_topics(tmp_path):
    config = default_config(tmp_path)
    config["topics"]["ip"]["size"] = "64KiB"
    return config


def test_a_forgotten_reader_is_named_in_the_log_with_what_helps(instance, tmp_path, rng):
    one = instance(config=small_topics(tmp_path))
    assert one.millrace("consume", "ip", "--group", "archvie", "--no-follow", "--", "cat").returncode == 0
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, 1)] * 5000, RATE)
    wait_until(lambda: one.ledger("ip")["received"] == 5000, 20, "all received")
    assert one.ledger("ip")["dropped"] > 3000
    said = wait_until(lambda: re.search(r"warn supervisor.* a topic is full.*", one.log()), 10, "a line in the log")[0]
    assert "topic=ip group=archvie no_reader_since=20" in said
    assert re.search(r"^ip +full, nobody reads group archvie; to free it: millrace consume ip ", one.millrace("stat").stdout, re.M)
    remedy = re.search(r"millrace (consume ip --group archvie --forget --instance \S+)\"", said)[1]
    assert one.millrace(*remedy.split()).returncode == 0
    wait_until(lambda: re.search(r"info supervisor.* a topic has room again topic=ip group=archvie", one.log()), 20, "room")
    assert one.log().count("a topic is full") == 1


def group_of(one, name, topic="ip"):
    return next((group for group in one.topic(topic)["lanes"][0]["groups"] if group["group"] == name), None)


def test_a_forgotten_reader_lapses_and_what_it_misses_is_counted(instance, tmp_path, rng):
    config = small_topics(tmp_path)
    config["topics"]["ip"]["max_lag"] = "48KiB"
    one = instance(config=config)
    consume = ("consume", "ip", "--group", "archvie", "--no-follow", "--", "cat")
    assert one.millrace(*consume).returncode == 0
    events = [ipevent(random_sha(rng), 1)] * 1000
    sent = 0
    while not group_of(one, "archvie")["lapsed"]:
        send_paced(one.address(), events[:200], RATE)
        sent += 200
        assert sent < 100000
    said = wait_until(lambda: re.search(r"warn supervisor.* a group lapsed: .*", one.log()), 10, "a line in the log")[0]
    assert "topic=ip group=archvie limit=topics.ip.max_lag" in said
    dropped = one.ledger("ip")["dropped"]
    send_paced(one.address(), events, RATE)
    send_paced(one.address(), events, RATE)
    sent += 2000
    wait_until(lambda: one.ledger("ip")["received"] == sent, 20, "all received")
    wait_until(lambda: group_of(one, "tally")["waiting_records"] == 0, 20, "all counted")
    assert one.ledger("ip")["dropped"] == dropped
    group, written = group_of(one, "archvie"), one.ledger("ip")["written"]
    assert group["lapsed"] and not group["required"] and group["missed_records"] >= 1000
    assert group["read_records"] + group["missed_records"] + group["waiting_records"] == written
    assert re.search(r"^ip +0 +archvie +lapsed ", one.millrace("stat").stdout, re.M)
    assert one.stat()["supervisor"]["metrics"]["lapsed_groups"] == 1
    # Its reader comes back.
    result = one.millrace(*consume)
    assert result.returncode == 0
    group = group_of(one, "archvie")
    assert group["required"] and not group["lapsed"] and group["waiting_records"] == 0
    assert group["read_records"] == result.stdout.count("\n") > 0
    assert group["read_records"] + group["missed_records"] == written


# ---- topics that nobody keeps ----

NOBODY = "nobody keeps this topic"


def kept(one):
    return {topic["topic"]: topic["kept"] for topic in one.stat()["topics"]}


def test_a_topic_without_a_required_reader_is_said_to_be_kept_by_nobody(instance, tmp_path):
    config = default_config(tmp_path)
    config["ingest"]["udp"].append({"listen": ["127.0.0.1:0"], "format": "raw"})
    one = instance(config=config)
    lines = [line for line in one.log().splitlines() if line.startswith("topic ")]
    assert [NOBODY in line for line in lines] == [False, True] and lines[1].startswith("topic raw:")
    checked = one.millrace("check", "-c", one.config_file).stdout
    assert re.search(rf"^topic raw: .*{NOBODY}", checked, re.M) and not re.search(rf"^topic ip: .*{NOBODY}", checked, re.M)
    topics = json.loads(one.millrace("check", "-c", one.config_file, "--json").stdout)["topics"]
    assert [(t["topic"], t["required"], t["kept"]) for t in topics] == [("ip", ["tally"], True), ("raw", [], False)]
    assert kept(one) == {"ip": True, "raw": False}
    assert re.search(rf"^raw +{NOBODY}", one.millrace("stat").stdout, re.M)
    # A group makes the difference, also for the next supervisor.
    assert one.millrace("consume", "raw", "--group", "archive", "--no-follow", "--", "cat").returncode == 0
    assert kept(one) == {"ip": True, "raw": True} and NOBODY not in one.millrace("stat").stdout
    one.kill()
    one.start()
    assert "topic raw:" in one.log() and NOBODY not in one.log()
    assert one.millrace("consume", "raw", "--group", "archive", "--forget").returncode == 0
    assert kept(one) == {"ip": True, "raw": False}


# ---- an instance that is down ----


def groups(one, topic="ip"):
    return {group["group"] for group in one.topic(topic)["lanes"][0]["groups"]}


def test_an_instance_whose_supervisor_died_gives_nothing_to_consume(instance, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "old", "--no-follow", "--", "cat").returncode == 0
    one.kill()
    for group in ("new", "old"):
        result = one.millrace("consume", "ip", "--group", group, "--", "cat")
        assert result.returncode == 1
        assert "is down" in result.stderr and f"millrace run --instance {one.name}" in result.stderr
    assert groups(one) == {"tally", "old"}
    assert one.millrace("consume", "ip", "--group", "old", "--forget").returncode == 0
    assert groups(one) == {"tally"}
    one.start()
    assert one.millrace("consume", "ip", "--group", "new", "--no-follow", "--", "cat").returncode == 0


def test_an_instance_that_ended_with_records_left_gives_them_after_its_next_start(instance, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "old", "--no-follow", "--", "cat").returncode == 0
    send_paced(one.address(), [ipevent(random_sha(rng), 1)] * 10, RATE)
    wait_until(lambda: one.ledger("ip")["written"] == 10, 10, "all written")
    assert one.stop() == 3
    for group in ("new", "old"):
        result = one.millrace("consume", "ip", "--group", group, "--from", "oldest", "--no-follow", "--", "cat")
        assert (result.returncode, result.stdout) == (1, "") and "is down" in result.stderr
    assert groups(one) == {"tally", "old"}
    one.start()
    result = one.millrace("consume", "ip", "--group", "old", "--no-follow", "--", "cat")
    assert (result.returncode, result.stdout.count("\n")) == (0, 10)


def test_a_tap_shows_what_an_instance_that_is_down_has_left_and_follows_nothing(instance, tmp_path, rng):
    config = http_config(tmp_path)
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    one = instance(config=config)
    send_paced(one.address(), [ipevent(random_sha(rng), n) for n in range(10)], RATE)
    one.settle("ip", 10)
    postback = {"endpoint": {"method": "GET", "url": "http://127.0.0.1:9/"}, "data": [{"a": "b"}]}
    assert ask(http_address(one), "POST", "/ingest", postback).status == 202
    one.kill()
    for topic, there in (("ip", 10), ("postback", 1)):
        for more in ([], ["--no-follow"]):
            result = one.millrace("tap", topic, *more)
            assert (result.returncode, result.stdout) == (1, ""), topic
            assert "is down" in result.stderr and f"millrace run --instance {one.name}" in result.stderr
            result = one.millrace("tap", topic, "--last", "4", *more)
            assert (result.returncode, result.stdout.count("\n")) == (0 if more else 1, min(there, 4)), topic
            assert result.stderr.count("is down") == 1
    one.start()
    result = one.millrace("tap", "ip", "--last", "3", "--no-follow")
    assert result.returncode == 0 and "is down" not in result.stderr
    assert one.stop() == 3, "nobody takes postbacks"


@pytest.mark.parametrize("command", [["tap", "ip"], ["consume", "ip", "--group", "mine", "--", "cat"]])
def test_who_follows_an_instance_is_told_that_its_supervisor_died_and_goes_on_with_the_next(instance, tmp_path, rng, command):
    one = instance()
    with open(tmp_path / "out", "w+b") as out, open(tmp_path / "err", "w+b") as err:
        with subprocess.Popen([MILLRACE, *command], env=one.environment(), stdout=out, stderr=err) as follower:
            try:
                wait_until(lambda: len(groups(one)) == 2, 10, "its group")
                one.kill()
                wait_until(lambda: "has died" in (tmp_path / "err").read_text(), 20, "the news")
                one.start()
                wait_until(lambda: "is run again" in (tmp_path / "err").read_text(), 20, "the good news")
                send_paced(one.address(), [ipevent(random_sha(rng), 1)], RATE)
                wait_until(lambda: (tmp_path / "out").read_text().count("\n") == 1, 20, "the event")
                assert (tmp_path / "err").read_text().count("\n") == 2
            finally:
                follower.terminate()
                follower.wait(timeout=10 * SLOW)


def test_an_instance_that_drains_makes_no_new_group(instance, tmp_path, rng):
    one = instance()
    begun, end = tmp_path / "begun", tmp_path / "end"
    script = f"touch {begun}; while [ ! -e {end} ]; do sleep 0.05; done"
    command = [MILLRACE, "consume", "ip", "--group", "old", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=one.environment()) as consumer, contextlib.ExitStack() as at_end:
        at_end.callback(end.touch)
        wait_until(lambda: "old" in groups(one), 10, "the group")
        send_paced(one.address(), [ipevent(random_sha(rng), 1)], RATE)
        wait_until(begun.exists, 10, "the batch")
        one.kill(signal.SIGTERM)
        wait_until(lambda: one.stat()["draining"], 10, "the drain")
        result = one.millrace("consume", "ip", "--group", "new", "--from", "oldest", "--", "cat")
        assert result.returncode == 1 and "is ending" in result.stderr
        assert groups(one) == {"tally", "old"}
        end.touch()
        assert one.wait_end() == 0
        assert consumer.wait(timeout=10 * SLOW) == 0
