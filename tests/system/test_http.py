"""ingest-http in a running instance: every route over every kind of socket, and what comes out of it."""
import json
import re
import signal
import struct
import time
import zlib

import pytest

from harness import denied, wait_until
from http_help import (
    EXAMPLE, JSON_TYPE, LOG_EXAMPLE, OK_BODY, Client, Knocker, ask, check_ledger, chunks, events, http_address,
    http_addresses, http_config, metric, request_bytes, uring_allowed, wait_metric,
)

GIF_BYTES = 43
POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue
POSTBACK = {
    "endpoint": {"method": "GET", "url": "http://host/data?title={mascot}&foo={bar}"},
    "data": [{"mascot": "Gopher", "n": 1}, {"mascot": "Tux", "n": 2}],
}
BATCH = b'{"type": "a", "ts": 5, "params": {"x": "y z"}}\n{"type": 3}\n{"type": "b"}\n'
PREFLIGHT = ("Origin: http://shop.test", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
ERROR = object()  # a body {"error": ..., "where": ...}
ANY = object()

# method, target, body, fields; status, body, fields of the answer
ANSWERS = [
    ("POST", "/event", EXAMPLE, (), 200, OK_BODY, {"content-type": "application/json"}),
    ("POST", "/event", b'{"username": "a", "metric": "m"}', (), 400, ERROR, {"content-type": "application/json"}),
    ("POST", "/event", b"a=b", ("Content-Type: text/plain",), 400, ERROR, {}),
    ("GET", "/event", None, (), 405, ERROR, {"allow": "POST"}),
    ("POST", "/log", LOG_EXAMPLE, (), 200, b"OK", {"content-type": "text/plain; charset=utf-8"}),
    ("POST", "/log", b"{}", (), 400, ERROR, {}),
    ("GET", "/log", None, (), 200, b"OK", {}),
    ("DELETE", "/log", None, (), 405, ERROR, {"allow": "GET, HEAD, POST"}),
    ("OPTIONS", "/log", None, (), 405, ERROR, {"allow": "GET, HEAD, POST"}),
    ("GET", "/t/app_open?deviceid=abc&n=%20", None, (), 200, OK_BODY, {"cache-control": "no-store"}),
    ("GET", "/any/where/buy?item=7", None, ("DNT: 1",), 200, OK_BODY, {}),
    ("GET", "/", None, (), 200, OK_BODY, {}),
    ("GET", "/t/pixel.gif?x=1", None, (), 200, ANY, {"content-type": "image/gif", "content-length": str(GIF_BYTES)}),
    ("POST", "/t/form", b"a=1&b=2", ("Content-Type: application/x-www-form-urlencoded",), 200, OK_BODY, {}),
    ("POST", "/t/object?q=1", {"c": "d e"}, (), 200, OK_BODY, {}),
    ("POST", "/elsewhere", b"a=1", (), 404, ERROR, {}),
    ("GET", "/metrics/hourly_logs/total", None, (), 404, ERROR, {}),
    ("GET", "/readyz/", None, (), 404, ERROR, {}),
    ("POST", "/batch", BATCH, ("Content-Type: application/x-ndjson",), 200, ANY, {}),
    ("POST", "/batch", [{"type": "c"}], (), 200, b'{"accepted": 1, "rejected": 0, "errors": []}', {}),
    ("POST", "/batch", b"nonsense", (), 400, ANY, {}),
    ("OPTIONS", "/batch", None, PREFLIGHT, 204, b"", {
        "access-control-allow-origin": "http://shop.test", "access-control-allow-headers": "content-type",
        "access-control-allow-methods": "POST, OPTIONS"}),
    ("POST", "/ingest", POSTBACK, (), 202, b'{"accepted": 2}', {}),
    ("POST", "/ingest.php", POSTBACK, (), 202, b'{"accepted": 2}', {}),
    ("POST", "/ingest", b'{"endpoint": {}}', (), 400, ERROR, {}),
    ("GET", "/healthz", None, (), 200, OK_BODY, {}),
    ("GET", "/readyz", None, (), 200, b'{"status":"ready"}', {}),
    ("GET", "/debug/vars", None, (), 200, ANY, {"content-type": "application/json"}),
    ("HEAD", "/t/app_open", None, (), 200, b"", {"content-length": str(len(OK_BODY))}),
    ("HEAD", "/healthz", None, (), 200, b"", {}),
    ("OPTIONS", "*", None, (), 204, b"", {}),
]
# What these leave in each topic: received, rejected, written.
LEDGER = {"metric": (2, 1, 1), "log": (2, 1, 1), "track.raw": (11, 2, 9)}
FAILURES = {"event_failed_bad": 2, "event_failed_method": 1, "log_failed_bad": 1, "log_failed_method": 2,
            "other_failed_route": 3, "batch_failed_bad": 1, "ingest_failed_bad": 1}
REQUESTS = {"event": 4, "log": 5, "track": 7, "batch": 4, "ingest": 3, "health": 4, "other": 4}


def everywhere(tmp_path):
    return ["127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/http.sock"]


def end_with_postbacks(millrace):
    """Nothing takes postbacks: they are kept for the next start."""
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()


def check_answers(address):
    with Client(address) as client:
        for method, target, body, fields, status, expected, headers in ANSWERS:
            reply = client.ask(method, target, body, *fields)
            what = f"{method} {target}: {reply}"
            assert reply.status == status, what
            assert {name: reply.headers.get(name) for name in headers} == headers, what
            if expected is ERROR:
                assert set(reply.json()) == {"error", "where"} and reply.json()["error"], what
            elif expected is not ANY:
                assert reply.body == expected, what


def test_every_route_answers_over_every_kind_of_socket_and_is_counted(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, listen=everywhere(tmp_path)))
    addresses = http_addresses(millrace)
    assert len(addresses) == 3
    for address in addresses:
        check_answers(address)
    counted = {f"{route}_requests": 3 * n for route, n in REQUESTS.items()}
    counted.update({name: 3 * n for name, n in FAILURES.items()}, postbacks=12, connections_accepted=3, uring_in_use=int(backend == "uring"))

    def told():
        metrics = millrace.stage("ingest-http.0")["metrics"]
        return {name: n for name, n in metrics.items() if name in counted or ("_failed_" in name and n)}

    wait_until(lambda: told() == counted, 20, f"{counted}")
    for topic, (received, rejected, written) in LEDGER.items():
        check_ledger(millrace, topic, received=3 * received, rejected=3 * rejected, refused=0, written=3 * written)
    assert millrace.stat()["queues"][0]["ready"] == 12
    end_with_postbacks(millrace)


