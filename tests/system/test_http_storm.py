"""Clients that mean no good, against the whole stage: random and spoiled requests, long lines and fields, bodies that are none, requests in
pieces, connections that are held, cut or never read. Under a sanitizer for longer (`make asan`).

Beside them a good client is answered all the time, and every event that was acknowledged is there, once; what the others are told is HTTP."""
import collections
import contextlib
import gzip
import os
import random
import re
import socket
import struct
import time

import pytest

from harness import SLOW, wait_until
from http_help import Client, chunks, connect, events, http_address, http_config, metric, request_bytes
from soak_help import Numbers
from tally_help import Loop
from test_http_crash import POSTBACKS_WAIT

SECONDS = float(os.environ.get("MILLRACE_STORM_S") or (15 if SLOW > 1 else 3))  # with each back-end
HOSTILE = 4
HELD_MOST = 60
STATUSES = {100, 200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 411, 413, 414, 415, 417, 421, 426, 431, 501, 503, 505}
ANSWER_S = 10  # in which a good client has its answer
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!-~]+: ?[^\r\n]*\r\n)*)\r\n")


def storm_config(tmp_path, backend):
    return http_config(tmp_path, backend, topics={name: {"size": "32MiB"} for name in ("metric", "log", "track.raw", "track")},
                       max_head="8KiB", max_body="64KiB", max_inflated="128KiB", request_memory="4MiB", answer_memory="1MiB", buffers=64,
                       header_timeout="1s", body_timeout="1s", idle_timeout="2s", write_timeout="1s", max_connections=300)


def a_request(rng):
    """One that is right, of any route."""
    number = rng.randrange(1 << 30)
    kind = rng.randrange(7)
    if kind == 0:
        return request_bytes("POST", "/event", {"username": "storm", "count": number, "metric": "storm"})
    if kind == 1:
        return request_bytes("POST", "/log", {"text": "x" * rng.randrange(1, 300), "content_id": number, "client_id": 1, "timestamp": 1586846680064})
    if kind == 2:
        return request_bytes("GET", f"/t/storm%20{number}?a=1&b=%41&c", None, f"User-Agent: {'y' * rng.randrange(200)}", "X-Forwarded-For: 1.2.3.4, ::1")
    if kind == 3:
        return request_bytes("POST", "/batch", [{"type": "storm", "params": {"n": i, "m": ["a", True, None]}} for i in range(rng.randrange(20))])
    if kind == 4:
        body = gzip.compress(b'{"username":"storm","count":1,"metric":"storm"}' + b" " * rng.randrange(4000))
        return request_bytes("POST", "/event", body, "Content-Type: application/json", "Content-Encoding: gzip")
    if kind == 5:
        body = chunks(b'{"username":"storm",', b'"count":1,"metric":"storm"}')
        return request_bytes("POST", "/event", body, "Content-Type: application/json", "Transfer-Encoding: chunked")
    return request_bytes("POST", "/ingest", {"endpoint": {"method": "GET", "url": "http://h.test/{a}"}, "data": [{"a": number}]})


