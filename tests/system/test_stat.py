"""millrace stat: what it shows of a running instance."""
import json
import os
import re
import signal

from cli_help import send_events, RATE
from harness import SLOW, wait_until
from http_help import ask, http_address, http_config
from load import Expected, mixture, random_sha, send_paced
from prometheus_help import samples, value


def test_stat_json_has_the_keys_that_were_promised(instance, rng):
    one = instance()
    sha = random_sha(rng)
    send_events(one, sha, range(10))
    stat = one.settle("ip", 10)
    assert stat["instance"] == one.name and re.fullmatch(r"[0-9a-f]{16}", stat["generation"])
    metrics = stat["supervisor"].pop("metrics")
    assert stat["supervisor"] == {"pid": one.process.pid, "alive": True, "managed": False}
    assert metrics == {"log_lines_dropped": 0, "roles_given_up": 0, "lapsed_groups": 0, "dropped_buffers": 0}
    assert {s["name"] for s in stat["stages"]} == {"ingest-udp.0", "tally.0"}
    for stage in stat["stages"]:
        assert stage.keys() >= {"name", "pid", "state", "restarts", "heartbeat_age_ms", "metrics"}
        os.kill(stage["pid"], 0)
        assert stage["metrics"] and all(isinstance(v, int) for v in stage["metrics"].values())
        assert 0 <= stage["heartbeat_age_ms"] < 10000 * SLOW
    lane = one.topic("ip", stat)["lanes"][0]
    assert (lane["lane"], lane["size_bytes"], lane["written_records"], lane["written_bytes"]) == (0, 16 << 20, 10, 720)
    group = lane["groups"][0]
    assert group.keys() >= {
        "group", "required", "read_records", "waiting_records", "waiting_bytes", "missed_records",
    }
    assert (group["group"], group["required"], group["read_records"], group["waiting_records"]) == ("tally", True, 10, 0)
    assert stat["queues"] == []
    ledger = one.ledger("ip", stat)
    assert ledger.keys() >= {"topic", "received", "kernel_dropped", "rejected", "dropped", "refused", "written", "balanced"}
    assert ledger["balanced"] is True and ledger["received"] == 10


def test_prometheus_gets_the_same_numbers(instance, rng):
    one = instance()
    expected = Expected()
    send_paced(one.address(), mixture(rng, 2000, 3, 40, expected), RATE)
    stat = one.settle("ip", 2000)
    text, opened = (samples(one.millrace("stat", f"--{name}").stdout) for name in ("prometheus", "openmetrics"))
    assert {k[0] for k in text} == {k[0] for k in opened}
    lane = {"topic": "ip", "lane": "0", "role": "ingest-udp.0"}
    ledger = one.ledger("ip", stat)
    for found in text, opened:
        for outcome in "received", "kernel_dropped", "dropped", "refused", "written":
            assert value(found, "millrace_topic_events_total", outcome=outcome, **lane) == ledger[outcome]
        for reason, n in ledger["rejected"].items():
            assert value(found, "millrace_topic_rejected_total", reason=reason, **lane) == n
        read = {"topic": "ip", "lane": "0", "group": "tally"}
        assert value(found, "millrace_group_read_records_total", **read) == expected.n_valid()
        assert value(found, "millrace_group_waiting_records", **read) == 0
        assert value(found, "millrace_group_oldest_age_seconds", topic="ip", group="tally") == 0
        assert value(found, "millrace_tally_events_total", role="tally.0") == expected.n_valid()
        assert value(found, "millrace_stage_up", role="tally.0") == 1
        # Times: each batch is on its way for a moment.
        for name, role in (("ingest_udp_to_ring", "ingest-udp.0"), ("tally_taken_after", "tally.0"), ("tally_commit", "tally.0")):
            n = value(found, f"millrace_{name}_seconds_count", role=role)
            assert 0 < n <= 2000 and 0 < value(found, f"millrace_{name}_seconds_sum", role=role) < 10 * SLOW * n
    assert one.millrace("stat", "--prometheus", "--json", check=False).returncode == 2


