"""The sink for Kafka in a running instance, against librdkafka's mock cluster."""
import json
import os
import signal
import time

import pytest

from harness import SLOW, cpu_seconds, wait_until
from http_help import LOG_EXAMPLE, ask, http_address
from kafka_help import ROLE, MockKafka, kafka_config, kafka_sink, metric, note


@pytest.fixture
def kafka():
    with MockKafka() as one:
        one.do("topic", "log", 1)
        yield one


def log_event(number):
    return {**LOG_EXAMPLE, "content_id": number, "client_id": number % 7 + 1}


def send(millrace, numbers):
    for number in numbers:
        assert ask(http_address(millrace), "POST", "/log", log_event(number)).status == 200


def all_read(millrace, n):
    group = millrace.group("log", "bus")
    return group["waiting_records"] == 0 and group["read_records"] == n and metric(millrace, "in_flight") == 0


def wait_read(millrace, n, timeout=20):
    wait_until(lambda: all_read(millrace, n), timeout, f"{n} events are confirmed")


def numbers_of(messages):
    return [json.loads(value)["content_id"] for _, _, value in messages]


def test_log_events_come_as_the_client_sent_them_with_their_key(instance, tmp_path, kafka):
    one = instance(config=kafka_config(tmp_path, kafka.brokers, key="{client_id}", properties=["linger.ms=1"]))
    send(one, range(1, 51))
    wait_read(one, 50)
    messages = kafka.read("log")
    assert [json.loads(value) for _, _, value in messages] == [log_event(number) for number in range(1, 51)]
    assert [key for _, key, _ in messages] == [str(number % 7 + 1) for number in range(1, 51)]
    assert metric(one, "delivered") == 50
    wait_until(lambda: metric(one, "failing") == 0, 5, "all is well")
    assert note(one) == ",".join(kafka.brokers)


def test_topics_filters_and_templates(instance, tmp_path, kafka):
    kafka.do("topic", "mill.log", 1)
    kafka.do("topic", "mill.metric", 1)
    sinks = [kafka_sink(kafka.brokers, topics=["log", "metric"], topic="mill.{topic}"),
             kafka_sink(kafka.brokers, name="sevens", filter=["client_id=7"])]
    one = instance(config={**kafka_config(tmp_path, kafka.brokers), "sinks": sinks})
    send(one, [5])
    assert ask(http_address(one), "POST", "/event", {"username": "u", "count": 3, "metric": "m"}).status == 200
    wait_until(lambda: metric(one, "delivered") == 2, 20, "both are confirmed")
    assert numbers_of(kafka.read("mill.log")) == [5]
    (_, key, value), = kafka.read("mill.metric")
    assert key == "" and json.loads(value)["username"] == "u"
    send(one, [6])
    wait_until(lambda: one.stage("kafka.sevens")["metrics"]["delivered"] == 1, 20, "the one that matches is confirmed")
    assert numbers_of(kafka.read("log")) == [6]
    assert one.stage("kafka.sevens")["metrics"]["filtered"] == 1


def test_while_the_brokers_are_away_lanes_fill_and_nothing_that_was_acknowledged_is_lost(instance, tmp_path, kafka):
    sink = {"properties": ["reconnect.backoff.max.ms=200"], "queue": {"messages": 100, "bytes": "1MiB"}}
    one = instance(config=kafka_config(tmp_path, kafka.brokers, lane="64KiB", **sink))
    send(one, range(1, 11))
    wait_read(one, 10)
    kafka.do("down")
    wait_until(lambda: metric(one, "failing") == 1, 20, "the sink sees it")
    wait_until(lambda: "127.0.0.1" in note(one), 20, "the reason is there")
    assert note(one).startswith("cannot deliver: ")
    taken, number = list(range(1, 11)), 10
    while True:
        number += 1
        status = ask(http_address(one), "POST", "/log", log_event(number)).status
        if status == 503:
            break
        assert status == 200 and number < 5000
        taken.append(number)
    wait_until(lambda: metric(one, "in_flight") == 100, 5, "the gauge of the next tick: as many as the queue takes")
    kafka.do("up")
    wait_read(one, len(taken))
    assert numbers_of(kafka.read("log")) == taken
    wait_until(lambda: metric(one, "failing") == 0, 5, "all is well")


