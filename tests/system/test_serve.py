"""The read side: each route on a running instance, and what is asked of it that it does not do."""
import contextlib
import gzip
import json
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from harness import SLOW, cpu_seconds, default_config, wait_until
from http_help import Client, ask, connect, http_addresses, request_bytes
from serve_help import identity, make_letters, problem, raw, serve_address, serve_addresses, serve_config, write_tokens

SHA = "ab" * 32


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def ip_event(sha, ip):
    return b"\x0a\x40" + sha.encode() + b"\x10" + varint(ip)


def same_but_for_time(stat):
    """What of a snapshot does not change from moment to moment."""
    return {
        "instance": stat["instance"], "generation": stat["generation"],
        "stages": [(s["name"], s["program"], s["pid"], s["state"], sorted(s["metrics"])) for s in stat["stages"]],
        "topics": [t["topic"] for t in stat["topics"]], "ledger": stat["ledger"], "keys": sorted(stat),
    }


@pytest.mark.limit(120)
def test_each_route_shows_what_the_command_shows(instance, tmp_path):
    folder = tmp_path / "data"
    make_letters(folder, 5)
    config = default_config(tmp_path)
    config["ingest"]["http"] = [{"listen": "127.0.0.1:0"}]
    config["topics"].update({topic: {"size": "1MiB"} for topic in ("metric", "log", "track.raw", "track")})
    config["deliver"] = {"processes": 0}
    config["sinks"] = [{"name": "kept", "kind": "file", "topics": ["log"], "path": str(tmp_path / "kept"), "format": "json"}]
    one = instance(config=serve_config(tmp_path, config))
    address = serve_address(one)

    with Client(address) as client:
        def get(path, status=200, method="GET"):
            reply = client.ask(method, path)
            assert reply.status == status, (path, reply)
            return reply if status >= 400 else reply.json()

        for empty in ("", "?", "?&", "/?", "?&&"):
            assert get("/healthz" + empty) == {"status": "ok"}
        assert wait_until(lambda: client.ask("GET", "/readyz").status == 200, 20, "readiness")
        index = get("/")
        assert index["name"] == "millrace" and {"/api/stat", "/events/{sha}", "/dead/{id}/replay"} <= {r["path"] for r in index["routes"]}
        assert same_but_for_time(get("/api/stat")) == same_but_for_time(one.stat())

        # counts
        problem(get(f"/events/{SHA}", 404), 404)
        assert "sha256" in problem(get("/events/0123", 404), 404)
        with connect_udp(one) as sender:
            for ip in (0x0A000001, 0x0A000002, 0xC0000207):
                sender.send(ip_event(SHA, ip))
        expected = {"count": 3, "good_ips": ["10.0.0.1", "10.0.0.2"], "bad_ips": ["192.0.2.7"]}
        wait_until(lambda: client.ask("GET", f"/events/{SHA}").status == 200, 20, "the counts")
        assert wait_until(lambda: get(f"/events/{SHA}")["count"] == 3, 20, "all counts") and get(f"/events/{SHA}") == expected
        assert get(f"/events/{SHA.upper()}") == one.report(SHA) == expected

        # sinks
        def steady(sinks):
            return [{k: v for k, v in sink.items() if k != "oldest_unsafe_seconds"} for sink in sinks["sinks"]]

        assert steady(get("/sinks")) == steady(json.loads(one.millrace("sinks", "--json").stdout))
        assert get("/sinks")["sinks"][0]["name"] == "kept"

        # dead letters, in pages
        assert [letter["id"] for letter in get("/dead")["letters"]] == [identity(n) for n in (5, 4, 3, 2, 1)]
        page, seen, pages = get("/dead?limit=2"), [], 1
        while True:
            seen += [letter["id"] for letter in page["letters"]]
            if "next" not in page:
                break
            page = get(f"/dead?limit=2&after={page['next']}")
            pages += 1
        assert seen == [identity(n) for n in (5, 4, 3, 2, 1)] and pages == 3
        assert get("/dead?status=200")["letters"] == [] and len(get("/dead?host=host001.example&status=400")["letters"]) == 2
        listed = [json.loads(line) for line in one.millrace("dead", "list", "--json").stdout.splitlines()]
        assert get("/dead")["letters"] == listed
        assert get(f"/dead/{identity(5).upper()}") == json.loads(one.millrace("dead", "show", identity(5), "--json").stdout)
        for wrong in ("77", identity(77), "x" * 32):
            problem(get(f"/dead/{wrong}", 404), 404)
        for wrong in ("limit=0", "limit=x", "after=7", "after=1-2-3", "after=a-b", "since=soon", "nothing=1", "limit=1&limit=2"):
            assert wrong.split("=")[0] in problem(get(f"/dead?{wrong}", 400), 400) or wrong == "nothing=1"
        scraped = client.ask("GET", "/metrics")
        assert scraped.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"

        def families(text):
            return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}

        assert families(scraped.body.decode()) >= families(one.millrace("stat", "--prometheus").stdout) > set()
        opened = client.ask("GET", "/metrics", None, "Accept: application/openmetrics-text; version=1.0.0")
        assert opened.headers["content-type"].startswith("application/openmetrics-text") and opened.body.endswith(b"# EOF\n")
        vars_ = get("/debug/vars")
        assert vars_["requests"] == {"total": 0, "failed": 0, "successful": 0} and set(vars_["response_time"]) == {"minimum", "maximum", "average"}

    replayed = ask(address, "POST", f"/dead/{identity(5)}/replay")
    assert replayed.status == 200 and replayed.json() == {"id": identity(5), "replayed": 1}
    problem(ask(address, "POST", f"/dead/{identity(5)}/replay"), 404)
    problem(ask(address, "POST", "/dead/5/replay"), 404)
    assert len(ask(address, "GET", "/dead").json()["letters"]) == 4
    assert one.millrace("dead", "show", identity(5)).returncode == 3


