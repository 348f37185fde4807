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


def test_what_is_wrong_in_a_body_is_told_with_its_offset_line_or_index(instance, tmp_path, backend):
    wrong = [
        ("/event", b'{"username": x}', "not JSON at offset 13", "body"),
        ("/event", b'{"username": "a"', "text ends early at offset 16", "body"),
        ("/event", MARK + b'{"username": "\xff"}', "not UTF-8 at offset 17", "body"),
        ("/log", b"nonsense", "not JSON at offset 1", "body"),
        ("/log", b'{"text": "\\ud800 "}', "half a surrogate pair at offset 16", "body"),
        ("/t/x", b"a=b c", "is no form: a character is not percent-encoded at offset 3", "body"),
        ("/t/x", b'{"a": 1,}', "not JSON at offset 8", "body"),
        ("/batch", b'[{"type": "a"},]', "not JSON at offset 15", "body"),
        ("/ingest", b'{"endpoint": ]', "not JSON at offset 13", "body"),
    ]
    endpoint = {"method": "GET", "url": "http://h/"}
    wrong += [("/ingest", text_of({"endpoint": endpoint, "data": data}), error, where) for data, error, where in [
        ([1], "must be an object", "data[0]"),
        ([{}, {"a": 1}, []], "must be an object", "data[2]"),
        ([{}, {"a": {}}], "values must be strings, numbers, true, false or null", "data[1]"),
    ]]
    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        for path, body, error, where in wrong:
            reply = client.ask("POST", path, body)
            assert (reply.status, reply.json()) == (400, {"error": error, "where": where}), (path, body)
        reply = client.ask("POST", "/batch", b'{"type": "a"}\n\n{"type": x}\n{"type": 1}\n')
        assert reply.json() == {"accepted": 1, "rejected": 2, "errors": [
            {"line": 3, "error": "not JSON at offset 9", "where": "body"},
            {"line": 4, "error": "must be a string", "where": "type"}]}


def test_a_postback_that_can_never_be_delivered_is_refused(instance, tmp_path, backend):
    wrong = {
        "has a port that is not 1 to 65535": ["http://h:0/", "http://h:70000/", "http://h:x/", "https://[::1]:65536"],
        "has a host that is neither a name nor an address": ["http://[::1/", "http://256.1.1.1/", "http://a..b/", "http://[{a}]/"],
        "must have a host": ["http:///x", "http://:80/", "http://u@/"],
        "must begin with http:// or https://": ["ftp://h/", "h"],
        "has a { without its } or a } without its { in front of the path": ["http://h:{a/"],
    }
    right = ["http://{host}:{port}/{path}?x={a}", "http://[::1]:8080/", "https://h/"]
    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        for error, url in [(error, url) for error, urls in wrong.items() for url in urls]:
            reply = client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"a": 1}]})
            assert (reply.status, reply.json()) == (400, {"error": error, "where": "endpoint.url"}), url
        for url in right:
            assert client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"a": 1}]}).status == 202, url
    assert [postback["url"] for postback in events(millrace, "postback")] == right
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()
