"""What hostile clients send reaches no terminal as an order: control characters and bidirectional overrides are escaped wherever text comes out."""
import json

import pytest

from harness import wait_until
from http_help import ask, http_address, http_config

POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue
HOSTILE = "a\x7fb\u0080c\u009b31md\u202eevil\u2066e\u2028f\u061cg\u200f"
FRIENDLY = "Zürich €😀"
JSON = "Content-Type: application/json"


def obeyed(text):
    """The characters of the output that a terminal would obey, the end of a line apart."""
    return [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 or ord(c) in (0x61C, 0x200E, 0x200F)
            or 0x2028 <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069]


def body(value):
    return json.dumps(value, ensure_ascii=False).encode()


@pytest.fixture
def hostile(instance, tmp_path):
    millrace = instance(config=http_config(tmp_path))
    address = http_address(millrace)
    text = HOSTILE + FRIENDLY
    assert ask(address, "POST", "/event", body({"username": text, "count": 1, "metric": "m"}), JSON).status == 200
    assert ask(address, "POST", "/log", body({"text": text, "content_id": 1, "client_id": 1, "timestamp": 1})).status == 200
    assert ask(address, "POST", "/batch", body({"type": text, "params": {text: text}}) + b"\n", "Content-Type: application/x-ndjson").status == 200
    assert ask(address, "POST", "/ingest", body({"endpoint": {"method": "GET", "url": "http://h/?a={k}"}, "data": [{"k": text}]})).status < 300
    wait_until(lambda: any(t["topic"] == "track" and sum(lane["written_records"] for lane in t["lanes"]) == 1
                           for t in millrace.stat()["topics"]), 10, "the tracking event")
    yield millrace
    assert millrace.stop() == POSTBACKS_WAIT


def output(millrace, *arguments):
    result = millrace.millrace(*arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    return result.stdout


@pytest.mark.parametrize("topic, value", [
    ("metric", lambda e: e["username"]), ("log", lambda e: e["object"]["text"] if "object" in e else e["text"]),
    ("track.raw", lambda e: e["type"]), ("track", lambda e: e["type"]), ("postback", lambda e: e["data"]["k"]),
])
def test_a_tap_escapes_what_a_terminal_would_obey_and_json_keeps_the_value(hostile, topic, value):
    data = output(hostile, "tap", topic, "--last", 1, "--no-follow")
    assert not obeyed(data)
    assert value(json.loads(data)) == HOSTILE + FRIENDLY
    assert FRIENDLY in data


def test_lines_programs_and_parameters_get_no_order_either(hostile):
    assert not obeyed(output(hostile, "tap", "track", "--last", 1, "--no-follow", "--format", "line"))
    data = output(hostile, "consume", "metric", "--group", "g", "--from", "oldest", "--no-follow", "--", "cat")
    assert not obeyed(data)
    assert json.loads(data)["username"] == HOSTILE + FRIENDLY
    assert json.loads(output(hostile, "tap", "track", "--last", 1, "--no-follow"))["params"] == {HOSTILE + FRIENDLY: HOSTILE + FRIENDLY}


def test_names_of_groups_are_plain_and_messages_show_what_was_given_escaped(hostile):
    for name in ("\x1b[31m", "\u009b", "\u202egroup", "two words", "../x"):
        result = hostile.millrace("consume", "metric", "--group", name, "--no-follow", "--", "cat")
        assert result.returncode != 0
        assert "a name has 1 to 31 of the characters" in result.stderr
        assert not obeyed(result.stderr)
    result = hostile.millrace("tap", "\u009b31m")
    assert result.returncode == 1 and "\\x9b31m" in result.stderr and not obeyed(result.stderr)
    assert not obeyed(output(hostile, "stat")) and not obeyed(output(hostile, "stat", "--json"))