def kill_next_life(millrace, last):
    """Kills the life after the one with the pid `last`; returns its pid."""
    def lives():
        stage = millrace.stage(ROLE)
        return stage["state"] == "running" and stage["pid"] != last

    wait_until(lives, 20, "the next life runs")
    pid = millrace.pid_of(ROLE)
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.parametrize("exactly_once", [False, True])
def test_killed_and_started_again_it_goes_on_and_nothing_is_missing(instance, tmp_path, kafka, rng, exactly_once):
    kafka.do("topic", "millrace-positions", 1)
    one = instance(config=kafka_config(tmp_path, kafka.brokers, exactly_once=exactly_once, transaction={"interval": "50ms"}))
    number, last = 0, None
    for _ in range(8):
        for _ in range(rng.randrange(5, 30)):
            number += 1
            send(one, [number])
        last = kill_next_life(one, last)
    wait_read(one, number, 60)
    numbers = numbers_of(kafka.read("log"))
    assert sorted(set(numbers)) == list(range(1, number + 1))


def test_a_drain_waits_for_what_is_in_flight(instance, tmp_path, kafka):
    one = instance(config=kafka_config(tmp_path, kafka.brokers, properties=["linger.ms=30000"]))
    send(one, range(1, 21))
    wait_until(lambda: metric(one, "in_flight") == 20, 10, "all are kept back")
    assert one.stop() == 0
    assert numbers_of(kafka.read("log")) == list(range(1, 21))


def test_a_reload_restarts_this_sink_alone_and_loses_nothing(instance, tmp_path, kafka):
    config = kafka_config(tmp_path, kafka.brokers)
    config["sinks"].append(kafka_sink(kafka.brokers, name="other", topics=["metric"]))
    one = instance(config=config)
    send(one, range(1, 11))
    other, bus = one.pid_of("kafka.other"), one.pid_of(ROLE)
    config["sinks"][0]["properties"] = ["compression.type=gzip"]
    config["sinks"].reverse()
    one.write_config(config)
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.pid_of(ROLE) not in (bus, None, 0), 20, "it is another process")
    send(one, range(11, 21))
    wait_read(one, 20)
    assert one.pid_of("kafka.other") == other
    assert sorted(set(numbers_of(kafka.read("log")))) == list(range(1, 21))


def test_the_check_asks_librdkafka_and_shows_no_secret(instance, tmp_path):
    path = tmp_path / "secrets"
    path.write_text("sasl.password=hush-hush\nsasl.username=u\n")
    bad = {"properties": ["linger.mss=5"], "password": "hush-hush"}
    one = instance(config=kafka_config(tmp_path, ["127.0.0.1:9"], **bad), start=False)
    run = one.millrace("check", "--config", str(one.config_file))
    assert run.returncode != 0 and "linger.mss=5: No such configuration property" in run.stdout + run.stderr
    good = {"properties_file": str(path), "password": "hush-hush", "properties": ["security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN"]}
    one.write_config(kafka_config(tmp_path, ["127.0.0.1:9"], **good))
    run = one.millrace("check", "--config", str(one.config_file))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "hush" not in run.stdout + run.stderr
    path.write_text("acks=0\n")
    run = one.millrace("check", "--config", str(one.config_file))
    assert run.returncode != 0 and f"{path}: 1: acks: the sink's promises need" in run.stdout + run.stderr


def test_without_events_it_sleeps(instance, tmp_path, kafka):
    one = instance(config=kafka_config(tmp_path, kafka.brokers))
    send(one, [1])
    wait_read(one, 1)
    pid = one.pid_of(ROLE)
    before = cpu_seconds(pid)
    time.sleep(3)
    assert (cpu_seconds(pid) - before) / 3 < 0.01 * SLOW
