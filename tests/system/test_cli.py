"""The millrace command: what people and scripts see of it."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from harness import BUILD, MILLRACE, ROOT, SLOW, default_config, wait_until
from http_help import ask, http_address, http_config
from processes import pause, resume
from load import Expected, ipevent, mixture, random_sha, send_paced

COMMANDS = ["run", "check", "stat", "tap", "consume", "report", "send", "clean", "bench"]
RATE = 20000 / SLOW


def millrace(*arguments, env=None, timeout=30, **options):
    """The command without an instance of its own."""
    return subprocess.run(
        [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=dict(os.environ, **(env or {})), timeout=timeout * SLOW, **options,
    )


class Running:
    """A command that goes on, its output in files."""

    def __init__(self, one, tmp_path, *arguments, stdout=None):
        self.out = tmp_path / f"{arguments[0]}-{time.monotonic_ns()}.out"
        self.err = self.out.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=err,
                env=one.environment(),
            )

    def lines(self):
        return [line for line in self.out.read_text().split("\n") if line]

    def errors(self):
        return self.err.read_text()

    def end(self, sig=signal.SIGTERM, timeout=15):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=timeout * SLOW)


@pytest.fixture
def running(tmp_path):
    started = []

    def start(one, *arguments, **options):
        started.append(Running(one, tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def wait_group(one, topic, group, present=True):
    """Until the reader group is there, and has a reader."""

    def found():
        entry = one.group(topic, group)
        return bool(entry and entry["reader_pid"]) if present else not entry

    wait_until(found, 10, f"group {group} {'present' if present else 'gone'}")


def wait_tap(one, process, topic="ip"):
    wait_group(one, topic, f"tap.{process.process.pid}")


def events(text):
    return [json.loads(line) for line in text.splitlines() if line]


def send_events(one, sha, ips):
    send_paced(one.address(), [ipevent(sha, ip) for ip in ips], RATE)


# ---- help, errors ----


def test_every_command_has_help_and_a_manual_page_that_knows_all_its_options():
    overview = millrace("help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", overview, re.M)
        result = millrace(command, "--help")
        assert result.returncode == 0 and result.stderr == ""
        assert millrace("help", command).stdout == result.stdout
        for part in ("Usage: millrace " + command, "Exit codes:", "Example:", "  0  ", "  1  ", "  2  "):
            assert part in result.stdout, (command, part)
        page = (ROOT / "docs" / "man" / f"millrace-{command}.1").read_text()
        for option in re.findall(r"^ .{5}--([a-z-]+)", result.stdout, re.M):
            if option != "help":
                assert re.search(rf"Fl -?{option.replace('-', '.')}\b|Fl -{option}\b", page), f"{command} --{option}"
        for code in re.findall(r"^  (\d)  ", result.stdout, re.M):
            assert f".It {code}\n" in page, (command, code)
    assert re.fullmatch(r"millrace \d+\.\d+\.\d+\n", millrace("--version").stdout)
    assert millrace().returncode == 2


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_manual_pages_are_clean():
    pages = sorted((ROOT / "docs" / "man").glob("millrace*.1"))
    assert len(pages) == len(COMMANDS) + 1
    for page in pages:
        result = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments, suggestion",
    [
        (["stta"], "stat"), (["stat", "--jsn"], "--json"), (["run", "--intsance", "x"], "--instance"),
        (["consume", "ip", "--gruop", "g"], "--group"), (["bench", "steam"], "stream"), (["tap", "ip", "--fomat", "raw"], "--format"),
    ],
)
def test_a_mistyped_word_is_named_and_the_nearest_one_suggested(arguments, suggestion):
    result = millrace(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"did you mean {suggestion}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["stat", "extra"], ["stat", "--watch"], ["stat", "--watch", "soon"], ["tap"], ["tap", "ip", "--format", "xml"],
        ["tap", "ip", "--count", "0"], ["tap", "ip", "--filter", "noequals"], ["tap", "ip", "--filter", "color=red"],
        ["consume", "ip"], ["consume", "ip", "--group", "g"], ["consume", "ip", "--group", "g", "--"], ["report"],
        ["stat", "--count", "3"], ["consume", "ip", "--group", "g", "--forget", "--", "cat"], ["send"], ["send", "tcp"], ["send", "udp", "--gso", "65"],
        ["send", "udp", "--corrupt", "101"], ["send", "udp", "--format", "raw", "--corrupt", "1"], ["bench"], ["bench", "disk"],
        ["check", "--format", "dot"], ["check", "--flow", "--format", "png"], ["--frobnicate"], ["help", "nothing"],
    ],
)
def test_wrong_use_is_two_and_one_line(arguments):
    result = millrace(*arguments)
    assert result.returncode == 2, (arguments, result)
    assert result.stderr.count("\n") == 1 and "millrace" in result.stderr


@pytest.mark.parametrize("arguments", [["stat"], ["tap", "ip"], ["consume", "ip", "--group", "g", "--", "cat"]])
def test_an_instance_that_does_not_run_is_named_with_the_remedy(arguments, shm_root):
    result = millrace(*arguments, "--instance", "nobody") if "--" not in arguments else millrace(
        *arguments[:4], "--instance", "nobody", *arguments[4:], env={"MILLRACE_SHM": str(shm_root)}
    )
    assert result.returncode == 1
    assert 'instance "nobody" is not running' in result.stderr
    assert "start it with: millrace run --instance nobody" in result.stderr
    assert millrace("stat", "--instance", "../up").returncode == 1


def test_the_completion_knows_commands_options_values_instances_and_topics(instance):
    one = instance()
    script = (
        f"source {ROOT}/cli/completion/millrace; "
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _millrace; echo "${COMPREPLY[*]}"; }; '
        f"m={MILLRACE}; try $m ''; try $m st; try $m stat --; try $m tap --format ''; try $m stat --instance ''; try $m tap ''; "
        "try $m consume ip --group g -- /bin/c; try $m consume ip --group ''; try $m run --set ''; "
        "try $m check --format ''; try $m tap --count 3 track --filter ''; try $m tap --filter ''"
    )
    result = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, env=one.environment(), check=True)
    assert result.stderr == ""
    first, stat, options, formats, instances, topics, programs, groups, keys, pictures, fields, no_topic = result.stdout.splitlines()
    assert set(COMMANDS) <= set(first.split())
    assert stat == "stat"
    assert {"--json", "--watch", "--count", "--metrics", "--instance", "--help"} == set(options.split())
    assert formats == "json line raw"
    assert one.name in instances.split()
    assert topics == "ip"
    assert "/bin/cat" in programs.split()
    assert groups == "tally"
    assert {"data_dir=", "ingest.udp[0].listen=", "topics.track.raw.size=", "queues.postback.slots="} <= set(keys.split())
    assert pictures == "text dot"
    assert {"country=", "params=", "dnt="} <= set(fields.split()) and no_topic == ""


# ---- check ----


def test_check_prints_the_exact_bytes_of_every_segment(instance, tmp_path):
    one = instance()
    planned = json.loads(one.millrace("check", "-c", one.config_file, "--json").stdout)
    for segment in planned["segments"]:
        assert (one.directory / segment["name"]).stat().st_size == segment["bytes"], segment
    assert planned["segments_bytes"] == sum(s["bytes"] for s in planned["segments"])
    # Nothing but small files that are no segments is there besides.
    others = {p.name for p in one.directory.iterdir()} - {s["name"] for s in planned["segments"]}
    assert all(re.search(r"^lock$|^config\.yaml|\.(role|claim)$|\.reader\.\d+$", name) for name in others), others
    assert planned["present_bytes"] == planned["segments_bytes"] and planned["fits"]
    assert planned["tally_bytes_max"] > 1000000
    assert planned["memory_bytes_max"] == {"tally.0": planned["tally_bytes_max"]}
    text = one.millrace("check", "-c", one.config_file)
    assert text.returncode == 0 and f"{planned['segments_bytes']}  in all" in text.stdout
    assert "memory of tally: at most " in text.stdout


def test_check_reports_every_error_of_a_file_and_starts_nothing(tmp_path, shm_root):
    config = tmp_path / "wrong.yaml"
    config.write_text("ingest:\n  udp:\n    - {listen: 127.0.0.1:0, format: ipevnt, colour: red}\ntally: {commit_interval: 1ms}\n")
    result = millrace("check", "-c", config, env={"MILLRACE_SHM": str(shm_root), "MILLRACE_INSTANCE": "checked"})
    assert result.returncode == 1 and result.stdout == ""
    for part in ("wrong.yaml:3:", "ipevnt", "colour", "wrong.yaml:4:", "commit_interval"):
        assert part in result.stderr
    assert not (shm_root / "checked").exists()


def test_check_says_when_there_is_not_enough_room():
    result = millrace("check", "--set", "topics.ip.size=64GiB", "--set", "ingest.udp[0].processes=32")
    assert result.returncode == 1
    assert "are needed in" in result.stderr and "topics.*.size" in result.stderr


def test_check_prints_configurations_that_it_takes_back(tmp_path):
    default = millrace("check", "--default")
    (tmp_path / "default.yaml").write_text(default.stdout)
    effective = millrace("check", "-c", tmp_path / "default.yaml", "--effective", "--set", "topics.ip.size=32MiB")
    assert effective.returncode == 0, effective.stderr
    (tmp_path / "effective.yaml").write_text(effective.stdout)
    again = millrace("check", "-c", tmp_path / "effective.yaml", "--effective")
    assert again.stdout == effective.stdout
    keys = millrace("check", "--keys").stdout
    for key in ("data_dir", "ingest.udp[].listen", "topics.*.size", "tally.commit_interval", "log.level"):
        assert re.search(rf"^{re.escape(key)} \(", keys, re.M), key


FLOW = [
    "--set", "ingest={udp: [{listen: ':5000', format: json, processes: 3}, {listen: [':5001', ':5002']}], http: [{listen: 'unix:/tmp/a\"b'}]}",
    "--set", "enrich.processes=2", "--set", "topics.orders.outside_lanes=2", "--instance", "drawn",
]


def test_check_draws_the_flow_of_a_configuration():
    result = millrace("check", "--flow", *FLOW)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "udp :5000 json --> ingest-udp x 3 --> metric, 4 lanes (nobody keeps it)",
        "                                  --> track.raw, 4 lanes --group enrich--> enrich x 2 --> track, 2 lanes (nobody keeps it)",
        "udp :5001, :5002 ipevent --> ingest-udp x 1 --> ip, 1 lane --group tally--> tally x 1",
        'http unix:/tmp/a"b --> ingest-http x 1 --> metric (see above)',
        "                                       --> track.raw (see above)",
        "                                       --> log, 1 lane (nobody keeps it)",
        "                                       ==> postback, queue of 16384 slots (nothing takes from it)",
        "outside programs --> orders, 2 lanes (nobody keeps it)",
    ]


def test_the_flow_as_a_graph_has_an_end_at_every_edge():
    result = millrace("check", "--flow", "--format", "dot", *FLOW)
    assert result.returncode == 0 and result.stderr == ""
    quoted = r'"((?:[^"\\]|\\.)*)"'
    first, *lines, last = result.stdout.splitlines()
    assert first == 'digraph "drawn" {' and last == "}" and lines.pop(0).strip() == "rankdir=LR;"
    vertices, edges = {}, []
    for line in lines:
        vertex = re.fullmatch(rf"\t{quoted} \[shape=\w+, label={quoted}\];", line)
        edge = re.fullmatch(rf"\t{quoted} -> {quoted}(?: \[label={quoted}\])?;", line)
        assert vertex or edge, line
        if vertex:
            assert vertex[1] not in vertices
            vertices[vertex[1]] = vertex[2]
        else:
            edges.append(edge.groups())
    assert all(a in vertices and b in vertices for a, b, _ in edges)
    assert vertices["stage ingest.udp[0]"] == r"ingest-udp\n3 processes" and vertices["topic orders"].startswith(r"orders\n2 lanes")
    assert ("topic track.raw", "stage enrich", "enrich") in edges and ("stage enrich", "topic track", None) in edges
    assert ("stage ingest.http[0]", "queue postback", None) in edges and ("outside orders", "topic orders", None) in edges
    assert (r'listener http unix:/tmp/a\"b', "stage ingest.http[0]", None) in edges
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=result.stdout, stdout=subprocess.DEVNULL, text=True, timeout=60 * SLOW, check=True)


def test_a_flow_that_cannot_be_is_not_drawn():
    result = millrace("check", "--flow", "--set", "ingest.udp[0].listen=[':1', ':1']")
    assert result.returncode == 1 and result.stdout == "" and ":1" in result.stderr


# ---- stat ----


def test_stat_json_has_the_keys_that_were_promised(instance, rng):
    one = instance()
    sha = random_sha(rng)
    send_events(one, sha, range(10))
    stat = one.settle("ip", 10)
    assert stat["instance"] == one.name and re.fullmatch(r"[0-9a-f]{16}", stat["generation"])
    metrics = stat["supervisor"].pop("metrics")
    assert stat["supervisor"] == {"pid": one.process.pid, "alive": True}
    assert metrics == {"log_lines_dropped": 0, "roles_given_up": 0, "dropped_buffers": 0}
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


# ---- tap ----


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
    postback = {"endpoint": {"method": "GET", "url": "http://h/{k}"}, "data": [{"k": "v"}, {"k": 7}, {"k": True}, {"j": "v"}]}
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


# ---- consume ----


def test_a_program_gets_every_event_once_when_nothing_fails(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    taken = tmp_path / "taken"
    consumer = running(one, "consume", "ip", "--group", "archive", "--batch", 300, "--", "sh", "-c", f"cat >> {taken}")
    wait_group(one, "ip", "archive")
    send_events(one, sha, range(5000))
    wait_until(lambda: one.group("ip", "archive")["read_records"] == 5000, 20, "all acknowledged")
    assert consumer.end() == 0 and consumer.errors() == ""
    got = events(taken.read_text())
    assert [e["ip"] for e in got] == [f"0.0.{i >> 8}.{i & 255}" for i in range(5000)]
    assert len({e["id"] for e in got}) == 5000


def test_what_comes_while_nobody_reads_waits_for_the_group(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    send_events(one, sha, [1])
    one.settle("ip", 1)
    consumer = running(one, "consume", "ip", "--group", "later", "--", "cat")
    wait_group(one, "ip", "later")
    assert consumer.end() == 0
    send_events(one, sha, [2, 3, 4])
    wait_until(lambda: one.group("ip", "later")["waiting_records"] == 3, 10, "three waiting")
    result = one.millrace("consume", "ip", "--group", "later", "--no-follow", "--", "cat")
    assert result.returncode == 0 and result.stderr == ""
    assert [e["ip"] for e in events(result.stdout)] == ["0.0.0.2", "0.0.0.3", "0.0.0.4"]
    assert one.millrace("consume", "ip", "--group", "later", "--no-follow", "--", "cat").stdout == ""
    oldest = one.millrace("consume", "ip", "--group", "whole", "--from", "oldest", "--count", 2, "--", "cat")
    assert [e["ip"] for e in events(oldest.stdout)] == ["0.0.0.1", "0.0.0.2"]
    assert one.group("ip", "whole")["waiting_records"] == 2
    for group in ("later", "whole"):
        assert one.millrace("consume", "ip", "--group", group, "--forget").returncode == 0
        assert one.group("ip", group) == {}
    assert one.millrace("consume", "ip", "--group", "later", "--forget").returncode == 1
    forbidden = one.millrace("consume", "ip", "--group", "tally", "--forget")
    assert forbidden.returncode == 1 and "tally" in forbidden.stderr


def test_no_program_takes_the_group_of_a_stage_even_while_that_is_down(instance, rng):
    one = instance()
    send_events(one, random_sha(rng), range(50))
    one.settle("ip", 50)
    pid = one.pid_of("tally.0")
    pause(pid)
    try:
        for command in ("consume", "ip", "--group", "tally", "--no-follow", "--", "cat"), ("consume", "ip", "--group", "tally", "--forget"):
            result = one.millrace(*command)
            assert result.returncode == 1 and result.stdout == "" and "belongs to a stage" in result.stderr
        os.kill(pid, signal.SIGKILL)
        result = one.millrace("consume", "ip", "--group", "tally", "--no-follow", "--", "cat")
        assert result.returncode == 1 and "belongs to a stage" in result.stderr
    finally:
        resume(pid)
    send_events(one, random_sha(rng), range(50))
    one.settle("ip", 100)
    wait_until(lambda: one.group("ip", "tally")["read_records"] == 100, 15, "tally counts on")


@pytest.mark.parametrize("program, why", [
    (["./absent"], "No such file"), (["absent-from-every-folder"], "No such file"), (["/etc/passwd"], "not an executable"),
    (["/"], "not an executable"), ([""], "No such file"),
])
def test_a_program_that_cannot_be_started_leaves_no_group(instance, program, why):
    one = instance()
    result = one.millrace("consume", "ip", "--group", "typo", "--from", "oldest", "--", *program)
    assert result.returncode == 1 and why in result.stderr, result.stderr
    assert one.group("ip", "typo") == {}


def test_a_new_group_of_which_nothing_was_acknowledged_is_taken_back_when_its_program_fails(instance, rng):
    one = instance()
    send_events(one, random_sha(rng), [1, 2, 3])
    one.settle("ip", 3)
    failing = ("--retries", 0, "--batch", 1, "--no-follow", "--", "false")
    result = one.millrace("consume", "ip", "--group", "new", "--from", "oldest", *failing)
    assert result.returncode == 1 and "is not kept" in result.stderr
    assert one.group("ip", "new") == {}
    assert one.millrace("consume", "ip", "--group", "old", "--from", "oldest", "--count", 1, "--", "cat").returncode == 0
    result = one.millrace("consume", "ip", "--group", "old", *failing)
    assert result.returncode == 1 and "keeps its place" in result.stderr
    assert one.group("ip", "old")["waiting_records"] == 2
    assert one.millrace("consume", "ip", "--group", "old", "--forget").returncode == 0


def test_a_batch_that_failed_is_given_again(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    log = tmp_path / "log"
    # Fails on its first two calls, each in another way, after having read everything.
    script = (
        f"n=$(ls {tmp_path}/call.* 2>/dev/null | wc -l); cat > {tmp_path}/call.$n; "
        f"case $n in 0) exit 3;; 1) kill -9 $$;; esac; cat {tmp_path}/call.$n >> {log}"
    )
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", script)
    wait_group(one, "ip", "g")
    send_events(one, sha, range(20))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 20, 15, "acknowledged in the end")
    assert consumer.end() == 0
    assert [e["ip"] for e in events(log.read_text())] == [f"0.0.0.{i}" for i in range(20)]
    assert (tmp_path / "call.0").read_text() == (tmp_path / "call.1").read_text()
    assert "exited with 3" in consumer.errors() and "killed by SIGKILL" in consumer.errors()


def test_a_program_that_always_fails_leaves_the_place_where_it_was(instance, running, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat").returncode == 0
    consumer = running(one, "consume", "ip", "--group", "g", "--retries", 1, "--", "false")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(7))
    assert consumer.process.wait(timeout=20 * SLOW) == 1
    assert "2 of 2 attempts" in consumer.errors() and "--forget" in consumer.errors()
    assert one.group("ip", "g")["waiting_records"] == 7
    missing = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "/nonexistent/program")
    assert missing.returncode == 1 and "cannot start /nonexistent/program" in missing.stderr
    assert one.group("ip", "g")["waiting_records"] == 7
    again = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat")
    assert len(events(again.stdout)) == 7


def test_killed_at_any_moment_a_consumer_loses_nothing(instance, running, tmp_path, rng):
    one = instance()
    sha = random_sha(rng)
    # A file for each program: one that was cut off in a line must not spoil the first line of the next.
    keep = f"cat > $(mktemp -p {tmp_path} taken.XXXXXX)"
    arguments = ["consume", "ip", "--group", "g", "--batch", 50, "--linger", "5ms", "--", "sh", "-c", keep]
    consumer = running(one, *arguments)
    wait_group(one, "ip", "g")
    for start in range(0, 4000, 500):
        send_events(one, sha, range(start, start + 500))
        time.sleep(rng.random() * 0.1)
        consumer.process.kill()
        consumer.process.wait()
        consumer = running(one, *arguments)
    wait_until(lambda: one.group("ip", "g")["read_records"] == 4000, 30, "all acknowledged")
    # All may have been acknowledged before the last kill: then this one has not even begun, and cannot end in order yet.
    wait_until(lambda: one.group("ip", "g")["reader_pid"] == consumer.process.pid, 30, "the last consumer to read")
    assert consumer.end() == 0
    # A line may have been cut when its program was killed with the consumer; the batch came again, whole.
    got = set()
    for taken in tmp_path.glob("taken.*"):
        for line in taken.read_text().split("\n"):
            try:
                got.add(json.loads(line)["ip"])
            except ValueError:
                continue
    assert got == {f"0.0.{i >> 8}.{i & 255}" for i in range(4000)}


LINE_PROGRAM = """
import json, os, sys
batch = []
for line in sys.stdin:
    if line != "\\n":
        batch.append(json.loads(line)["ip"])
        continue
    with open(sys.argv[1], "a") as out:
        out.write(json.dumps({"pid": os.getpid(), "batch": batch}) + "\\n")
    batch = []
    print("ok", flush=True)