def spoiled(rng, data):
    """Some bytes changed, taken out, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at, n = rng.randrange(len(data) + 1), rng.randrange(1, 20)
        how = rng.randrange(4)
        if how == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at:at + n]
        elif how == 2:
            data[at:at] = data[at:at + n] * rng.randrange(1, 50)
        else:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b"\xff" * n, b": ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"%00", b","])
    return bytes(data)


def too_long(rng):
    n = rng.choice([100, 8000, 9000, 70000])
    return rng.choice([
        lambda: request_bytes("GET", "/" + "a" * n),
        lambda: request_bytes("GET", "/t/x?" + "a=1&" * (n // 4)),
        lambda: request_bytes("GET", "/t/x", None, "X: " + "y" * n),
        lambda: request_bytes("GET", "/t/x", None, *[f"X-{i}: y" for i in range(n // 20)]),
        lambda: request_bytes("POST", "/event", b"[" * n, "Content-Type: application/json"),
        lambda: request_bytes("POST", "/event", gzip.compress(bytes(n * 10)), "Content-Type: application/json", "Content-Encoding: gzip"),
        lambda: request_bytes("POST", "/log", None, f"Content-Length: {'9' * (n % 40 + 1)}"),
        lambda: b"\r\n" * (n // 2) + request_bytes("GET", "/healthz"),
    ])()


def any_bytes(rng):
    return rng.randbytes(rng.randrange(1, 3000))


def many(rng):
    """One after the other without waiting, the last perhaps spoiled."""
    some = [a_request(rng) for _ in range(rng.randrange(2, 60))]
    if rng.random() < 0.5:
        some[-1] = spoiled(rng, some[-1])
    return b"".join(some)


def check_answers(data):
    """Whole answers, as far as they came."""
    while data:
        found = HEAD.match(data)
        if not found:
            assert b"\r\n\r\n" not in data and (data.startswith(b"HTTP/1.1 ") or b"HTTP/1.1 ".startswith(data)), data[:300]
            return
        assert int(found[1]) in STATUSES, found[0]
        length = re.search(rb"(?i)^content-length: *(\d+)\r$", found[2], re.MULTILINE)
        data = data[found.end() + (int(length[1]) if length else 0):]


class Hostile(Loop):
    """Makes connections and does what it likes with them; some it holds."""

    def __init__(self, address, rng):
        self.address, self.rng = address, rng
        self.held = []
        self.done = collections.Counter()
        super().__init__(self.turn)

    def turn(self):
        rng = self.rng
        while len(self.held) > rng.randrange(HELD_MOST):
            self.let_go(self.held.pop(rng.randrange(len(self.held))))
        make = rng.choice([any_bytes, too_long, many, lambda r: spoiled(r, a_request(r)), lambda r: spoiled(r, many(r))])
        with contextlib.suppress(OSError):
            client = connect(self.address)
            self.held.append(client)
            client.settimeout(0.2)
            self.say(client, make(rng))

    def say(self, client, data):
        rng = self.rng
        how = rng.choice(["whole", "pieces", "held", "unread", "half closed"])
        self.done[how] += 1
        if how == "held":  # until it is let go, or the server has had enough
            client.sendall(data[:rng.randrange(len(data) + 1)])
            return
        if how == "pieces":
            for _ in range(rng.randrange(1, 20)):
                at = rng.randrange(len(data) + 1)
                client.sendall(data[:at])
                data = data[at:]
                time.sleep(rng.choice([0, 0, 0.002]))
        client.sendall(data)
        if how == "unread":
            return
        if how == "half closed":
            client.shutdown(socket.SHUT_WR)
        self.held.remove(client)
        try:
            check_answers(self.read(client))
        finally:
            self.let_go(client)

    def read(self, client):
        data = b""
        with contextlib.suppress(OSError):
            while (more := client.recv(65536)) and len(data) < 1 << 20:
                data += more
        return data

    def let_go(self, client):
        if self.rng.random() < 0.3:  # by a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def end(self):
        try:
            super().end()
        finally:
            for client in self.held:
                client.close()


class Good(Loop):
    """Asks one thing after the other, or several at a time in pieces; each must be answered, and soon."""

    def __init__(self, address, rng):
        self.rng, self.numbers = rng, Numbers()
        self.slowest = 0
        self.client = Client(address)
        super().__init__(self.turn)

    def turn(self):
        rng = self.rng
        numbers = self.numbers.take(rng.choice([1, 1, 1, 20]))
        data = b"".join(request_bytes("POST", "/event", {"username": "good", "count": n, "metric": "good"}) for n in numbers)
        began = time.monotonic()
        while data:
            at = rng.randrange(1, len(data) + 1)
            self.client.send(data[:at])
            data = data[at:]
        for number in numbers:
            reply = self.client.reply()
            assert reply.status == 200, reply
            self.numbers.acknowledged.add(number)
        self.slowest = max(self.slowest, time.monotonic() - began)
        time.sleep(0.002)


@pytest.mark.limit(SECONDS + 60)
def test_a_good_client_is_answered_and_nothing_is_lost_whatever_others_send(instance, tmp_path, rng, backend):
    one = instance(config=storm_config(tmp_path, backend))
    address = http_address(one)
    hostile = [Hostile(address, random.Random(rng.random())) for _ in range(HOSTILE)]
    good = Good(address, random.Random(rng.random()))
    with contextlib.ExitStack() as ends:
        for loop in (good, *hostile):
            ends.callback(loop.end)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and not any(loop.failure for loop in (good, *hostile)):
            time.sleep(0.1)
    good.client.socket.close()
    done = sum((loop.done for loop in hostile), collections.Counter())
    print(f"{len(good.numbers.acknowledged)} good ones, the slowest took {good.slowest * 1000:.0f} ms; {dict(done)}; "
          f"{ {entry['topic']: (entry['written'], sum(entry['rejected'].values())) for entry in one.stat()['ledger']} }")
    assert sum(done.values()) > 20 and len(good.numbers.acknowledged) > 20
    assert good.slowest < ANSWER_S * SLOW
    wait_until(lambda: all(entry["balanced"] for entry in one.stat()["ledger"]), 20, "the ledger to add up")
    stored = events(one, "metric")
    good.numbers.check([event["count"] for event in stored if event["metric"] == "good"], "metrics")
    for topic in ("metric", "log", "track.raw"):
        entry = one.ledger(topic)
        assert entry["received"] == entry["written"] + sum(entry["rejected"].values()) + entry["refused"] and entry["dropped"] == 0, entry
    assert one.ledger("metric")["written"] == len(stored)
    assert [(stage["name"], stage["restarts"]) for stage in one.stat()["stages"] if stage["restarts"]] == []
    for name in ("connections", "memory_bytes", "answer_memory_bytes"):
        wait_until(lambda what=name: metric(one, what) == 0, 20, f"{name} = 0")
    assert one.stop() == POSTBACKS_WAIT  # nobody delivers here