def test_what_batches_and_debug_vars_answer(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, batch_errors=2))
    with Client(http_address(millrace)) as client:
        reply = client.ask("POST", "/batch", BATCH)
        assert reply.json() == {"accepted": 2, "rejected": 1, "errors": [{"line": 2, "error": "must be a string", "where": "type"}]}
        reply = client.ask("POST", "/batch", [{"type": 1}, {"type": "x"}, 5, 6])
        assert (reply.status, reply.json()["accepted"], reply.json()["rejected"]) == (200, 1, 3)
        assert [error["line"] for error in reply.json()["errors"]] == [1, 3]
        assert client.ask("GET", "/nothing", None, "Bad Field: x").status == 400 and client.ends()
    told = ask(http_address(millrace), "GET", "/debug/vars").json()
    assert told["requests"] == {"total": 3, "failed": 1, "successful": 2}
    times = told["response_time"]
    assert 0 < times["minimum"] <= times["average"] <= times["maximum"] < 60


def test_events_come_out_with_the_documented_keys(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, listen=everywhere(tmp_path)))
    began_ms = time.time_ns() // 10**6
    for address in http_addresses(millrace):
        check_answers(address)
    forwarded = ("X-Forwarded-For: 192.0.2.7, 10.0.0.1", "User-Agent: Mozilla/5.0")
    ask(http_address(millrace), "POST", "/t/last", b"z=9", "Content-Type: application/x-www-form-urlencoded", *forwarded)
    ended_ms = time.time_ns() // 10**6
    ips = ["127.0.0.1", "::1", None]
    metrics, logs, tracks, posted = (events(millrace, topic) for topic in ("metric", "log", "track.raw", "postback"))
    for found in (metrics, logs, tracks, posted):
        assert len({event["id"] for event in found}) == len(found)
        assert all(began_ms <= event["ts"] <= ended_ms for event in found)
        assert [event["ts"] for event in found] == sorted(event["ts"] for event in found)
    assert all(list(event) == ["id", "ts", "ip", "username", "count", "metric"] for event in metrics)
    assert [event["ip"] for event in metrics] == ips
    assert all({**event, **EXAMPLE} == event for event in metrics)
    assert all(list(event) == ["id", "ts", "ip", "client_id", "content_id", "timestamp", "text"] for event in logs)
    assert [event["ip"] for event in logs] == ips and all({**event, **LOG_EXAMPLE} == event for event in logs)
    of_one = [("app_open", "deviceid=abc&n=%20"), ("buy", "item=7"), ("/", ""), ("pixel.gif", "x=1"), ("form", "a=1&b=2"),
              ("object", "q=1&c=d%20e"), ("a", "x=y%20z"), ("b", ""), ("c", "")]
    assert [(event["type"], event["query"]) for event in tracks] == 3 * of_one + [("last", "z=9")]
    assert [event["ip"] for event in tracks[:-1]] == [ip for ip in ips for _ in of_one]
    plain = ["id", "ts", "ip", "type", "query", "user_agent", "host"]
    assert {tuple(event) for event in tracks} == {tuple(plain), (*plain, "dnt"), (*plain, "client_ts")}
    assert {event["type"] for event in tracks if "dnt" in event} == {"buy"}
    assert tracks[-1] == {**tracks[-1], "ip": "192.0.2.7", "user_agent": "Mozilla/5.0", "host": "millrace.test"}
    assert all(list(event) == ["id", "ts", "ip", "method", "url", "data"] for event in posted)
    assert [(event["ip"], event["data"]) for event in posted] == [
        (ip, element) for ip in ips for _ in range(2) for element in POSTBACK["data"]]
    assert all(event["url"] == POSTBACK["endpoint"]["url"] and re.fullmatch("[0-9a-f]{32}", event["id"]) for event in posted)
    end_with_postbacks(millrace)


