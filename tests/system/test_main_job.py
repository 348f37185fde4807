"""The main job: datagrams in, streams, counts out. Everything sent is accounted for, to the last datagram."""
import ipaddress
import json
import re
import socket
import time

import pytest

import harness
from harness import SLOW, cpu_seconds, default_config, processes, wait_until
from load import CORRUPTIONS, SOL_UDP, UDP_SEGMENT, Expected, ipevent, mixture, random_sha, send_paced, udp_socket

RATE = 20000 / SLOW  # datagrams a second from this interpreter: what a small receive buffer can follow


def check_reports(millrace, expected):
    for sha in expected.count:
        assert millrace.report(sha) == expected.report(sha), sha


def check_ledger(ledger, expected):
    """The ledger of a topic whose writers received all of `expected` and dropped nothing."""
    assert ledger["kernel_dropped"] == 0
    assert {k: v for k, v in ledger["rejected"].items() if v} == expected.rejected
    assert ledger["received"] == expected.sent
    assert ledger["written"] == expected.n_valid()
    assert (ledger["dropped"], ledger["refused"], ledger["balanced"]) == (0, 0, True)


# ---- counts ----


def test_counts_equal_what_was_sent_minus_what_was_rejected_by_reason(instance, rng):
    millrace = instance()
    expected = Expected()
    datagrams = mixture(rng, 30000, apps=15, corrupt_percent=30, expected=expected)
    send_paced(millrace.address(), datagrams, RATE)
    stat = millrace.settle("ip", expected.sent)
    check_ledger(millrace.ledger("ip", stat), expected)
    assert set(expected.rejected) == set(CORRUPTIONS)
    assert millrace.group("ip", "tally", stat)["read_records"] == expected.n_valid()
    check_reports(millrace, expected)


def test_a_flood_by_the_test_client_is_counted_to_the_last_datagram(instance, tmp_path):
    millrace = instance()
    host, port = millrace.address()
    expect_file = tmp_path / "expect.json"
    result = millrace.millrace(
        "send", "udp", f"{host}:{port}", "--count", 1000000, "--rate", int(400000 / SLOW), "--gso", 64, "--apps", 50, "--corrupt", 30,
        "--expect", expect_file, timeout=60,
    )
    assert result.returncode == 0, result.stderr
    expect = json.loads(expect_file.read_text())
    assert expect["sent"] == 1000000
    assert 0.28 < sum(expect["rejected"].values()) / expect["sent"] < 0.32
    ledger = millrace.ledger("ip", millrace.settle("ip", expect["sent"]))
    assert ledger["kernel_dropped"] == 0
    assert {k: v for k, v in ledger["rejected"].items() if v} == {k: v for k, v in expect["rejected"].items() if v}
    assert ledger["written"] == expect["valid"] == sum(app["count"] for app in expect["apps"].values())
    for sha, app in expect["apps"].items():
        report = millrace.report(sha)
        assert report["count"] == app["count"]
        assert sorted(report["good_ips"] + report["bad_ips"]) == sorted(app["ips"])


def test_upper_case_and_repeated_and_unknown_fields_mean_what_protobuf_says(instance, rng):
    millrace = instance()
    sha = random_sha(rng)
    other = random_sha(rng)
    plain = ipevent(sha, 0x0A000001)
    datagrams = [
        plain,
        ipevent(sha.upper(), 0x0A000001),
        plain[66:] + plain[:66],  # the other way round
        ipevent(other, 1) + plain,  # the last of a repeated field wins
        plain + b"\x18\x07" + b"\x22\x03abc" + b"\x29" + bytes(8) + b"\x35" + bytes(4),  # unknown fields of all kinds
        plain[:67] + b"\x81\x80\x80\xd0\x80\x00",  # an address with more bytes than needed
    ]
    send_paced(millrace.address(), datagrams, RATE)
    millrace.settle("ip", len(datagrams))
    assert millrace.report(sha) == {"count": 6, "good_ips": [], "bad_ips": ["10.0.0.1"]}


def test_hostile_datagrams_are_counted_and_harm_nothing(instance, rng):
    millrace = instance()
    good = Expected()
    whole = mixture(rng, 500, apps=2, corrupt_percent=0, expected=good)
    hostile = [b"", b"\xff" * 1400, b"\x0a" + b"\xff" * 9 + b"\x01", bytes(60000), b"\x0a\x40" * 700]
    hostile += [rng.randbytes(rng.randrange(1, 200)) for _ in range(1500)]
    mixed = whole + hostile
    rng.shuffle(mixed)
    send_paced(millrace.address(), mixed, RATE / 2)
    ledger = millrace.ledger("ip", millrace.settle("ip", len(mixed)))
    assert ledger["written"] == good.n_valid()
    assert sum(ledger["rejected"].values()) == len(hostile)
    check_reports(millrace, good)


