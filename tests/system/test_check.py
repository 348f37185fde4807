"""millrace check."""
import json
import re
import shutil
import subprocess

from cli_help import millrace
from harness import SLOW


def test_check_prints_the_exact_bytes_of_every_segment(instance, tmp_path):
    one = instance()
    planned = json.loads(one.millrace("check", "-c", one.config_file, "--json").stdout)
    for segment in planned["segments"]:
        assert (one.directory / segment["name"]).stat().st_size == segment["bytes"], segment
    assert planned["segments_bytes"] == sum(s["bytes"] for s in planned["segments"])
    # Nothing but small files that are no segments is there besides.
    others = {p.name for p in one.directory.iterdir()} - {s["name"] for s in planned["segments"]}
    assert all(re.search(r"^lock$|^request$|^config\.yaml|\.(role|claim)$|\.reader\.\d+$", name) for name in others), others
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
    "--set", "sinks=[]", "--set", "enrich.processes=2", "--set", "topics.orders.outside_lanes=2", "--instance", "drawn",
]


def test_check_draws_the_flow_of_a_configuration():
    result = millrace("check", "--flow", *FLOW)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "udp :5000 json --> ingest-udp x 3 --> metric, 4 lanes --group tally--> tally x 1",
        "                                  --> track.raw, 4 lanes --group enrich--> enrich x 2 --> track, 2 lanes --group tally--> tally x 1 (see above)",
        "udp :5001, :5002 ipevent --> ingest-udp x 1 --> ip, 1 lane --group tally--> tally x 1 (see above)",
        'http unix:/tmp/a"b --> ingest-http x 1 --> metric (see above)',
        "                                       --> track.raw (see above)",
        "                                       --> log, 1 lane (nobody keeps it)",
        "                                       ==> postback, queue of 16384 slots ==> deliver x 1 --> delivery, 1 lane --group tally--> tally x 1 (see above)",
        "outside programs --> orders, 2 lanes (nobody keeps it)",
        "serve x 1",
    ]


def test_the_flow_as_a_graph_has_an_end_at_every_edge():
    result = millrace("check", "--flow", "--format", "dot", *FLOW)
    assert result.returncode == 0 and result.stderr == ""
    quoted = r'"((?:[^"\\]|\\.)*)"'
    first, *lines, last = result.stdout.splitlines()
    assert first == 'digraph "drawn" {' and last == "}" and lines.pop(0).strip() == "rankdir=LR;"
    vertices, edges = {}, []
    for line in lines:
        vertex = re.fullmatch(rf'\t{quoted} \[shape=\w+, margin="[0-9.,]+", label={quoted}\];', line)
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
