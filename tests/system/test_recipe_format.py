"""Adding a UDP format is one row and one parser."""
import json

import pytest

from harness import default_config
from load import send_paced
from recipe_help import Tree


@pytest.mark.limit(300)
def test_a_udp_format_is_one_row_and_one_parser(instance, tmp_path, monkeypatch):
    tree = Tree(tmp_path / "tree")
    assert tree.add("format") == ["ingest/udp/format_statsd.c", "ingest/udp/formats.def.row"]
    tree.make()
    tree.use(monkeypatch)
    config = default_config(tmp_path)
    config["ingest"]["udp"] = [{"listen": "127.0.0.1:0", "format": "statsd", "receive_buffer": "4MiB"}]
    config["topics"] = {"metric": {"size": "1MiB"}}
    millrace = instance(config=config)
    assert millrace.addresses()[0][2] == "statsd"
    send_paced(millrace.address(), [b"kodingbot.kite_call:12|c", b"kite_call", b"a.b:0|c"], 1000)
    ledger = millrace.ledger("metric", millrace.settle("metric", 3))
    assert ledger["written"] == 2 and ledger["rejected"]["malformed"] == 1
    result = millrace.millrace("tap", "metric", "--format", "json", "--last", 2, "--count", 2)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(e["username"], e["metric"], e["count"]) for e in events] == [("kodingbot", "kite_call", 12), ("a", "b", 0)]
    assert all(e["ip"] == "127.0.0.1" for e in events)