def connect_udp(one):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(one.address())
    return sender


@pytest.mark.limit(120)
def test_requests_of_the_listeners_are_summed(instance, tmp_path):
    config = default_config(tmp_path)
    config["ingest"] = {"udp": [], "http": [{"listen": "127.0.0.1:0"}, {"listen": "127.0.0.1:0"}]}
    config["topics"] = {topic: {"size": "1MiB"} for topic in ("metric", "log", "track.raw", "track")}
    config["deliver"] = {"processes": 0}
    one = instance(config=serve_config(tmp_path, config))
    first, second = http_addresses(one)
    for body in ({"username": "a", "count": 1, "metric": "m"}, {"username": "a", "count": 1, "metric": "m"}, {"username": 1}):
        ask(first, "POST", "/event", body)
    assert ask(second, "GET", "/t/open").status == 200
    address = serve_address(one)
    expected = {"total": 4, "failed": 1, "successful": 3}
    wait_until(lambda: ask(address, "GET", "/debug/vars").json()["requests"] == expected, 20, "the sums")
    times = ask(address, "GET", "/debug/vars").json()["response_time"]
    assert 0 < times["minimum"] <= times["average"] <= times["maximum"] < 60

    def same():
        ours, theirs = (ask(at, "GET", "/debug/vars").json() for at in (address, second))
        return ours["requests"] == theirs["requests"] and ours["response_time"] == pytest.approx(theirs["response_time"], abs=1e-9)

    wait_until(same, 20, "a listener to say the same")