def test_a_caller_who_asks_for_nothing_that_exists_gets_a_clear_answer(instance):
    millrace = instance()
    unknown = millrace.millrace("report", "ab" * 32)
    assert unknown.returncode not in (0, 2) and "ab" * 32 in unknown.stderr
    malformed = millrace.millrace("report", "xyz")
    assert malformed.returncode != 0 and "xyz" in malformed.stderr


def test_over_the_caps_everything_is_still_counted_and_the_report_says_so(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["tally"].update(applications=3, addresses_per_application=16)
    millrace = instance(config=config)
    shas = [random_sha(rng) for _ in range(10)]
    datagrams = [ipevent(shas[0], 0x0B000000 + 2 * i) for i in range(100)]
    datagrams += [ipevent(sha, 5) for sha in shas[1:3] for _ in range(7)]
    send_paced(millrace.address(), datagrams, RATE)
    millrace.settle("ip", len(datagrams))
    late = [ipevent(sha, 5) for sha in shas[3:] for _ in range(7)]
    send_paced(millrace.address(), late, RATE)
    ledger = millrace.ledger("ip", millrace.settle("ip", len(datagrams) + len(late)))
    assert ledger["written"] == len(datagrams) + len(late)
    report = millrace.report(shas[0])
    assert report["count"] == 100 and report["truncated"] is True
    assert len(report["good_ips"]) + len(report["bad_ips"]) == 16
    assert millrace.report(shas[1]) == {"count": 7, "good_ips": [], "bad_ips": ["0.0.0.5"]}
    assert millrace.millrace("report", shas[9]).returncode != 0


# ---- listeners ----


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_a_listener_on_all_addresses_takes_ipv4_and_ipv6_and_keeps_the_source(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0]["listen"] = ["[::]:0"]
    millrace = instance(config=config)
    port = millrace.address()[1]
    sha = random_sha(rng)
    send_paced(("::1", port), [ipevent(sha, 1)] * 100, RATE)
    send_paced(("127.0.0.1", port), [ipevent(sha, 2)] * 50, RATE)
    millrace.settle("ip", 150)
    assert millrace.report(sha) == {"count": 150, "good_ips": ["0.0.0.1", "0.0.0.2"], "bad_ips": []}
    lines = millrace.millrace("tap", "ip", "--format", "json", "--last", 150, "--count", 150).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    # "ip" is the sender in every event; the address that an IpEvent tells has a name of its own.
    senders = {address: sum(address in e.values() for e in events) for address in ("::1", "127.0.0.1")}
    assert senders == {"::1": 100, "127.0.0.1": 50}, events[:2]
    assert len({e["id"] for e in events}) == 150


def test_one_listener_may_have_several_addresses(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0]["listen"] = ["127.0.0.1:0", "127.0.0.2:0"]
    millrace = instance(config=config)
    sha = random_sha(rng)
    for i in range(2):
        send_paced(millrace.address(i), [ipevent(sha, 1 + i)] * (10 + i), RATE)
    millrace.settle("ip", 21)
    assert [a[0] for a in millrace.addresses()] == ["127.0.0.1", "127.0.0.2"]
    assert millrace.report(sha)["count"] == 21


def test_several_processes_share_a_port_and_count_together(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0]["processes"] = 2
    millrace = instance(config=config)
    expected = Expected()
    datagrams = mixture(rng, 20000, apps=5, corrupt_percent=20, expected=expected)
    send_paced(millrace.address(), datagrams, RATE, senders=64)
    stat = millrace.settle("ip", expected.sent)
    check_ledger(millrace.ledger("ip", stat), expected)
    written = [lane["written_records"] for lane in millrace.topic("ip", stat)["lanes"]]
    assert len(written) == 2 and min(written) > 0, written
    assert {s["name"] for s in stat["stages"]} >= {"ingest-udp.0", "ingest-udp.1", "tally.0"}
    check_reports(millrace, expected)


@pytest.mark.parametrize("call", ["setup", "enter", "register"])
def test_where_a_call_of_io_uring_is_denied_the_other_backend_serves(instance, rng, call):
    millrace = instance(wrapper=harness.denied(call))
    expected = Expected()
    datagrams = mixture(rng, 5000, apps=5, corrupt_percent=20, expected=expected)
    send_paced(millrace.address(), datagrams, RATE)
    stat = millrace.settle("ip", expected.sent)
    check_ledger(millrace.ledger("ip", stat), expected)
    assert millrace.stage("ingest-udp.0", stat)["metrics"]["uring_in_use"] == 0
    assert re.fullmatch(r"recvmmsg, no io_uring: .*: Operation not permitted", millrace.stage("ingest-udp.0", stat)["note"])
    check_reports(millrace, expected)


def test_raw_and_json_listeners_write_their_topics(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["udp"] = [
        {"listen": "127.0.0.1:0", "format": "raw"},
        {"listen": "127.0.0.1:0", "format": "json", "receive_buffer": "4MiB"},
    ]
    config["topics"] = {"raw": {"size": "1MiB"}, "metric": {"size": "1MiB"}, "track.raw": {"size": "1MiB"}}
    millrace = instance(config=config)
    by_format = {a[2]: a[:2] for a in millrace.addresses()}
    raw = [b"\x00\xff", b"", b"plain", rng.randbytes(1400)]
    send_paced(by_format["raw"], raw, RATE)
    metric = {"username": "kodingb\u00f6t \"x\"", "count": 12412414, "metric": "kite_call"}
    track = {"type": "app_open", "ts": 1510826008003, "params": {"deviceid": "a b&c", "n": 3}}
    wrong = {"hello": 1}
    objects = [metric, track, wrong, {"username": "", "count": 1, "metric": "m"}, {"username": "u", "count": "1", "metric": "m"}]
    send_paced(by_format["json"], [json.dumps(o).encode() for o in objects] + [b'{"username": '], RATE)
    stat = millrace.settle("raw", len(raw))
    assert millrace.ledger("raw", stat)["written"] == len(raw)

    def taken():
        entries = [millrace.ledger(t) for t in ("metric", "track.raw")]
        return entries if sum(e["received"] for e in entries) >= len(objects) + 1 else None

    entries = wait_until(taken, 10, "the json datagrams")
    assert all(e["balanced"] for e in entries)
    assert [e["written"] for e in entries] == [1, 1]
    rejected = {}
    for entry in entries:
        for reason, n in entry["rejected"].items():
            if n:
                rejected[reason] = rejected.get(reason, 0) + n
    assert rejected == {"unknown_event": 1, "missing_field": 1, "wrong_type": 1, "truncated": 1}

    def tapped(topic, n):
        result = millrace.millrace("tap", topic, "--format", "json", "--last", n, "--count", n)
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    (event,) = tapped("metric", 1)
    assert {k: event[k] for k in metric} == metric
    assert event["ip"] == "127.0.0.1" and "source" not in event
    (event,) = tapped("track.raw", 1)
    assert event["type"] == "app_open" and event["query"] == "deviceid=a%20b%26c&n=3"
    assert len(tapped("raw", 4)) == 4
    millrace.settle("metric", 1)  # tally keeps metrics, nothing keeps datagrams as they came
    assert {topic["topic"]: topic["kept"] for topic in stat["topics"]} == {"raw": False, "metric": True, "track.raw": True, "track": True}


def test_a_port_in_use_is_named(instance, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        config = default_config(tmp_path)
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        config["ingest"]["udp"][0]["listen"] = address
        millrace = instance(start=False, config=config)
        millrace.start(wait=False)
        assert millrace.wait_end(10) == 1
        assert address in millrace.log() and "in use" in millrace.log()
        assert not millrace.directory.exists()


# ---- full streams ----


def test_what_a_full_lane_drops_is_in_the_ledger_and_the_rest_is_counted(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["topics"]["ip"]["size"] = "64KiB"
    millrace = instance(config=config)
    tally = millrace.pid_of("tally.0")
    sha = random_sha(rng)
    n = 5000  # of 72 bytes: five times what the lane holds
    processes.pause(tally)
    try:
        send_paced(millrace.address(), [ipevent(sha, 7)] * n, RATE)
        wait_until(lambda: millrace.ledger("ip")["received"] >= n, 20, "all received")
        ledger = millrace.ledger("ip")
    finally:
        processes.resume(tally)
    assert ledger["dropped"] > n / 2 and ledger["written"] > 500
    assert ledger["received"] == n == ledger["dropped"] + ledger["written"] and ledger["balanced"]
    ledger = millrace.ledger("ip", millrace.settle("ip", n))
    assert millrace.report(sha)["count"] == ledger["written"]
    # There is room again: nothing more is dropped.
    send_paced(millrace.address(), [ipevent(sha, 7)] * 300, 2000 / SLOW)
    after = millrace.ledger("ip", millrace.settle("ip", n + 300))
    assert after["dropped"] == ledger["dropped"]
    assert millrace.report(sha)["count"] == ledger["written"] + 300


def test_a_corrupted_length_in_a_stream_is_counted_and_the_reader_goes_on(instance, rng):
    millrace = instance()
    tally = millrace.pid_of("tally.0")
    sha = random_sha(rng)
    n = 2000
    send_paced(millrace.address(), [ipevent(sha, 7)] * n, RATE)
    millrace.settle("ip", n)
    processes.pause(tally)
    try:
        send_paced(millrace.address(), [ipevent(sha, 7)] * n, RATE)
        wait_until(lambda: millrace.ledger("ip")["written"] == 2 * n, 10, "all written")
        lane = millrace.topic("ip")["lanes"][0]
        path = millrace.lane_file("ip")
        data_offset = path.stat().st_size - lane["size_bytes"]
        record = lane["written_bytes"] // lane["written_records"]
        with open(path, "r+b") as file:
            file.seek(data_offset + record * (n + 100))
            assert int.from_bytes(file.read(4), "little") == record - 8  # the place is a record's header
            file.seek(data_offset + record * (n + 100))
            file.write((0xFFFFFFF0).to_bytes(4, "little"))
    finally:
        processes.resume(tally)
    stat = millrace.settle("ip", 2 * n)
    group = millrace.group("ip", "tally", stat)
    assert 0 < group["missed_records"] <= n - 100
    assert group["read_records"] + group["missed_records"] == 2 * n
    assert millrace.report(sha)["count"] == group["read_records"]
    assert millrace.pid_of("tally.0") == tally  # it did not die of it
    send_paced(millrace.address(), [ipevent(sha, 7)] * 500, RATE)
    millrace.settle("ip", 2 * n + 500)
    assert millrace.report(sha)["count"] == group["read_records"] + 500


# ---- start and end ----


def test_two_supervisors_on_one_instance_the_second_refuses(instance, rng):
    millrace = instance()
    second = millrace.millrace("run", "-c", millrace.config_file)
    assert second.returncode == 1
    assert str(millrace.process.pid) in second.stderr + second.stdout and millrace.name in second.stderr + second.stdout
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 10, RATE)
    millrace.settle("ip", 10)
    assert millrace.report(sha)["count"] == 10


def test_sigterm_drains_all_that_was_taken_in(instance, rng):
    millrace = instance(sets=["tally.commit_interval=60s"])
    sha = random_sha(rng)
    n = 20000
    send_paced(millrace.address(), [ipevent(sha, 1)] * n, RATE)
    wait_until(lambda: millrace.ledger("ip")["received"] == n, 10, "all received")
    assert millrace.stop() == 0
    assert not millrace.directory.exists()
    result = millrace.millrace("report", sha, "-c", millrace.config_file)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["count"] == n


def test_counts_go_on_after_a_stop_and_a_start(instance, rng):
    millrace = instance()
    sha = random_sha(rng)
    for life in range(1, 3):
        send_paced(millrace.address(), [ipevent(sha, life)] * 100, RATE)
        millrace.settle("ip", 100)
        assert millrace.report(sha)["count"] == 100 * life
        assert millrace.stop() == 0
        if life == 1:
            millrace.start()


def test_a_new_supervisor_adopts_what_a_killed_one_left(instance, rng):
    millrace = instance()
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 1000, RATE)
    stat = millrace.settle("ip", 1000)
    stages = [s["pid"] for s in stat["stages"]]
    millrace.kill()
    wait_until(lambda: not set(stages) & set(processes.children()), 10, "the end of the stages")
    assert millrace.directory.exists()
    millrace.start()
    assert millrace.ledger("ip")["written"] == 1000
    send_paced(millrace.address(), [ipevent(sha, 1)] * 500, RATE)
    stat = millrace.settle("ip", 1500)
    assert millrace.ledger("ip", stat)["written"] == 1500
    assert millrace.report(sha)["count"] == 1500


def test_sighup_restarts_only_what_changed(instance, tmp_path, rng):
    config = default_config(tmp_path)
    millrace = instance(config=config)
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 100, RATE)
    millrace.settle("ip", 100)
    before = {s["name"]: s["pid"] for s in millrace.stat()["stages"]}
    config["tally"]["commit_interval"] = "50ms"
    millrace.write_config(config)
    millrace.process.send_signal(1)

    def tally_restarted():
        stage = millrace.stage("tally.0")
        return stage["pid"] != before["tally.0"] and stage["state"] == "running"

    wait_until(tally_restarted, 15, "a new tally")
    after = {s["name"]: s["pid"] for s in millrace.stat()["stages"]}
    assert after["ingest-udp.0"] == before["ingest-udp.0"]
    send_paced(millrace.address(), [ipevent(sha, 1)] * 100, RATE)
    millrace.settle("ip", 200)
    assert millrace.report(sha)["count"] == 200
    # A mistake in the file changes nothing and is reported.
    millrace.write_config(json.dumps(config).replace("50ms", "many"))
    millrace.process.send_signal(1)
    wait_until(lambda: "commit_interval" in millrace.log() and "many" in millrace.log(), 10, "a line about the mistake")
    assert {s["name"]: s["pid"] for s in millrace.stat()["stages"]} == after


def test_a_stage_that_cannot_start_is_throttled_shown_and_taken_up_when_it_can(instance, tmp_path, rng):
    data = tmp_path / "data"
    data.mkdir()
    (data / "tally.db").write_text("this is no database\n" * 500)
    millrace = instance(start=False)
    millrace.start(wait=False)

    def throttled():
        stat = millrace.try_stat()
        stages = {s["name"]: s for s in stat["stages"]} if stat else {}
        return stages.get("tally.0") if stages.get("tally.0", {}).get("restarts", 0) >= 2 else None

    stage = wait_until(throttled, 20, "restarts of the tally")
    assert stage["state"] != "running"
    assert "tally.db" in millrace.log()
    first = stage["restarts"]
    time.sleep(1)
    assert millrace.stage("tally.0")["restarts"] - first <= 8  # it does not spin
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 100, RATE)  # meanwhile the rest works, and the stream keeps them
    wait_until(lambda: millrace.ledger("ip")["written"] == 100, 10, "all written")
    (data / "tally.db").unlink()
    wait_until(lambda: millrace.stage("tally.0")["state"] == "running", 40, "the tally's recovery")
    millrace.settle("ip", 100)
    assert millrace.report(sha)["count"] == 100


