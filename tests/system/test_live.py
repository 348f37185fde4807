"""/live: figures once a second and events as they come in, to many clients, some of which are hostile or do not read."""
import json
import time

import pytest

from harness import default_config, wait_until
from http_help import ask
from live_help import Live, Stream
from serve_help import problem, serve_address, serve_config


@pytest.mark.limit(120)
def test_figures_come_once_a_second_over_a_websocket_and_as_a_stream(instance, tmp_path):
    one = instance(config=serve_config(tmp_path))
    address = serve_address(one)
    with Live(address) as live, Stream(address) as stream:
        assert live.hello == {"type": "hello", "interval_ms": 1000, "topic": None, "filter": {}}
        first, second = live.until("tick"), live.until("tick")
        assert 900 <= second["now_ms"] - first["now_ms"] <= 5000
        whole = ask(address, "GET", "/api/stat").json()
        stat = second["stat"]
        assert stat["instance"] == whole["instance"] and stat["generation"] == whole["generation"]
        assert [s["name"] for s in stat["stages"]] == [s["name"] for s in whole["stages"]]
        assert [t["topic"] for t in stat["topics"]] == [t["topic"] for t in whole["topics"]]
        assert len(json.dumps(stat)) < len(json.dumps(whole)) / 2
        print(len(json.dumps(stat, separators=(",", ":"))), len(json.dumps(whole, separators=(",", ":"))))
        assert "HTTP/1.1 200" in stream.head and "content-type: text/event-stream" in stream.head
        assert stream.event() == ("hello", live.hello)
        name, tick = stream.event()
        assert name == "tick" and tick["stat"]["instance"] == whole["instance"]
    wait_until(lambda: one.stage("serve.0")["metrics"]["live_clients"] == 0, 20, "both to be gone")