def test_bodies_come_compressed_chunked_expected_and_pipelined(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        for n, pack in enumerate((lambda data: zlib.compress(data, wbits=31), zlib.compress)):
            body = pack(json.dumps({**EXAMPLE, "count": n}).encode())
            assert client.ask("POST", "/event", body, JSON_TYPE, f"Content-Encoding: {('gzip', 'deflate')[n]}").status == 200
        body = json.dumps({**EXAMPLE, "count": 2}).encode()
        client.send(request_bytes("POST", "/event", chunks(body[:5], body[5:]), JSON_TYPE, "Transfer-Encoding: chunked"))
        assert client.reply().status == 200
        body = json.dumps({**EXAMPLE, "count": 3}).encode()
        head = request_bytes("POST", "/event", None, JSON_TYPE, f"Content-Length: {len(body)}", "Expect: 100-continue")
        client.send(head)
        assert client.reply().status == 100
        client.send(body)
        assert client.reply().status == 200
        client.send(b"".join(request_bytes("POST", "/event", {**EXAMPLE, "count": n}) for n in range(4, 500)))
        assert [client.reply().status for _ in range(4, 500)] == 496 * [200]
        data = request_bytes("POST", "/event", {**EXAMPLE, "count": 500})
        for at in range(0, len(data), 3):
            client.send(data[at : at + 3])
        assert client.reply().status == 200
        assert client.ask("GET", "/healthz", None, "Connection: close").headers["connection"] == "close"
        assert client.ends()
    assert [event["count"] for event in events(millrace, "metric")] == list(range(501))


def test_tokens_open_their_routes_and_no_others(instance, tmp_path, backend):
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may write\n0123456789abcdef-events event log\nfedcba9876543210-batches batch\n")
    tokens.chmod(0o600)
    millrace = instance(config=http_config(tmp_path, backend, tokens=str(tokens)))
    with Client(http_address(millrace)) as client:
        reply = client.ask("POST", "/event", EXAMPLE)
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer" and set(reply.json()) == {"error", "where"}
        for wrong in ("fedcba9876543210-batches", "0123456789abcdef-event", ""):
            reply = client.ask("POST", "/event", EXAMPLE, f"Authorization: Bearer {wrong}")
            assert reply.status == 401 and reply.headers["www-authenticate"].startswith("Bearer"), wrong
        assert client.ask("POST", "/event", EXAMPLE, "Authorization: bearer 0123456789abcdef-events").status == 200
        assert client.ask("POST", "/batch", [{"type": "x"}], "Authorization: Bearer fedcba9876543210-batches").status == 200
        assert client.ask("GET", "/t/open").status == 200
        assert client.ask("GET", "/readyz").status == 200
        wait_metric(millrace, "event_failed_token", 4)
    check_ledger(millrace, "metric", received=1, written=1)
    assert "0123456789abcdef" not in millrace.log()


def test_a_tokens_file_that_is_wrong_is_named_by_its_line(instance, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef-events evnt\n")
    tokens.chmod(0o600)
    millrace = instance(config=http_config(tmp_path, tokens=str(tokens)), start=False).start(wait=False)
    assert millrace.wait_end() == 1
    assert f"ingest.http[0].tokens: {tokens}:1:" in millrace.log()
    assert "0123456789abcdef" not in millrace.log()


def proxied(millrace, header):
    with Client(http_address(millrace)) as client:
        client.send(header + request_bytes("POST", "/event", EXAMPLE))
        return client.reply().status


def test_the_proxy_protocol_names_the_client(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, proxy_protocol="on"))
    v2 = b"\r\n\r\n\0\r\nQUIT\n"
    v4 = bytes([198, 51, 100, 2, 127, 0, 0, 1]) + struct.pack(">HH", 4000, 80)
    v6 = bytes.fromhex("20010db8" + 11 * "00" + "07" + 15 * "00" + "01") + struct.pack(">HH", 4000, 80)
    assert proxied(millrace, b"PROXY TCP4 192.0.2.9 127.0.0.1 4000 80\r\n") == 200
    assert proxied(millrace, b"PROXY TCP6 2001:db8::9 ::1 4000 80\r\n") == 200
    assert proxied(millrace, v2 + struct.pack(">BBH", 0x21, 0x11, len(v4)) + v4) == 200
    assert proxied(millrace, v2 + struct.pack(">BBH", 0x21, 0x21, len(v6)) + v6) == 200
    assert proxied(millrace, v2 + struct.pack(">BBH", 0x20, 0, 0)) == 200
    assert [event["ip"] for event in events(millrace, "metric")] == [
        "192.0.2.9", "2001:db8::9", "198.51.100.2", "2001:db8::7", "127.0.0.1"]
    for wrong in (b"", b"PROXY TCP4 here there 1 2\r\n"):
        with Client(http_address(millrace)) as client:
            client.send(wrong + request_bytes("POST", "/event", EXAMPLE))
            assert client.ends()
    wait_metric(millrace, "proxy_headers_bad", 2)
    check_ledger(millrace, "metric", received=5, written=5)


def test_forwarding_headers_are_believed_from_trusted_proxies_only(instance, tmp_path, backend):
    config = http_config(tmp_path, backend, listen="127.0.0.1:0", trusted_proxies=["127.0.0.1/32"])
    config["ingest"]["http"].append({**config["ingest"]["http"][0], "trusted_proxies": []})
    millrace = instance(config=config)
    for address in http_addresses(millrace):
        for field in ("X-Push-IP: 192.0.2.1", "X-Forwarded-For: 2001:db8::2", "X-Real-IP: 192.0.2.3", "X-Real-IP: nobody"):
            assert ask(address, "GET", "/t/x", None, field).status == 200
    by_lane = {}
    for event in events(millrace, "track.raw"):
        by_lane.setdefault(event["id"].split("-")[2], []).append(event["ip"])
    assert sorted(by_lane.values(), key=str) == [4 * ["127.0.0.1"], ["192.0.2.1", "2001:db8::2", "192.0.2.3", "127.0.0.1"]]


def test_several_processes_share_the_addresses(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, listen=everywhere(tmp_path)[::2], processes=2))
    n = 200
    tcp, local = http_addresses(millrace)
    for _ in range(n):
        assert ask(tcp, "POST", "/event", EXAMPLE).status == 200
        assert ask(local, "GET", "/t/x").status == 200
    assert ask(tcp, "POST", "/ingest", POSTBACK).status == 202
    stages = [f"ingest-http.{i}" for i in range(2)]
    wait_metric(millrace, "event_requests", n)
    wait_metric(millrace, "track_requests", n)
    assert all(millrace.stage(role)["metrics"]["event_requests"] > 0 for role in stages)
    check_ledger(millrace, "metric", received=n, written=n)
    check_ledger(millrace, "track.raw", received=n, written=n)
    found = events(millrace, "metric")
    assert len({event["id"] for event in found}) == n and {event["id"].split("-")[2] for event in found} == {"0", "1"}

    def all_told():
        return {ask(tcp, "GET", "/debug/vars").json()["requests"]["total"] >= 2 * n + 1 for _ in range(10)} == {True}

    wait_until(all_told, 20, "/debug/vars of either to tell of both")
    end_with_postbacks(millrace)


