"""Commands that documents show are run: each block of ```sh of these pages, in order, against an instance of the page's own.

The ports of the default configuration are replaced by those of the instance. A block is a program for sh -e; its end status must be 0.
Other blocks may show no command of ours, so that none escapes this.
"""
import json
import os
import re
import subprocess

import pytest

from harness import MILLRACE, ROOT, wait_until
from http_help import http_addresses

PAGES = ["docs/MIGRATION.md", "docs/CLIENTS.md", "docs/OPERATIONS.md", "docs/SCALING.md", "docs/SECURITY.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$? ?(millrace|curl|build/bin/millrace)\b", re.MULTILINE)


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text())


def config(tmp_path):
    return {
        "data_dir": str(tmp_path / "data"),
        "ingest": {"udp": [{"listen": ["127.0.0.1:0"], "format": "ipevent", "receive_buffer": "16MiB"}], "http": [{"listen": ["127.0.0.1:0"]}]},
        "tally": {"commit_interval": "100ms"},
        "topics": {name: {"size": "8MiB"} for name in ("ip", "metric", "log", "track.raw", "track", "delivery")},
        "sinks": [{"name": "logs", "kind": "objects", "topics": ["log"], "key": "chat/{date}/content_logs_{date}_{client_id}", "tails": "16MiB"}],
        "serve": {"listen": ["127.0.0.1:0"]},
    }


def api_port(one):
    """Of the API, from the note of stage serve."""
    note = wait_until(lambda: one.stage("serve.0").get("note") or None, 10, "the note of serve")
    return re.search(r":(\d+)", note if isinstance(note, str) else json.dumps(note))[1]


@pytest.mark.limit(120)
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_work(page, instance, tmp_path):
    one = instance(config=config(tmp_path))
    udp, http, api = one.address()[1], http_addresses(one)[0][1], api_port(one)
    environment = dict(one.environment(), PATH=f"{MILLRACE.resolve().parent}:{os.environ['PATH']}")
    for kind, text in blocks(page):
        if kind != "sh":
            assert not COMMAND.search(text), f"{page}: a command outside of a block of sh:\n{text}"
            continue
        text = text.replace("localhost:8080", f"127.0.0.1:{http}").replace("localhost:4003", f"127.0.0.1:{api}")
        text = re.sub(r"millrace send udp\b", f"millrace send udp 127.0.0.1:{udp}", text)
        text = re.sub(r"millrace send http\b", f"millrace send http 127.0.0.1:{http}", text)
        done = subprocess.run(["sh", "-ec", text], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_pages_show_commands():
    """A page whose blocks are no longer found would pass."""
    for page in PAGES:
        assert any(kind == "sh" for kind, _ in blocks(page)), page


def test_each_alarm_has_a_row():
    """And each row an alarm."""
    rules = set(re.findall(r"alert: (\w+)", (ROOT / "conf" / "prometheus-rules.yml").read_text()))
    rows = set(re.findall(r"`(Millrace\w+)`", (ROOT / "docs" / "OPERATIONS.md").read_text()))
    assert rules == rows


def test_each_stage_has_a_row_in_the_security_model():
    stages = re.findall(r'^SANDBOX\("([a-z-]+)"', (ROOT / "stage" / "sandbox.def").read_text(), re.MULTILINE)
    rows = re.findall(r"^\| ([a-z-]+) \| ", (ROOT / "docs" / "SECURITY.md").read_text(), re.MULTILINE)
    assert sorted(stages) == sorted(set(rows) & set(stages)) and len(stages) > 8
