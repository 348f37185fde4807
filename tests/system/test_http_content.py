"""What a request or a datagram may hold: forms of JSON, and what is said of those that are wrong."""
import json
import zlib

from harness import wait_until
from http_help import EXAMPLE, LOG_EXAMPLE, OK_BODY, Client, events, http_address, http_config, request_bytes

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
        ([{"a": [{"b": []}]}, [{}]], "must be an object", "data[1]"),
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
        "has a host that is neither a name nor an address": ["http://[::1/", "http://256.1.1.1/", "http://a..b/", "http://[a]/"],
        "must have a host": ["http:///x", "http://:80/", "http://u@/"],
        "must begin with http:// or https://": ["ftp://h/", "h"],
        "has a { or } in front of the path": ["http://{host}/", "http://h:{port}/", "http://{user}@h/", "http://h:{a/"],
    }
    right = ["http://h:80/{path}?x={a}", "http://[::1]:8080/", "https://h/"]
    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        for error, url in [(error, url) for error, urls in wrong.items() for url in urls]:
            reply = client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"a": 1}]})
            assert (reply.status, reply.json()) == (400, {"error": error, "where": "endpoint.url"}), url
        for url in right:
            assert client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"a": 1}]}).status == 202, url
    assert [postback["url"] for postback in events(millrace, "postback")] == right
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()


LANE = 1 << 20  # of track.raw in http_config()
AGENT = 15000
KEPT = 1024  # enrich.agent_longest


def lines(n):
    return b'{"type": "a"}\n' * n


def record_bytes(agent, host=len("millrace.test")):
    return (8 + 48 + 1 + agent + host + 7) // 8 * 8


def test_a_batch_of_more_than_half_a_lane_is_taken_whole_and_one_of_more_than_a_lane_is_too_large(instance, tmp_path, backend):
    fits = LANE // record_bytes(KEPT)
    agent = "User-Agent: " + "x" * AGENT
    millrace = instance(config=http_config(tmp_path, backend, max_head="64KiB"))
    taken = 0
    with Client(http_address(millrace)) as client:
        for n in (fits // 2 - 1, fits // 2 + 2, fits - 1, fits):
            # What was taken before is read by enrich, but perhaps not yet.
            def whole():
                reply = client.ask("POST", "/batch", lines(n), agent)
                assert reply.status in (200, 503), reply
                return reply.status == 200 and reply.json() == {"accepted": n, "rejected": 0, "errors": []}
            wait_until(whole, 20, f"a batch of {n} lines")
            taken += n
        for n in (fits + 1, 2300, 70000):
            reply = client.ask("POST", "/batch", lines(n), agent)
            assert reply.status == 413 and "topics.track.raw.size" in reply.json()["error"], (n, reply)
        packed = zlib.compress(lines(70000), 9)
        assert client.ask("POST", "/batch", packed, agent, "Content-Encoding: deflate").status == 413
    ledger = millrace.ledger("track.raw")
    assert ledger["balanced"] and ledger["written"] == taken
    assert sum(ledger["rejected"].values()) == ledger["rejected"]["too_large"] == fits + 1 + 2300 + 2 * 70000


def test_requests_that_come_at_once_are_not_refused_for_what_the_turn_has_kept(instance, tmp_path, backend):
    """Together they need more than half a lane, with nothing after them."""
    millrace = instance(config=http_config(tmp_path, backend, max_head="64KiB", max_body="1MiB"))
    log = {**LOG_EXAMPLE, "text": "x" * 300000}
    with Client(http_address(millrace)) as client:
        client.send(request_bytes("POST", "/log", log) * 3)
        assert [client.reply().status for _ in range(3)] == [200] * 3
    assert [len(event["text"]) for event in events(millrace, "log")] == [300000] * 3


def test_what_a_head_repeats_is_cut_where_the_record_is_made(instance, tmp_path, backend):
    agent, host = "\u00e9" * 40000, "h" * 70000
    millrace = instance(config=http_config(tmp_path, backend, max_head="256KiB"))
    with Client(http_address(millrace)) as client:
        for method, target, body in (("GET", "/t/call", None), ("POST", "/batch", b'{"type": "line"}')):
            head = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"User-Agent: x{agent}", f"Content-Length: {len(body or b'')}"]
            client.send("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b""))
            assert client.reply().status == 200
    found = [(call["type"], call["user_agent"], call["host"]) for call in events(millrace, "track.raw")]
    # The agent is 1 + 2 * 40000 bytes; 1,023 are whole characters.
    assert found == [(name, "x" + "\u00e9" * 511, "h" * 261) for name in ("call", "line")]
    wait_until(lambda: len(events(millrace, "track")) == 2, 20, "enrich")


def test_as_many_postbacks_as_the_queue_has_slots_are_taken_and_more_are_too_many(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, queue={"slots": 16, "slot_size": 1024}))
    with Client(http_address(millrace)) as client:
        def ask(n):
            return client.ask("POST", "/ingest", {**POSTBACK, "data": [{"a": 1}] * n})
        assert ask(17).status == 413
        assert ask(16).json() == {"accepted": 16}
        reply = ask(1)
        assert reply.status == 503 and "retry-after" in reply.headers
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()
