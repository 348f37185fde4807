"""millrace tap: looking at events without holding anybody up."""
import json
import os
import signal
import socket
import struct
import subprocess
import time

import pytest

from cli_help import millrace, wait_group, wait_tap, events, send_events
from harness import MILLRACE, SLOW, default_config, wait_until
from http_help import ask, http_address, http_config
from load import ipevent, random_sha, send_paced


def test_a_tap_shows_what_comes_from_now_on(instance, running, rng):
    one = instance()
    before, sha = random_sha(rng), random_sha(rng)
    send_events(one, before, [1])
    one.settle("ip", 1)
    tap = running(one, "tap", "ip")
    wait_tap(one, tap)
    send_events(one, sha, [0x0A000001, 0xFFFFFFFF])
    wait_until(lambda: len(tap.lines()) == 2, 10, "two lines")
    first, second = map(json.loads, tap.lines())
    generation = one.stat()["generation"]
    assert first["id"] == f"{generation}-ip-0-72" and second["id"] == f"{generation}-ip-0-144"
    assert first["app_sha256"] == sha and first["ip"] == "10.0.0.1" and second["ip"] == "255.255.255.255"
    assert first["source"] == "127.0.0.1" and first["source_port"] > 0
    assert abs(first["ts"] / 1000 - time.time()) < 60 * SLOW
    assert tap.end(signal.SIGINT) == 0 and tap.errors() == ""
    wait_group(one, "ip", f"tap.{tap.process.pid}", present=False)


def test_filters_must_all_hold_and_count_ends(instance, rng):
    one = instance()
    shas = [random_sha(rng) for _ in range(3)]
    for sha in shas:
        send_events(one, sha, [1, 2, 2, 3])
    one.settle("ip", 12)

    def tapped(*arguments):
        result = one.millrace("tap", "ip", "--last", 100, "--no-follow", *arguments)
        assert result.returncode == 0 and result.stderr == ""
        return [(e["app_sha256"], e["ip"]) for e in events(result.stdout)]

    assert tapped() == [(sha, f"0.0.0.{ip}") for sha in shas for ip in (1, 2, 2, 3)]
    assert tapped("--filter", "ip=0.0.0.2") == [(sha, "0.0.0.2") for sha in shas for _ in range(2)]
    assert tapped("--filter", f"sha={shas[1]}", "-f", "ip=0.0.0.2") == [(shas[1], "0.0.0.2")] * 2
    assert tapped("--filter", f"sha={shas[1].upper()}", "-f", "ip=0.0.0.2") == [(shas[1], "0.0.0.2")] * 2
    assert tapped("--filter", "ip=9.9.9.9") == []
    assert tapped("--filter", "ip=0.0.0.3", "--count", 2) == [(shas[0], "0.0.0.3"), (shas[1], "0.0.0.3")]
    assert tapped("--last", 1) == [(shas[2], "0.0.0.3")]
    assert tapped("--last", 5)[0] == (shas[1], "0.0.0.3")


@pytest.mark.parametrize("address", ["h" * 300, "h" * 263 + ":1", "[" + ":" * 300 + "]:1", "unix:/" + "x" * 300, "h" * 5000 + ":4002"])
@pytest.mark.parametrize("protocol", ["udp", "http"])
def test_an_address_that_is_too_long_is_refused(protocol, address):
    result = millrace("send", protocol, address, "--count", 1)
    assert result.returncode in (1, 2) and result.stderr.startswith("millrace send"), result


def test_filters_find_parameters_of_tracking_calls_and_data_of_postbacks(instance, tmp_path):
    one = instance(config=http_config(tmp_path))
    address = http_address(one)
    for query in ("a=1&b=2", "a=2&a=1", "b=%31", "", "x%2Ey=Z%C3%BCrich", "a=1+2"):
        assert ask(address, "GET", f"/t/call?{query}").status == 200
    postback = {"endpoint": {"method": "GET", "url": "http://h/{k}"}, "data": [{"k": "v"}, {"k": 7}, {"k": True}, {"j": "v"}, {"k": [1, {"l": None}]}]}
    assert ask(address, "POST", "/ingest", json.dumps(postback).encode()).status == 202
    one.settle("track", 6)

    def tapped(topic, *filters):
        result = one.millrace("tap", topic, "--last", 100, "--no-follow", *(w for f in filters for w in ("-f", f)))
        assert result.returncode == 0 and result.stderr == ""
        return [e.get("params", e.get("query", e.get("data"))) for e in events(result.stdout)]

    assert tapped("track", "params.a=1") == [{"a": "1", "b": "2"}, {"a": ["2", "1"]}]
    assert tapped("track", "params.a=1", "params.b=2") == [{"a": "1", "b": "2"}]
    assert tapped("track", "params.b=1") == [{"b": "1"}]
    assert tapped("track", "params.x.y=Zürich") == [{"x.y": "Zürich"}]
    assert tapped("track", "params.a=1 2") == [{"a": "1 2"}]
    assert tapped("track.raw", "params.b=1") == tapped("track.raw", "query.b=1") == ["b=%31"]
    assert tapped("postback", "data.k=v") == [{"k": "v"}]
    assert tapped("postback", 'data.k=[1,{"l":null}]') == [{"k": [1, {"l": None}]}]
    assert tapped("postback", "data.k=7") == [{"k": 7}] and tapped("postback", "data.k=true") == [{"k": True}]
    assert tapped("track", "params.nothing=1") == []
    refused = one.millrace("tap", "metric", "-f", "username.x=1")
    assert refused.returncode == 2 and 'no field "username.x"' in refused.stderr
    assert one.stop() == 3  # postbacks wait in the queue


