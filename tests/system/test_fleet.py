"""Several boxes, one answer: what three instances have counted, asked of one of them."""
import contextlib
import resource
import signal
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from fractions import Fraction

import pytest

from deliver_help import Silent, accept, wait_stage_metric
from fleet_help import Box
from harness import SLOW, wait_until
from http_help import Client, request_bytes
from serve_help import problem
from test_catch import Catch
from test_conf import self_signed
from test_serve import ip_event

SHAS = ["ab" * 32, "cd" * 32, "ef" * 32]
INT64 = 2**63


@pytest.fixture
def boxes(instance, tmp_path, rng):
    """boxes(3): three of them, not started."""
    net = f"127.{rng.randrange(1, 255)}.{rng.randrange(0, 255)}"
    return lambda n: [Box(instance, tmp_path, f"{net}.{i + 1}") for i in range(n)]


def send_ips(box, pairs):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(box.one.address())
        for sha, ip in pairs:
            sender.send(ip_event(sha, ip))


def expected_report(pairs, sha):
    """As the old system judges: a /28 in which two or more addresses were seen is good."""
    ips = sorted({ip for one, ip in pairs if one == sha})
    networks = Counter(ip >> 4 for ip in ips)

    def texts(good):
        return [socket.inet_ntoa(struct.pack("!I", ip)) for ip in ips if (networks[ip >> 4] >= 2) == good]

    return {"count": sum(one == sha for one, _ in pairs), "good_ips": texts(True), "bad_ips": texts(False)}


def expected_hourly(events, key):
    """[{"_id": ..., ...}] of (user, metric, count) in the order of users and metrics."""
    groups = {}
    for event in events:
        groups.setdefault(key(event), []).append(event[2])
    return [{"_id": one, "minimum": min(counts), "maximum": max(counts), "average": float(Fraction(sum(counts), len(counts))),
             "count": len(counts)} for one, counts in sorted(groups.items())]


def draw_ips(rng):
    return [(rng.choice(SHAS[:2]), 0x0A000000 + rng.randrange(0, 600)) for _ in range(120)]


def draw_metrics(rng):
    numbers = [0, 1, -1, INT64 - 1, -INT64, *(rng.randrange(-10**6, 10**6) for _ in range(5))]
    return [(f"user{rng.randrange(3)}", f"metric {rng.randrange(4)}", rng.choice(numbers)) for _ in range(30)]