def test_plain_descriptors_serve_as_direct_ones(instance, tmp_path):
    if not uring_allowed():
        pytest.skip("io_uring is not allowed here")
    millrace = instance(config=http_config(tmp_path, "uring-plain", listen=everywhere(tmp_path)))
    for address in http_addresses(millrace):
        check_answers(address)
    assert millrace.stage("ingest-http.0")["note"] == "io_uring, plain descriptors"
    assert "backend=uring descriptors=plain" in millrace.log()
    end_with_postbacks(millrace)


@pytest.mark.parametrize("call", ["setup", "enter", "register"])
def test_epoll_serves_where_a_call_of_io_uring_is_denied(instance, tmp_path, call):
    millrace = instance(config=http_config(tmp_path), wrapper=denied(call))
    assert "backend=epoll" in millrace.log()
    assert re.fullmatch(r"epoll, no io_uring: .*: Operation not permitted", millrace.stage("ingest-http.0")["note"])
    assert ask(http_address(millrace), "POST", "/event", EXAMPLE).status == 200
    assert metric(millrace, "uring_in_use") == 0
    check_ledger(millrace, "metric", received=1, written=1)


@pytest.mark.parametrize("call", ["setup", "enter", "register"])
def test_a_stage_that_must_have_io_uring_says_that_it_is_denied(instance, tmp_path, call):
    millrace = instance(config=http_config(tmp_path, "uring"), wrapper=denied(call), start=False).start(wait=False)
    wait_until(lambda: re.search(r"(io_uring|registering).*not permitted", millrace.log()), 20, "the reason in the log")
    millrace.discard()


