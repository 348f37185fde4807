"""What a request or a datagram may hold: forms of JSON, and what is said of those that are wrong."""
import json

from http_help import EXAMPLE, LOG_EXAMPLE, OK_BODY, Client, events, http_address, http_config

MARK = b"\xef\xbb\xbf"
POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue
POSTBACK = {"endpoint": {"method": "GET", "url": "http://host/{a}"}, "data": [{"a": 1}]}


def text_of(value):
    return json.dumps(value).encode()


def test_a_byte_order_mark_in_front_of_json_changes_nothing(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        assert client.ask("POST", "/event", MARK + text_of(EXAMPLE)).body == OK_BODY
        assert client.ask("POST", "/log", MARK + text_of(LOG_EXAMPLE)).status == 200
        assert client.ask("POST", "/t/object", MARK + b'{"a": 1}', "Content-Type: application/json").body == OK_BODY
        assert client.ask("POST", "/t/sniffed", MARK + b'{"a": 1}', "Content-Type: text/plain").body == OK_BODY
        assert client.ask("POST", "/ingest", MARK + text_of(POSTBACK)).json() == {"accepted": 1}
        taken = {"accepted": 2, "rejected": 0, "errors": []}
        # Lines, two files joined, an array.
        assert client.ask("POST", "/batch", MARK + b'{"type": "a"}\n{"type": "b"}\n').json() == taken
        assert client.ask("POST", "/batch", MARK + b'{"type": "c"}\n' + MARK + b'{"type": "d"}\n').json() == taken
        assert client.ask("POST", "/batch", MARK + b'[{"type": "e"}, {"type": "f"}]').json() == taken
        for body in (MARK, MARK + b"\n" + MARK + b"\n"):
            assert client.ask("POST", "/batch", body).status == 400, "holds no event"
        assert client.ask("POST", "/event", MARK + MARK + text_of(EXAMPLE)).status == 400, "one, not two"
    (event,), (log,) = events(millrace, "metric"), events(millrace, "log")
    assert {key: event[key] for key in EXAMPLE} == EXAMPLE and {key: log[key] for key in LOG_EXAMPLE} == LOG_EXAMPLE
    calls = [(call["type"], call["query"]) for call in events(millrace, "track.raw")]
    assert calls == [("object", "a=1"), ("sniffed", "a=1"), *((name, "") for name in "abcdef")]
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()