@pytest.mark.limit(180)
def test_three_boxes_give_one_answer_that_equals_a_reference(instance, boxes, rng):
    a, b, c = all_boxes = boxes(3)
    urls = [box.url for box in all_boxes]
    for box in all_boxes:
        box.start(peers=[url for url in urls if url != box.url])
    ips = {box: draw_ips(rng) for box in all_boxes}
    ips[c].append((SHAS[2], 0x0A000001))  # of one box alone
    metrics = {box: draw_metrics(rng) for box in all_boxes[:2]}  # c has none
    tracks = {box: [f"kind{rng.randrange(6)}" for _ in range(20)] for box in all_boxes}
    first_ms = int(time.time() * 1000)
    for box in all_boxes:
        send_ips(box, ips[box])
        for user, metric, count in metrics.get(box, []):
            box.post("/event", {"username": user, "metric": metric, "count": count})
        for kind in tracks[box]:
            box.track(kind)

    def whole(box):
        types = box.alone("/consumers/type")
        hourly = box.alone("/metrics/hourly_logs/total") or []
        return (types and types["total"] == 20 and sum(m["count"] for m in hourly) == len(metrics.get(box, []))
                and sum(box.count(sha) for sha in SHAS) == len(ips[box]))

    for box in all_boxes:
        wait_until(lambda box=box: whole(box), 20, "all counts")
    time.sleep(0.2)  # answers that were kept from before

    every_ip = sum(ips.values(), [])
    every_metric = sum(metrics.values(), [])
    every_track = Counter(sum(tracks.values(), []))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for box in all_boxes:  # whoever is asked
        for sha in SHAS:
            assert box.get(f"/events/{sha}") == expected_report(every_ip, sha)
        problem(box.reply("/events/" + "00" * 32), 404)
        assert box.get("/metrics/hourly_logs/total") == expected_hourly(every_metric, lambda e: e[1])
        per_user = expected_hourly(every_metric, lambda e: (e[0], e[1]))
        for one in per_user:
            one["_id"] = {"username": one["_id"][0], "metric": one["_id"][1]}
        assert box.get("/metrics/hourly_logs/per_user") == per_user
        assert box.get("/metrics/hourly_logs/per_user?offset=3&limit=4") == per_user[3:7]
        names = Counter(metric for _, metric, _ in every_metric)
        daily = box.get(f"/metrics/distinct/daily/{day}")
        assert (daily["total"], daily["keys"], daily["forgotten"]) == (len(every_metric), len(names), 0)
        ranked = sorted(names.items(), key=lambda one: (-one[1], one[0]))
        assert [(m["_id"], m["count"], m["error"]) for m in daily["metrics"]] == [(name, n, 0) for name, n in ranked]
        assert box.get(f"/metrics/distinct/monthly/{day[:7]}?limit=2")["metrics"] == daily["metrics"][:2]
        ranked = sorted(every_track.items(), key=lambda one: (-one[1], one[0]))
        types = box.get("/consumers/type?limit=3")
        assert types == {"name": "type", "total": 60, "keys": len(ranked), "forgotten": 0,
                         "list": [{"key": key, "count": n, "error": 0} for key, n in ranked[:3]]}
        summary = {one["name"]: one for one in box.get("/consumers")}
        assert summary["type"]["total"] == 60 and summary["type"]["keys"] <= len(ranked) <= summary["type"]["keys_at_most"]
        timing, parts = box.get("/consumers/timing"), [one.alone("/consumers/timing?sums=1") for one in all_boxes]
        assert timing["total"] == 60
        for name in ("klag", "counting"):
            exact = Fraction(sum(int(part[f"{name}_sum_ns"]) for part in parts), 60 * 10**6)
            assert timing[f"{name}_ms"] == pytest.approx(float(exact), rel=1e-12)
        user = every_metric[0][0]
        firsts = [one.alone(f"/accounts/{user}") for one in all_boxes]
        assert box.get(f"/accounts/{user}") == min(filter(None, firsts), key=lambda one: one["first_seen_ms"])
        assert box.get(f"/accounts/{user}")["first_seen_ms"] >= first_ms - 1000
        problem(box.reply("/accounts/nobody"), 404)
        problem(box.reply("/metrics/distinct/daily/yesterday"), 400)
        check_stat(box, all_boxes, every_ip)
        assert {sink["peer"] for sink in box.get("/sinks")["sinks"]} <= {None, *urls}
        assert "missing" not in box.get("/api/stat") and box.missing("/consumers") == ""
        assert {peer["state"] for peer in box.peers().values()} == {"up"}


def check_stat(box, all_boxes, every_ip):
    stat = box.get("/api/stat")
    assert [one["peer"] for one in stat["boxes"]] == [None] + [one.url for one in all_boxes if one is not box]
    assert {one["generation"] for one in stat["boxes"]} == {one.one.stat()["generation"] for one in all_boxes}
    ledger = {line["topic"]: line for line in stat["ledger"]}
    assert ledger["ip"]["written"] == ledger["ip"]["received"] == len(every_ip) and ledger["ip"]["balanced"] is True
    serves = [stage for stage in stat["stages"] if stage["name"] == "serve.0"]
    assert {stage["pid"] for stage in serves} == {one.one.pid_of("serve.0") for one in all_boxes}