@pytest.mark.limit(120)
def test_what_tally_keeps_of_metrics_and_tracking_events_is_shown(instance, tmp_path):
    config = default_config(tmp_path)
    config["ingest"] = {"udp": [], "http": [{"listen": "127.0.0.1:0"}]}
    config["topics"] = {topic: {"size": "1MiB"} for topic in ("metric", "log", "track.raw", "track", "delivery")}
    one = instance(config=serve_config(tmp_path, config, listen=["127.0.0.1:0", "[::1]:0"]))
    listener = next(line.split()[1] for line in one.log().splitlines() if line.startswith("http "))
    host, _, port = listener.rpartition(":")
    began_ms = int(time.time() * 1000)
    for count in (3, -1, 4):
        assert ask((host, int(port)), "POST", "/event", {"username": "ann/b", "count": count, "metric": "kite call"}).status == 200
    assert ask((host, int(port)), "GET", "/t/app_open?action=x").status == 200
    elsewhere = ask((host, int(port)), "GET", "/metrics/hourly_logs/total")
    assert elsewhere.status == 404 and b"4003" in elsewhere.body  # no tracking call
    addresses = serve_addresses(one)
    assert len(addresses) == 2
    expected = {"minimum": -1, "maximum": 4, "average": 2.0, "count": 3}
    for address in addresses:
        def get(path, at=address):
            reply = ask(at, "GET", path)
            return reply.json() if reply.status == 200 else None

        wait_until(lambda: get("/metrics/hourly_logs/total") == [{"_id": "kite call", **expected}], 20, "the metric")
        assert get("/metrics/hourly_logs/per_user") == [{"_id": {"username": "ann/b", "metric": "kite call"}, **expected}]
        assert get("/metrics/hourly_logs/total?offset=1") == []
        day = time.strftime("%Y-%m-%d", time.gmtime(began_ms / 1000))
        assert get(f"/metrics/distinct/daily/{day}")["total"] == get(f"/metrics/distinct/monthly/{day[:7]}")["total"] == 3
        account = get("/accounts/ann%2Fb")
        assert account["username"] == "ann/b" and began_ms - 1000 <= account["first_seen_ms"] <= time.time() * 1000 + 1000
        wait_until(lambda: get("/consumers/type")["list"] == [{"key": "app_open[x]", "count": 1, "error": 0}], 20, "the event")
        assert {"name": "type", "total": 1, "keys": 1, "forgotten": 0} in get("/consumers")
        assert get("/consumers/timing")["total"] == 1
        problem(ask(address, "GET", "/accounts/nobody"), 404)
        problem(ask(address, "GET", "/consumers/nobody"), 404)
        problem(ask(address, "GET", "/metrics/distinct/daily/yesterday"), 400)
        problem(ask(address, "GET", "/metrics/distinct/monthly/2026-13"), 400)


@pytest.mark.limit(120)
def test_answers_can_be_kept_compressed_and_asked_for_without_their_body(instance, tmp_path):
    one = instance(config=serve_config(tmp_path))
    address = serve_address(one)
    with Client(address) as client:
        plain = client.ask("GET", "/")
        assert plain.headers["etag"] and plain.headers["x-content-type-options"] == "nosniff" and plain.headers["date"]
        head = client.ask("HEAD", "/")
        assert head.status == 200 and head.body == b"" and head.headers["content-length"] == str(len(plain.body))
        again = client.ask("GET", "/", None, f"If-None-Match: {plain.headers['etag']}")
        assert again.status == 304 and again.body == b"" and again.headers["etag"] == plain.headers["etag"]
        small = client.ask("GET", "/", None, "Accept-Encoding: gzip")
        assert small.headers["content-encoding"] == "gzip" and gzip.decompress(small.body) == plain.body
        assert "content-encoding" not in client.ask("GET", "/", None, "Accept-Encoding: gzip;q=0").headers
        options = client.ask("OPTIONS", "/sinks")
        assert options.status == 204 and options.headers["allow"] == "GET, HEAD, OPTIONS"
    refused = ask(address, "DELETE", "/sinks")
    assert "GET" in problem(refused, 405) and refused.headers["allow"] == "GET, HEAD, OPTIONS"
    problem(ask(address, "GET", "/nothing"), 404)
    # many on one connection, sent at once
    with Client(address) as client:
        client.send(request_bytes("GET", "/healthz") * 50)
        assert [client.reply().status for _ in range(50)] == [200] * 50