def test_last_goes_back_as_far_as_memory_does(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["topics"]["ip"]["size"] = "64KiB"
    one = instance(config=config)
    sha = random_sha(rng)
    send_events(one, sha, range(5000))
    one.settle("ip", 5000)
    ips = [e["ip"] for e in events(one.millrace("tap", "ip", "--last", 5000, "--no-follow").stdout)]
    assert 400 < len(ips) <= 65536 // 72
    assert ips == [f"0.0.{i >> 8}.{i & 255}" for i in range(5000 - len(ips), 5000)]


def test_the_last_of_several_lanes_are_the_newest(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0]["processes"] = 3
    one = instance(config=config)
    sha = random_sha(rng)
    for i in range(60):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(ipevent(sha, i), one.address())
        wait_until(lambda: one.ledger("ip")["received"] == i + 1, 10, "one more received")  # noqa: B023
    assert sum(lane["written_records"] > 0 for lane in one.topic("ip")["lanes"]) >= 2
    newest = {e["ip"] for e in events(one.millrace("tap", "ip", "--last", 7, "--no-follow").stdout)}
    assert newest == {f"0.0.0.{i}" for i in range(53, 60)}
    assert len(events(one.millrace("tap", "ip", "--last", 1000, "--no-follow").stdout)) == 60


def test_raw_gives_the_records_as_they_lie_in_memory(instance, rng):
    one = instance()
    sha = random_sha(rng)
    send_events(one, sha, [5, 6])
    one.settle("ip", 2)
    result = subprocess.run(
        [str(MILLRACE), "tap", "ip", "--last", "2", "--no-follow", "--format", "raw"], capture_output=True,
        env=one.environment(), check=True, timeout=30 * SLOW,
    )
    assert len(result.stdout) == 2 * 72
    for i, ip in enumerate((5, 6)):
        length, kind, _flags = struct.unpack_from("=IHH", result.stdout, 72 * i)
        assert (length, kind) == (64, 1)
        assert struct.unpack_from("=I", result.stdout, 72 * i + 8 + 28)[0] == ip
        assert result.stdout[72 * i + 40 : 72 * i + 72] == bytes.fromhex(sha)


def test_a_reader_that_goes_away_ends_the_tap_quietly(instance, running, rng):
    one = instance()
    read, write = os.pipe()
    tap = running(one, "tap", "ip", stdout=write)
    os.close(write)
    wait_tap(one, tap)
    os.close(read)
    assert tap.process.wait(timeout=10 * SLOW) == 0
    assert tap.errors() == ""
    sha = random_sha(rng)
    send_events(one, sha, range(3000))
    one.settle("ip", 3000)
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {MILLRACE} tap ip --last 3000 | head -n 2"], capture_output=True, text=True,
        env=one.environment(), check=False, timeout=20 * SLOW,
    )
    assert (piped.returncode, piped.stdout.count("\n"), piped.stderr) == (0, 2, "")


def test_a_tap_that_is_too_slow_holds_nobody_up_and_says_what_it_missed(instance, tmp_path, running, rng):
    config = default_config(tmp_path)
    config["topics"]["ip"]["size"] = "512KiB"  # 7,281 records: tally may be kept off the processor for most of a second
    one = instance(config=config)
    tap = running(one, "tap", "ip")
    wait_tap(one, tap)
    tap.process.send_signal(signal.SIGSTOP)
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, ip) for ip in range(10000)], 10000)
    ledger = one.ledger("ip", one.settle("ip", 10000))
    assert ledger["dropped"] == 0 and ledger["written"] == 10000
    tap.process.send_signal(signal.SIGCONT)
    last = f"0.0.{9999 >> 8}.{9999 & 255}"
    wait_until(lambda: tap.lines() and json.loads(tap.lines()[-1])["ip"] == last, 30, "the newest event")
    seen = len(tap.lines())
    assert one.group("ip", f"tap.{tap.process.pid}")["missed_records"] == 10000 - seen
    assert tap.end() == 0
    assert f"{10000 - seen} records were missed" in tap.errors()


def test_an_unknown_topic_is_answered_with_those_that_there_are(instance):
    one = instance()
    result = one.millrace("tap", "pi")
    assert result.returncode == 1 and '"pi"' in result.stderr and "ip" in result.stderr
    result = one.millrace("tap", "ip", "--filter", "address=1")
    assert result.returncode == 2 and "app_sha256" in result.stderr


def test_taps_and_consumers_end_with_the_instance(instance, running, tmp_path):
    one = instance()
    tap = running(one, "tap", "ip")
    consumer = running(one, "consume", "ip", "--group", "g", "--", "cat")
    wait_tap(one, tap)
    wait_group(one, "ip", "g")
    assert one.stop() == 0
    assert tap.process.wait(timeout=10 * SLOW) == 0 and "has ended" in tap.errors()
    assert consumer.process.wait(timeout=10 * SLOW) == 0 and "has ended" in consumer.errors()