@pytest.mark.limit(180)
def test_attempts_to_deliver_are_added_up(instance, boxes, rng):
    a, b = boxes(2)
    a.start(peers=[b.url])
    b.start(peers=[])
    with Catch("--answer", "/good=200", "--answer", "/bad=400", "--answer", "/also=200") as catch:
        for box, paths in ((a, {"good": 11, "bad": 3}), (b, {"good": 7, "also": 5})):
            for path, n in paths.items():
                accept(box.one, f"http://127.0.0.1:{catch.port}/{path}?n={{n}}", [{"n": i} for i in range(n)])
        for box, delivered in ((a, 11), (b, 12)):
            wait_stage_metric(box.one, "delivered", delivered)
        wait_stage_metric(a.one, "dead", 3)
        for box, n in ((a, 14), (b, 12)):
            wait_until(lambda box=box, n=n: (box.alone("/deliveries/counts") or {"all": {"attempts": 0}})["all"]["attempts"] == n, 20, "attempts")
    parts = [box.alone("/deliveries/counts?sums=1") for box in (a, b)]
    told = a.get("/deliveries/counts")
    assert told["all"]["attempts"] == 26 and told["all"]["success"] == pytest.approx(23 / 26, rel=1e-5) and told["total"] == 3
    assert {item["endpoint"].rsplit("/")[-1]: item["attempts"] for item in told["items"]} == {"also": 5, "bad": 3, "good": 18}
    sums = [part["all"]["outcomes"] for part in parts]
    total = sum(int(outcome["sum_us"]) for one in sums for outcome in one.values())
    assert told["all"]["average_us"] == total // 26
    delivered = sum(int(one["delivered"]["sum_us"]) for one in sums)
    assert told["all"]["outcomes"]["delivered"]["average_us"] == delivered // 23 and "sum_us" not in told["all"]["outcomes"]["delivered"]
    buckets = Counter()
    for one in sums:
        for outcome in one.values():
            first, *counts = outcome["latency"]
            buckets.update({first + i: n for i, n in enumerate(counts)})
    for percent, key in ((50, "p50_us"), (90, "p90_us"), (99, "p99_us")):
        rank, passed = -(-26 * percent // 100), 0
        for bucket in sorted(buckets):
            passed += buckets[bucket]
            if passed >= rank:
                break
        power = 6 + (bucket - 1) // 4
        assert told["all"][key] == (64 if bucket == 0 else (5 + (bucket - 1) % 4) << (power - 2))
    steps = a.get("/deliveries/counts?step=1&limit=1")
    assert len(steps["items"]) == 1 and steps["items"][0]["ts"] % 60000 == 0


@pytest.mark.limit(180)
def test_peers_that_are_dead_or_hang_are_named_and_hold_nobody_up(instance, boxes):
    a, b, c = boxes(3)
    with Silent() as silent:
        hanging = f"http://localhost:{silent.port}"
        a.start(peers=[b.url, c.url, hanging], peer_timeout="1s")
        b.start(peers=[])
        c.start(peers=[])
        pairs = {box: [(SHAS[0], 0x0A000001), (SHAS[0], 0x0A000100 + 9 * i)] for i, box in enumerate((a, b, c))}
        for box in (a, b, c):
            send_ips(box, pairs[box])
            wait_until(lambda box=box: box.count(SHAS[0]) == 2, 20, "the counts")
        (files, most), (alone, _) = [resource.prlimit(box.one.pid_of("serve.0"), resource.RLIMIT_NOFILE) for box in (a, b)]
        assert files == min(alone + 3 * 32, most)  # peers take no files from clients
        wait_until(lambda: a.get(f"/events/{SHAS[0]}")["count"] == 6, 20, "the counts of all")
        told = a.get(f"/events/{SHAS[0]}")
        assert told["missing"] == [hanging] == [a.missing(f"/events/{SHAS[0]}")]

        # while the answer waits for a peer, others are answered
        slow = threading.Thread(target=lambda: a.reply("/consumers"))
        slow.start()
        time.sleep(0.1)
        times = []
        with Client(a.address) as client:
            while slow.is_alive():
                began = time.monotonic()
                assert client.ask("GET", "/healthz").status == 200
                times.append(time.monotonic() - began)
                time.sleep(0.01)
        slow.join()
        assert len(times) > 10 and sorted(times)[len(times) // 2] < 0.2 * SLOW, times

        c.one.stop()
        began = time.monotonic()
        wait_until(lambda: a.get(f"/events/{SHAS[0]}")["count"] == 4, 20, "the counts without the dead one")
        assert time.monotonic() - began < 15 * SLOW
        told = a.get(f"/events/{SHAS[0]}")
        assert told == {**expected_report(pairs[a] + pairs[b], SHAS[0]), "missing": [c.url, hanging]}
        assert a.missing("/consumers") == a.missing("/api/stat") == f"{c.url}, {hanging}"
        peers = a.peers()
        assert [peers[url]["state"] for url in (b.url, c.url, hanging)] == ["up", "down", "down"]
        assert peers[c.url]["reason"] and "imeout" in peers[hanging]["reason"] and peers[hanging]["last_answer_ms"] is None
        assert peers[c.url]["last_answer_ms"] and peers[b.url]["version"] and peers[b.url]["took_ms"] >= 0
        wait_until(lambda: a.metric("peers_failed") >= 4, 10, "the metric")
        # many at once, of which some go away before the answer
        clients = [Client(a.address) for _ in range(20)]
        for i, client in enumerate(clients):
            client.send(b"GET /consumers HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if i % 3 == 0:
                client.socket.close()
        for i, client in enumerate(clients):
            if i % 3 != 0:
                assert client.reply().status in (200, 404)
                client.socket.close()
        # a dead one that comes back is part of the answer again
        c.one.start()
        wait_until(lambda: a.get(f"/events/{SHAS[0]}")["count"] == 6, 20, "the counts of all again")


@pytest.mark.limit(120)
def test_nobody_is_asked_in_circles_and_nobody_is_counted_twice(instance, boxes):
    a, b, other = boxes(3)
    a.start(peers=[a.url, b.url, other.url])
    b.start(peers=[a.url, b.url], listen=["%s:%d" % b.address, "%s:%d" % other.address])  # one box by two names
    for box in (a, b):
        send_ips(box, [(SHAS[0], 0x0A000001)] * 5)
        wait_until(lambda box=box: box.count(SHAS[0]) == 5, 20, "the counts")
    time.sleep(0.2)
    for _ in range(5):
        for box in (a, b):
            assert box.get(f"/events/{SHAS[0]}") == {"count": 10, "good_ips": [], "bad_ips": ["10.0.0.1"]}
        time.sleep(0.06)
    assert [a.peers()[url]["state"] for url in (a.url, b.url, other.url)] == ["itself", "up", "twice"]
    assert [b.peers()[url]["state"] for url in (a.url, b.url)] == ["up", "itself"]
    # by the field alone, whatever the query says
    assert a.get(f"/events/{SHAS[0]}?peers=1", "Via: 1.0 proxy.example, 1.1 millrace")["count"] == 5
    assert a.get(f"/events/{SHAS[0]}?peers=1", "Via: 1.1 millrace.example")["count"] == 10
    # what a question makes is bounded: one for each peer, and no more of them
    time.sleep(1)
    before = [box.metric("requests") for box in (a, b)]
    assert a.get("/api/stat")["boxes"][1]["peer"] == b.url
    time.sleep(1)
    after = [box.metric("requests") for box in (a, b)]
    assert [after[0] - before[0], after[1] - before[1]] == [2, 2]


@pytest.mark.limit(120)
def test_a_peer_wants_a_token(instance, boxes, tmp_path):
    a, b = boxes(2)
    reads, token = tmp_path / "reads", tmp_path / "token"
    reads.write_text("right-token-0123456789\n")
    token.write_text("wrong-token-0123456789\n")
    for path in (reads, token):
        path.chmod(0o600)
    b.start(peers=[], read_tokens=str(reads))
    a.start(peers=[b.url], peer_token=str(token))
    down = a.peers()[b.url]
    assert down["state"] == "down" and "401" in down["reason"] and "serve.peer_token" in down["reason"]
    assert a.get("/api/stat")["missing"] == [b.url]
    token.write_text("# for b" + 200 * " not-this-token-0123456789" + "\nright-token-0123456789\n")
    a.one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: a.peers()[b.url]["state"] == "up", 20, "the new token in force")
    assert "missing" not in a.get("/api/stat")
    assert not any(f"{word}-token" in a.one.log() for word in ("right", "wrong", "this"))


@pytest.mark.limit(120)
def test_what_is_no_millrace_is_named_and_not_merged(instance, boxes):
    (a,) = boxes(1)
    with Catch("--answer", "/=200") as catch:
        other = f"http://127.0.0.1:{catch.port}"
        a.start(peers=[other])
        send_ips(a, [(SHAS[0], 0x0A000001)])
        wait_until(lambda: a.count(SHAS[0]), 20, "the count")
        time.sleep(0.1)
        assert a.get(f"/events/{SHAS[0]}") == {"count": 1, "good_ips": [], "bad_ips": ["10.0.0.1"], "missing": [other]}
        assert a.peers()[other]["state"] == "down"


@contextlib.contextmanager
def tls_in_front_of(address, tmp_path):
    """A server of TLS that hands everything on. Gives its URL and the file of its certificate."""
    certificate, key = self_signed(tmp_path, "localhost", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def hand_on(plain):
        with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as client:
            client.settimeout(20)
            while data := client.recv(65536):  # a request is one piece
                with socket.create_connection(address) as server:
                    server.settimeout(20)
                    server.sendall(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                    while answer := server.recv(65536):
                        client.sendall(answer)
                return

    def serve():
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=hand_on, args=[plain], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield "https://127.0.0.1:%d" % listener.getsockname()[1], certificate
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.limit(120)
def test_https_peers_are_verified(instance, boxes, tmp_path):
    a, b, c = boxes(3)
    b.start(peers=[])
    with tls_in_front_of(b.address, tmp_path) as (url, certificate):
        a.start(peers=[url], peer_ca=str(certificate))
        assert a.peers()[url]["state"] == "up" and len(a.get("/api/stat")["boxes"]) == 2
        c.start(peers=[url])  # by the system's certificates
        down = c.peers()[url]
        assert down["state"] == "down" and "ertificate" in down["reason"], down
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing\n")
    one = instance(config=a.config([url], peer_ca=str(wrong)), start=False)
    checked = one.millrace("check", "-c", str(one.config_file))
    assert checked.returncode != 0 and "serve.peer_ca" in checked.stdout + checked.stderr, checked


@pytest.mark.limit(120)
def test_what_is_too_long_is_bounded(instance, boxes):
    a, b = boxes(2)
    b.start(peers=[])
    a.start(peers=[b.url], peer_memory="64KiB")
    n = 6000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(b.one.address())
        for i in range(n):
            sender.send(ip_event(SHAS[0], 0x0A000000 + i))
            if i % 100 == 0:
                time.sleep(0.005)
    wait_until(lambda: b.count(SHAS[0]) == n, 20, "the counts")
    # it has counted something, but more than there is room for
    reply = a.reply(f"/events/{SHAS[0]}")
    assert reply.headers["millrace-missing-peers"] == b.url and b.url in problem(reply, 404)
    assert a.get("/api/stat").get("missing") is None  # which fits
    assert a.peers()[b.url]["state"] == "up"


@pytest.mark.limit(120)
def test_requests_that_wait_are_answered_in_their_order(instance, boxes):
    with Silent() as silent:
        (a,) = boxes(1)
        a.start(peers=[silent.url("")], peer_timeout="300ms", peer_fresh="0")
        with Client(a.address) as client:
            client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
                                 for path in ("/fleet", "/healthz", "/api/stat", "/fleet", "/healthz")))
            replies = [client.reply() for _ in range(5)]
        assert [reply.status for reply in replies] == [200] * 5
        assert [sorted(reply.json())[0] for reply in replies] == ["box", "status", "boxes", "box", "status"]
        head = request_bytes("HEAD", "/api/stat")
        with Client(a.address) as client:
            client.send(head + request_bytes("GET", "/healthz"))
            assert client.reply("HEAD").status == 200 and client.reply().json() == {"status": "ok"}
        # a stop while somebody waits answers him
        with Client(a.address) as client:
            client.send(request_bytes("GET", "/api/stat"))
            time.sleep(0.1)
            a.one.process.send_signal(signal.SIGTERM)
            assert client.reply().status == 200
        assert a.one.wait_end() == 0


def test_peers_that_are_no_urls_are_refused(instance, boxes):
    (a,) = boxes(1)
    for wrong in ("box2:4003", "ftp://box2", "http://", "http://user@box2", "http://box2/path", "*"):
        one = instance(config=a.config([wrong]), start=False)
        checked = one.millrace("check", "-c", str(one.config_file))
        assert checked.returncode != 0 and "serve.peers[0]" in checked.stdout + checked.stderr, (wrong, checked)