HOSTILE = [
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /events/%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /events/%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /events/%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /events/%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /dead?" + b"&".join(b"a%d=b" % i for i in range(100)) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /dead?host=%00&host=%0a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes(range(256)) * 20,
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(2000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + b"c" * 70000 + b"\r\n\r\n",
    b"GET /dead HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + b"t" * 5000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: " + b'"a",' * 400 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: " + b"gzip;q=0," * 100 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n",
]
REFUSED = [  # there is one right answer
    (411, b"POST /dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (411, b"POST /dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n"),
    (411, b"POST /dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    (411, b"POST /dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (414, b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    (414, b"GET /dead?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    (421, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"),
    (426, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n"),
    (426, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
]


@pytest.mark.limit(180)
def test_hostile_requests_get_an_answer_or_an_end_and_harm_nobody(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path, header_timeout="2s", body_timeout="2s", max_body="1KiB"))
    address, pid = serve_address(one), one.pid_of("serve.0")
    for status, data in [*((None, data) for data in HOSTILE), *REFUSED]:
        answer = raw(address, data)
        assert answer == b"" or answer.startswith(b"HTTP/1."), (data[:80], answer[:200])
        assert status is None or answer.split(b" ", 2)[1] == b"%d" % status, (data[:80], answer[:200])
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"set-cookie" not in head and b"root:" not in answer, (data[:80], answer[:200])
        assert ask(address, "GET", "/healthz").status == 200, data[:80]
    good = request_bytes("GET", "/dead?limit=3&host=a", None, "Accept-Encoding: gzip", "If-None-Match: *")
    for _ in range(60):
        spoiled = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(spoiled))
            spoiled[at:at + rng.randrange(0, 3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(0, 3)))
        with Client(address) as client:
            client.send(bytes(spoiled))
    assert ask(address, "GET", "/healthz").status == 200
    problem(ask(address, "POST", "/dead/1/replay", b"x" * 2000), 413)
    assert ask(address, "POST", "/dead/1/replay", b"x" * 500).status == 404  # a body within bounds is read and thrown away
    stage = one.stage("serve.0")
    assert stage["pid"] == pid and stage["restarts"] == 0


@pytest.mark.limit(120)
def test_a_parameter_that_is_too_long_is_refused_and_not_left_out(instance, tmp_path):
    address = serve_address(instance(config=serve_config(tmp_path)))
    long = "a" * 4100
    for query in (f"x={long}&host=a", f"host={long}&reason=b"):
        assert "long" in problem(ask(address, "GET", f"/dead?{query}"), 414)


def test_a_stop_ends_while_clients_go_on_asking(instance, tmp_path):
    millrace = instance(config={**serve_config(tmp_path), "drain_timeout": "60s"})
    address = serve_address(millrace)
    over = threading.Event()

    def go_on():
        while not over.is_set():
            with contextlib.suppress(EOFError, OSError, AssertionError):
                with Client(address) as client:
                    while not over.is_set():
                        client.ask("GET", "/healthz")

    clients = [threading.Thread(target=go_on) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        began = time.monotonic()
        assert millrace.stop() == 0
        assert time.monotonic() - began < 15 * SLOW
    finally:
        over.set()
        for client in clients:
            client.join()


def test_a_host_that_is_not_ours_and_pages_of_others_are_refused(instance, tmp_path):
    one = instance(config=serve_config(tmp_path, origins=["https://dash.example"]))
    address = serve_address(one)
    for host, status in (("localhost", 200), (f"127.0.0.1:{address[1]}", 200), ("[::1]", 200), ("evil.example", 421), ("", 421)):
        answer = raw(address, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (host, answer)
    assert raw(address, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")
    evil, dash, own = "Origin: https://evil.example", "Origin: https://dash.example", "Origin: http://millrace.test"
    looked = ask(address, "GET", "/sinks", None, evil)
    assert looked.status == 200 and "access-control-allow-origin" not in looked.headers
    assert ask(address, "GET", "/sinks", None, dash).headers["access-control-allow-origin"] == "https://dash.example"
    assert "origin" in problem(ask(address, "POST", "/dead/1/replay", None, evil), 403)
    assert ask(address, "POST", "/dead/1/replay", None, "Origin: null").status == 403
    assert ask(address, "POST", "/dead/1/replay", None, dash).status == 404
    assert ask(address, "POST", "/dead/1/replay", None, own).status == 404
    preflight = ask(address, "OPTIONS", "/dead/1/replay", None, dash, "Access-Control-Request-Method: POST")
    assert preflight.status == 204 and "POST" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-methods" not in ask(address, "OPTIONS", "/dead/1/replay", None, evil).headers


@pytest.mark.limit(120)
def test_slow_clients_are_ended_and_too_many_are_turned_away(instance, tmp_path):
    one = instance(config=serve_config(
        tmp_path, header_timeout="600ms", body_timeout="600ms", idle_timeout="600ms", answer_timeout="600ms", max_connections=20))
    address = serve_address(one)
    beginnings = [b"", b"GET /api/st", b"GET /api/stat HTTP/1.1\r\nHost: a\r\nX:", b"POST /dead/1/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nab",
                  request_bytes("GET", "/healthz")]
    slow = []
    for beginning in beginnings:
        client = connect(address)
        client.sendall(beginning)
        slow.append(client)
    for client in slow:
        client.settimeout(20)
        while client.recv(65536):
            pass
        client.close()
    wait_until(lambda: one.stage("serve.0")["metrics"]["connections"] == 0, 20, "all connections to be gone")
    assert one.stage("serve.0")["metrics"]["connections_late"] >= len(beginnings)
    many = [connect(address) for _ in range(60)]
    wait_until(lambda: one.stage("serve.0")["metrics"]["connections_turned_away"] >= 40, 20, "40 to be turned away")
    for client in many:
        client.close()
    wait_until(lambda: one.stage("serve.0")["metrics"]["connections"] == 0, 20, "all connections to be gone")
    assert ask(address, "GET", "/healthz").status == 200


@pytest.mark.limit(120)
def test_a_long_answer_goes_to_who_reads_slowly_and_its_memory_is_bounded(instance, tmp_path):
    folder = tmp_path / "data"
    make_letters(folder, 60)
    with contextlib.closing(sqlite3.connect(folder / "deliver.db")) as db, db:
        db.execute("UPDATE postback SET reason = ?", ("r" * 100000,))
    config = default_config(tmp_path)
    config["deliver"] = {"processes": 0}
    one = instance(config=serve_config(tmp_path, config, answer_memory="20MiB", answer_timeout="20s", query_timeout="20s"))
    address = serve_address(one)
    readers = []
    for _ in range(5):  # about 6 MB each: three find room
        client = Client(address)
        client.send(request_bytes("GET", "/dead") + request_bytes("GET", "/healthz"))
        readers.append(client)
    heads = []
    for client in readers:
        while b"\r\n" not in client.data:
            client.more()
        heads.append(client.data.split(b" ", 2)[1])
    assert heads.count(b"503") >= 1 and heads.count(b"200") >= 2, heads
    for client, head in zip(readers, heads):
        reply = client.reply()
        if head == b"200":
            assert len(reply.json()["letters"]) == 60 and all(len(letter["reason"]) == 100000 for letter in reply.json()["letters"])
        assert client.reply().json() == {"status": "ok"}
        client.socket.close()
    wait_until(lambda: one.stage("serve.0")["metrics"]["answer_memory_bytes"] == 0, 20, "the memory to be free")


@pytest.mark.limit(120)
def test_a_client_that_sends_and_does_not_read_keeps_nobody_busy(instance, tmp_path):
    folder = tmp_path / "data"
    make_letters(folder, 60)
    with contextlib.closing(sqlite3.connect(folder / "deliver.db")) as db, db:
        db.execute("UPDATE postback SET reason = ?", ("r" * 100000,))
    config = default_config(tmp_path)
    config["deliver"] = {"processes": 0}
    one = instance(config=serve_config(tmp_path, config, answer_timeout="8s", query_timeout="20s"))
    address = serve_address(one)
    with Client(address) as client:
        client.send(request_bytes("GET", "/dead"))
        client.socket.settimeout(1)
        with pytest.raises(OSError):
            while True:
                client.send(request_bytes("GET", "/healthz") * 500)
        before, began = cpu_seconds(one.pid_of("serve.0")), time.monotonic()
        time.sleep(2)
        used = (cpu_seconds(one.pid_of("serve.0")) - before) / (time.monotonic() - began)
        assert used < 0.2, f"{used:.2f} of a core"
        assert ask(address, "GET", "/healthz").status == 200
        wait_until(lambda: one.stage("serve.0")["metrics"]["connections_late"] == 1, 20, "the end of its time")


@pytest.mark.limit(120)
def test_tokens_open_what_they_are_for_and_are_read_again(instance, tmp_path):
    reader, admin, later = "reader-token-0123456789", "admin-token-0123456789", "later-token-0123456789"
    read_file, admin_file = tmp_path / "read", tmp_path / "admin"
    write_tokens(read_file, reader)
    write_tokens(admin_file, admin)
    one = instance(config=serve_config(tmp_path, read_tokens=str(read_file), admin_tokens=str(admin_file)))
    address = serve_address(one)

    def status(path, token=None, method="GET"):
        return ask(address, method, path, None, *([f"Authorization: Bearer {token}"] if token else [])).status

    assert status("/healthz") == status("/readyz") == status("/") == 200
    refused = ask(address, "GET", "/sinks")
    assert "token" in problem(refused, 401) and refused.headers["www-authenticate"].startswith("Bearer")
    assert "invalid_token" in ask(address, "GET", "/sinks", None, "Authorization: Bearer wrong-wrong-wrong-wrong").headers["www-authenticate"]
    assert [status("/sinks", token) for token in (reader, admin, later)] == [200, 200, 401]
    assert [status("/dead/1/replay", token, "POST") for token in (reader, admin, None)] == [401, 404, 401]
    write_tokens(read_file, later)
    one.process.send_signal(1)
    wait_until(lambda: status("/sinks", later) == 200, 20, "the new token")
    assert status("/sinks", reader) == 401
    write_tokens(read_file, "short")
    result = one.millrace("check", "-c", one.config_file)
    assert "serve.read_tokens" in result.stderr and ":1:" in result.stderr
    one.process.send_signal(1)
    time.sleep(1)
    assert status("/sinks", later) == 200  # a broken file does not take the place of the old one


def test_nobody_listens_beyond_this_host_without_tokens(instance, tmp_path):
    config = serve_config(tmp_path, listen=["127.0.0.1:0", "0.0.0.0:0"])
    one = instance(config=config, start=False)
    result = one.millrace("check", "-c", one.config_file)
    assert result.returncode != 0 and "serve.listen: 0.0.0.0:0 is open to other hosts" in result.stderr, result.stderr
    tokens = tmp_path / "tokens"
    write_tokens(tokens, "reader-token-0123456789")
    config["serve"]["read_tokens"] = str(tokens)
    one.write_config(config)
    result = one.millrace("check", "-c", one.config_file)
    assert result.returncode == 0, result.stderr


@pytest.mark.limit(120)
def test_an_address_in_use_is_bound_when_it_is_free(instance, tmp_path):
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    taken = other.getsockname()
    path = tmp_path / "s.sock"
    one = instance(config=serve_config(tmp_path, listen=[f"unix:{path}", f"127.0.0.1:{taken[1]}"]))
    wait_until(lambda: "in use" in one.stage("serve.0")["note"], 20, "the note")
    assert ask(str(path), "GET", "/healthz").status == 200
    other.close()
    wait_until(lambda: taken in serve_addresses(one), 20, "the address")
    assert ask(taken, "GET", "/healthz").status == 200
    assert one.stop() == 0 and not path.exists()


@pytest.mark.limit(180)
def test_kills_of_the_read_side_under_load_are_survived_and_cost_the_pipeline_nothing(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path))
    sent = 0
    with connect_udp(one) as sender:
        for _ in range(8):
            pid, address = one.pid_of("serve.0"), serve_address(one)
            clients = [Client(address) for _ in range(10)]
            for client in clients:
                client.send(request_bytes("GET", "/api/stat") * rng.randrange(1, 4))
            for _ in range(50):
                sender.send(ip_event(SHA, rng.randrange(1 << 32)))
                sent += 1
            time.sleep(rng.random() * 0.05)
            subprocess.run(["kill", "-9", str(pid)], check=True)
            for client in clients:
                client.socket.close()

            def again():
                stat = one.try_stat()
                stage = stat and one.stage("serve.0", stat)
                return stage and stage["state"] == "running" and stage["pid"] != pid

            wait_until(again, 20, "the next life")
    address = serve_address(one)
    assert ask(address, "GET", "/api/stat").json()["instance"] == one.name
    stat = one.settle("ip", sent)
    assert one.ledger("ip", stat)["received"] == sent and one.ledger("ip", stat)["dropped"] == 0
    wait_until(lambda: ask(address, "GET", f"/events/{SHA}").json().get("count") == sent, 20, "all counts")
    assert one.stage("tally.0", stat)["restarts"] == 0