def test_the_table_shows_the_same_numbers(instance, rng):
    one = instance()
    expected = Expected()
    send_paced(one.address(), mixture(rng, 3000, 3, 40, expected), RATE)
    stat = one.settle("ip", 3000)
    text = one.millrace("stat", "--metrics").stdout
    row = next(line for line in text.splitlines() if re.match(r"ip +3,000 ", line))
    assert row.split() == [
        "ip", "3,000", f"{3000 - expected.n_valid():,}", "0", "0", f"{expected.n_valid():,}", "yes", "0",
    ]
    for reason, n in expected.rejected.items():
        assert re.search(rf"^ip +{reason} +{n:,} ", text, re.M), reason
    assert re.search(rf"^tally\.0 +running +{one.pid_of('tally.0')} ", text, re.M)
    for metric in one.stage("tally.0", stat)["metrics"]:
        assert metric in text
    # Columns are aligned: every line of a block is cut at the same places.
    block = text[text.index("STAGE") :].split("\n\n")[0].splitlines()
    assert len({line.index("running") for line in block[1:]}) == 1


def test_a_histogram_is_one_metric_with_its_buckets(instance, tmp_path):
    one = instance(config=http_config(tmp_path))
    for _ in range(5):
        assert ask(http_address(one), "GET", "/healthz").status == 200
    times = wait_until(lambda: (found := one.stage("ingest-http.0")["histograms"]["health_time_ns"])["count"] == 5 and found, 20, "five times")
    bounds = [bucket["le"] for bucket in times["buckets"]]
    counts = [bucket["count"] for bucket in times["buckets"]]
    assert bounds[:-1] == sorted(bounds[:-1]) and len(bounds) == 8 and bounds[-1] is None
    assert counts == sorted(counts) and counts[-1] == 5 and times["sum"] > 0
    assert not [name for name in one.stage("ingest-http.0")["metrics"] if "_time_" in name and name.startswith("health")]
    shown = one.millrace("stat", "--metrics").stdout
    assert re.search(r"^ingest-http\.0 +health_time_ns +5 +[0-9.]+ [mun]?s ", shown, re.MULTILINE), shown


def test_watch_prints_again_with_rates(instance, rng):
    one = instance()
    result = one.millrace("stat", "--json", "--watch", "0.2", "--count", 3)
    samples = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["received_per_second" in sample["ledger"][0] for sample in samples] == [False, True, True]
    text = one.millrace("stat", "--watch", "100ms", "--count", 2).stdout
    first, second = text.split("instance ")[1:]
    assert "RATE" not in first and "RATE" in second and re.search(r"ip .*\d/s$", second, re.M)


def test_a_dead_stage_and_a_dead_supervisor_are_shown_as_such(instance):
    one = instance()
    # A supervisor that is held cannot restart what died.
    os.kill(one.process.pid, signal.SIGSTOP)
    os.kill(one.pid_of("tally.0"), signal.SIGKILL)
    wait_until(lambda: one.stage("tally.0")["state"] == "dead", 10, "tally shown as dead")
    assert one.stage("ingest-udp.0")["state"] == "running"
    assert re.search(r"^tally\.0 +dead ", one.millrace("stat").stdout, re.M)
    os.kill(one.process.pid, signal.SIGCONT)
    wait_until(lambda: one.stage("tally.0")["state"] == "running", 20, "tally restarted")
    assert one.stage("tally.0")["restarts"] == 1
    assert re.search(r"^tally\.0 +running .* SIGKILL ", one.millrace("stat").stdout, re.M)
    one.kill()
    assert one.stat()["supervisor"]["alive"] is False
    assert "not running (start it with: millrace run --instance" in one.millrace("stat").stdout
    one.start()
    supervisor = one.stat()["supervisor"]
    assert (supervisor["pid"], supervisor["alive"]) == (one.process.pid, True)