with open(sys.argv[1], "a") as out:
    out.write(json.dumps({"pid": os.getpid(), "end": True, "rest": batch}) + "\\n")
"""


def test_a_program_may_stay_and_acknowledge_by_a_line(instance, running, tmp_path, rng):
    one = instance()
    log = tmp_path / "log"
    consumer = running(
        one, "consume", "ip", "--group", "g", "--ack", "line", "--batch", 40, "--", sys.executable, "-c", LINE_PROGRAM, log
    )
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(200))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 200, 15, "all acknowledged")
    assert consumer.end() == 0 and consumer.errors() == ""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({e["pid"] for e in entries}) == 1
    assert entries[-1].get("end") and entries[-1]["rest"] == []
    assert [ip for e in entries for ip in e.get("batch", [])] == [f"0.0.0.{i}" for i in range(200)]
    assert all(len(e["batch"]) <= 40 for e in entries[:-1])


def test_without_its_line_a_batch_is_not_acknowledged(instance, running, tmp_path, rng):
    one = instance()
    log = tmp_path / "log"
    # Dies once in the middle of a batch, without a word; then does as it should.
    program = f"import os\nif not os.path.exists({str(log)!r}):\n    open({str(log)!r}, 'w'); input(); os._exit(0)\n" + LINE_PROGRAM
    consumer = running(
        one, "consume", "ip", "--group", "g", "--ack", "line", "--", sys.executable, "-c", program, log
    )
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(30))
    wait_until(lambda: one.group("ip", "g")["read_records"] == 30, 15, "all acknowledged")
    assert consumer.end() == 0 and "ended without acknowledging" in consumer.errors()
    batches = [json.loads(line) for line in log.read_text().splitlines()]
    assert [ip for e in batches for ip in e.get("batch", [])] == [f"0.0.0.{i}" for i in range(30)]


def test_a_program_that_talks_too_much_is_not_believed(instance, running, rng):
    one = instance()
    assert one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat").returncode == 0
    consumer = running(one, "consume", "ip", "--group", "g", "--ack", "line", "--retries", 0, "--", "cat")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(30))
    assert consumer.process.wait(timeout=20 * SLOW) == 1
    assert "acknowledged" in consumer.errors()
    assert one.group("ip", "g")["waiting_records"] == 30
    assert one.millrace("consume", "ip", "--group", "g", "--forget").returncode == 0


def test_sigterm_lets_the_batch_be_finished(instance, running, tmp_path, rng):
    one = instance()
    taken = tmp_path / "taken"
    script = f"touch {tmp_path}/begun; sleep {1 * SLOW}; cat >> {taken}"
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", script)
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(10))
    wait_until(lambda: (tmp_path / "begun").exists(), 10, "the program has begun")
    consumer.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert consumer.end(signal.SIGTERM) == 0  # timeout(1) sends it twice
    assert len(events(taken.read_text())) == 10
    assert one.group("ip", "g")["waiting_records"] == 0


def test_a_signal_a_second_later_ends_what_does_not_want_to_end(instance, running, tmp_path, rng):
    one = instance()
    consumer = running(one, "consume", "ip", "--group", "g", "--", "sh", "-c", f"touch {tmp_path}/begun; exec sleep 30")
    wait_group(one, "ip", "g")
    send_events(one, random_sha(rng), range(10))
    wait_until(lambda: (tmp_path / "begun").exists(), 10, "the program has begun")
    consumer.process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert consumer.process.poll() is None
    assert consumer.end(signal.SIGINT) == -signal.SIGINT
    assert one.group("ip", "g")["waiting_records"] == 10
    assert one.millrace("consume", "ip", "--group", "g", "--forget").returncode == 0


def test_a_group_has_one_reader(instance, running):
    one = instance()
    consumer = running(one, "consume", "ip", "--group", "g", "--", "cat")
    wait_group(one, "ip", "g")
    second = one.millrace("consume", "ip", "--group", "g", "--no-follow", "--", "cat")
    assert second.returncode == 1 and str(consumer.process.pid) in second.stderr
    stolen = one.millrace("consume", "ip", "--group", "tally", "--no-follow", "--", "cat")
    assert stolen.returncode == 1 and "tally" in stolen.stderr
    assert consumer.end() == 0


def test_a_changed_configuration_does_not_disturb_readers(instance, running, tmp_path, rng):
    config = default_config(tmp_path)
    one = instance(config=config)
    tap = running(one, "tap", "ip")
    consumer = running(one, "consume", "ip", "--group", "g", "--", "cat")
    wait_tap(one, tap)
    wait_group(one, "ip", "g")
    config["ingest"]["udp"].append({"listen": ["127.0.0.1:0"], "format": "ipevent", "processes": 1, "receive_buffer": "4MiB"})
    one.write_config(config)
    os.kill(one.process.pid, signal.SIGHUP)
    wait_until(lambda: len(one.topic("ip")["lanes"]) == 2, 20, "two lanes")
    one.wait_running()
    addresses = wait_until(lambda: len(one.addresses()) >= 2 and one.addresses(), 10, "the new listener's line")
    sha = random_sha(rng)
    send_paced(addresses[-1][:2], [ipevent(sha, i) for i in range(20)], RATE)
    wait_until(lambda: len(tap.lines()) == 20 and len(consumer.lines()) == 20, 15, "20 events at each")
    assert consumer.end() == 0 and tap.end() == 0


# ---- report ----


def test_a_report_knows_the_running_instance_from_any_folder(instance, tmp_path, rng):
    one = instance()
    expected = Expected()
    send_paced(one.address(), mixture(rng, 2000, 4, 0, expected), RATE)
    one.settle("ip", 2000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for sha in expected.count:
        here = one.millrace("report", sha.upper(), cwd=elsewhere)
        assert json.loads(here.stdout) == expected.report(sha)
        told = one.millrace("report", sha, "--set", f"data_dir={tmp_path}/data", cwd=elsewhere)
        assert told.stdout == here.stdout
    assert one.millrace("report", "0" * 64).returncode == 3
    assert one.millrace("report", "0" * 63).returncode == 4
    assert one.millrace("report", "g" * 64).returncode == 4
    assert one.millrace("report", "0" * 64, "--set", f"data_dir={elsewhere}").returncode == 1
    assert list(elsewhere.iterdir()) == []


# ---- send ----


def test_send_accounts_for_what_it_sent(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sink.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sink.getsockname()[1]}"
        result = millrace(
            "send", "udp", address, "--count", 500, "--rate", 20000, "--corrupt", 30, "--gso", 16, "--sources", 4, "--json",
            "--expect", tmp_path / "expect.json",
        )
        assert result.returncode == 0, result.stderr
        sink.settimeout(5 * SLOW)
        got = [sink.recvfrom(2048) for _ in range(500)]
        sink.setblocking(False)
        with pytest.raises(BlockingIOError):
            sink.recv(1)
    account = json.loads(result.stdout)
    assert account["sent"] == 500 == account["valid"] + sum(account["corrupted"].values())
    assert account["bytes"] == sum(len(datagram) for datagram, _ in got)
    assert {address[0] for _, address in got} == {f"127.0.0.{i}" for i in range(1, 5)}
    expect = json.loads((tmp_path / "expect.json").read_text())
    assert expect["rejected"] == account["corrupted"] and expect["topics"] == {"ip": account["valid"]}
    assert sum(app["count"] for app in expect["apps"].values()) == account["valid"]


def test_a_capture_holds_the_same_datagrams_each_with_its_length(tmp_path):
    def capture(name, *arguments):
        path = tmp_path / name
        result = millrace("send", "udp", "--count", 300, "--output", path, *arguments)
        assert result.returncode == 0, result.stderr
        data, datagrams = path.read_bytes(), []
        while data:
            (length,) = struct.unpack_from("<I", data)
            assert len(data) >= 4 + length
            datagrams.append(data[4 : 4 + length])
            data = data[4 + length :]
        return datagrams

    first = capture("first")
    assert len(first) == 300 and sum(len(d) == 71 for d in first) > 270
    assert capture("second") == first
    assert capture("third", "--seed", 2) != first
    assert {len(d) for d in capture("raw", "--format", "raw", "--size", 1400)} == {1400}
    for datagram in capture("json", "--format", "json"):
        assert {"username", "type"} & json.loads(datagram).keys()


def test_send_keeps_its_rate_and_its_time():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sink.getsockname()[1]}"
        account = json.loads(millrace("send", "udp", address, "--rate", 1000, "--duration", "0.5", "--json").stdout)
    assert 0.45 < account["seconds"] < 0.6 * SLOW + 0.5
    assert 300 / SLOW < account["sent"] <= 520


def test_send_says_when_nobody_listens_or_the_address_is_none():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = millrace("send", "udp", f"127.0.0.1:{port}", "--count", 50)
    assert result.returncode == 1 and "nobody listens" in result.stderr
    for address in ("[::1:4002", "127.0.0.1:99999", "127.0.0.1:port"):
        result = millrace("send", "udp", address, "--count", 1)
        assert result.returncode == 1 and address in result.stderr, (address, result)


# ---- run, bench ----


def test_run_and_bench_become_the_programs_of_libexec(tmp_path):
    shown = tmp_path / "libexec"
    shown.mkdir()
    for program in ("supervisor", "bench-stream"):
        script = shown / program
        script.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\nexit 7\n')
        script.chmod(0o755)
    env = {"MILLRACE_LIBEXEC": str(shown)}
    result = millrace("run", "--set", "a=b c", "-c", "file", "--instance", "x", env=env)
    assert result.returncode == 7
    assert result.stdout.split("\n")[:-1] == ["supervisor", "-c", "file", "--set", "a=b c", "--instance", "x"]
    result = millrace("bench", "stream", "--json", "--records", "9", env=env)
    assert result.stdout.split() == ["bench-stream", "--json", "--records", "9"] and result.returncode == 7
    result = millrace("bench", "queue", env=env)
    assert result.returncode == 1 and f"{shown}/bench-queue" in result.stderr and "MILLRACE_LIBEXEC" in result.stderr


def test_the_command_finds_its_programs_from_where_it_lies(tmp_path):
    copy = tmp_path / "prefix" / "bin"
    copy.mkdir(parents=True)
    shutil.copy(MILLRACE, copy / "millrace")
    os.symlink(BUILD / "libexec", tmp_path / "prefix" / "libexec")
    result = subprocess.run([copy / "millrace", "run", "-c", "/nonexistent.yaml"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "/nonexistent.yaml" in result.stderr