# ---- at rest, and its cost ----


def test_any_reader_of_the_database_sees_the_counts(instance, rng):
    millrace = instance()
    expected = Expected()
    send_paced(millrace.address(), mixture(rng, 3000, apps=30, corrupt_percent=0, expected=expected), RATE)
    millrace.settle("ip", expected.sent)
    assert millrace.counts() == expected.count
    database = millrace.tmp_path / "data" / "tally.db"
    assert harness.rows(database, "PRAGMA integrity_check") == [("ok",)]
    assert harness.rows(database, "PRAGMA journal_mode") == [("wal",)]
    seen = set(harness.rows(database, "SELECT sha, ip FROM address"))
    assert seen == {(sha, str(ipaddress.IPv4Address(ip))) for sha, ips in expected.addresses.items() for ip in ips}


@pytest.mark.limit(90)
def test_idle_for_ten_seconds_all_processes_use_under_half_a_percent_of_a_core(instance):
    if SLOW > 1:
        pytest.skip("sanitizers cost more")
    millrace = instance(sets=["ingest.udp[0].receive_buffer=64MiB", "topics.ip.size=64MiB"])
    pids = [millrace.process.pid] + [s["pid"] for s in millrace.stat()["stages"]]
    shares = []
    for _ in range(3):  # machines are noisy
        time.sleep(0.5)
        before = {pid: cpu_seconds(pid) for pid in pids}
        time.sleep(10)
        used = {pid: cpu_seconds(pid) - before[pid] for pid in pids}
        shares.append(sum(used.values()) / 10)
        if shares[-1] < 0.005:
            return
    pytest.fail(f"shares of a core: {shares}; of the last: {used}")


def test_gso_bursts_are_taken_apart(instance, rng):
    """One send of many equal datagrams, the last of them shorter, arrives as so many events."""
    millrace = instance()
    sha = random_sha(rng)
    sender = udp_socket(millrace.address())
    n = 0
    for burst in (1, 2, 63, 64, 17):
        datagrams = [ipevent(sha, rng.randrange(1 << 28, 1 << 32)) for _ in range(burst - 1)] + [ipevent(sha, n)]
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, len(datagrams[0]))
        assert sender.send(b"".join(datagrams)) == sum(map(len, datagrams))
        n += burst
    sender.close()
    ledger = millrace.ledger("ip", millrace.settle("ip", n))
    assert (ledger["received"], ledger["written"]) == (n, n)
    assert millrace.report(sha)["count"] == n