# ---- SIGHUP ----


def test_sighup_with_a_changed_limit_restarts_that_stage_alone_and_no_port_refuses(instance, tmp_path, backend):
    config = http_config(tmp_path, backend)
    config["ingest"]["http"].append(dict(config["ingest"]["http"][0]))
    millrace = instance(config=config)
    first, second = http_addresses(millrace)
    body = json.dumps({**EXAMPLE, "username": 2000 * "x"}).encode()
    assert ask(first, "POST", "/event", body, JSON_TYPE).status == 200
    pids = [millrace.pid_of(f"ingest-http.{i}") for i in range(2)]
    config["ingest"]["http"][0]["max_body"] = "1KiB"
    answers = []

    def talk(client):
        client.sendall(request_bytes("GET", "/healthz", None, "Connection: close"))
        answers.append(client.recv(100)[:12])

    with Knocker(first, talk) as one, Knocker(second) as other:
        wait_until(lambda: one.taken > 20 and other.taken > 20, 20, "some connections")
        millrace.write_config(config)
        millrace.kill(signal.SIGHUP)
        wait_until(lambda: millrace.pid_of("ingest-http.0") not in (0, pids[0]), 20, "the next life")
        millrace.wait_running()
        before = one.taken
        wait_until(lambda: one.taken > before + 20, 20, "some connections")
    assert (one.refused, other.refused) == (0, 0)
    # One at most was open and had asked nothing yet when the old life ended.
    assert set(answers) <= {b"HTTP/1.1 200", b""} and answers.count(b"") <= 1 and one.broken <= 1
    assert millrace.pid_of("ingest-http.1") == pids[1]
    assert ask(first, "POST", "/event", body, JSON_TYPE).status == 413
    assert ask(second, "POST", "/event", body, JSON_TYPE).status == 200
    assert millrace.stage("ingest-http.0")["restarts"] == 0
