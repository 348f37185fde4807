"""What ingest-http lets a client have: lengths, times, connections, memory."""
import json
import os
import select
import signal
import socket
import struct
import time
import zlib

import pytest

from harness import wait_until
from http_help import (
    EXAMPLE, JSON_TYPE, LOG_EXAMPLE, Client, ask, check_ledger, chunks, connect, http_address, http_config, metric, request_bytes,
    wait_metric,
)

KIB = 1024
QUICK_S = 0.3  # the time-outs of these tests


def padded(n):
    """An event whose body has n bytes."""
    bare = len(json.dumps({**EXAMPLE, "username": ""}))
    return json.dumps({**EXAMPLE, "username": (n - bare) * "x"}).encode()


def lengths(tmp_path, backend):
    return http_config(tmp_path, backend, max_request_line="256", max_head="1KiB", max_fields=10, max_body="1KiB", max_inflated="2KiB")


def test_what_is_too_long_is_answered_by_what_is_too_long(instance, tmp_path, backend):
    millrace = instance(config=lengths(tmp_path, backend))
    address = http_address(millrace)
    chunked = "Transfer-Encoding: chunked"
    line = 256 - len("GET  HTTP/1.1\r\n")
    fits = [
        ("POST", "/event", padded(KIB), JSON_TYPE),
        ("POST", "/event", chunks(padded(KIB)[:500], padded(KIB)[500:]), JSON_TYPE, chunked),
        ("POST", "/event", zlib.compress(padded(2 * KIB)), JSON_TYPE, "Content-Encoding: deflate"),
        ("GET", "/".ljust(line, "x")),
        ("GET", "/t/x", None, *[f"X-{i}: y" for i in range(9)]),
        ("GET", "/t/x", None, f"X: {900 * 'y'}"),
    ]
    too_long = [
        (413, "POST", "/event", padded(KIB + 1), JSON_TYPE),
        (413, "POST", "/event", None, JSON_TYPE, "Content-Length: 999999999999"),
        (413, "POST", "/event", chunks(padded(KIB), b" "), JSON_TYPE, chunked),
        (413, "POST", "/event", zlib.compress(padded(2 * KIB + 1)), JSON_TYPE, "Content-Encoding: deflate"),
        (413, "POST", "/event", zlib.compress(bytes(500 * KIB)), JSON_TYPE, "Content-Encoding: deflate"),
        (414, "GET", "/".ljust(line + 1, "x")),
        (414, "GET", "/".ljust(100 * KIB, "x")),
        (431, "GET", "/t/x", None, *[f"X-{i}: y" for i in range(10)]),
        (431, "GET", "/t/x", None, f"X: {KIB * 'y'}"),
        (431, "GET", "/t/x", None, f"{100 * KIB * 'X'}: y"),
    ]
    for request in fits:
        assert ask(address, *request).status == 200, request
    for status, *request in too_long:
        reply = ask(address, *request)
        assert reply.status == status and set(reply.json()) == {"error", "where"}, (request[:2], reply)
    wait_until(lambda: metric(millrace, "event_failed_large") + metric(millrace, "other_failed_large") == len(too_long), 20, "the counts")
    check_ledger(millrace, "metric", written=3)


def test_a_request_that_is_too_long_by_its_length_is_answered_before_it_comes(instance, tmp_path, backend):
    millrace = instance(config=lengths(tmp_path, backend))
    with Client(http_address(millrace)) as client:
        client.send(request_bytes("POST", "/event", None, JSON_TYPE, "Content-Length: 2000", "Expect: 100-continue"))
        reply = client.reply()
        assert reply.status == 413 and reply.headers["connection"] == "close" and client.ends()
    # The answer arrives although the client goes on sending.
    with Client(http_address(millrace)) as client:
        client.send(request_bytes("POST", "/event", 200 * KIB * b"x", JSON_TYPE))
        assert client.reply().status == 413


def times(tmp_path, backend, **longer):
    """One time-out is short, the others are not."""
    return http_config(tmp_path, backend, **{
        key: f"{QUICK_S}s" if key == longer.get("quick") else "1h"
        for key in ("header_timeout", "body_timeout", "idle_timeout", "write_timeout")})


def test_a_head_that_does_not_come_in_time_is_answered_408(instance, tmp_path, backend):
    millrace = instance(config=times(tmp_path, backend, quick="header_timeout"))
    with Client(http_address(millrace)) as slow, Client(http_address(millrace)) as silent, Client(http_address(millrace)) as good:
        assert good.ask("GET", "/healthz").status == 200
        began = time.monotonic()
        slow.send(b"GET / HT")
        reply = slow.reply()
        assert reply.status == 408 and reply.headers["connection"] == "close" and slow.ends()
        assert time.monotonic() - began >= QUICK_S / 2
        assert silent.ends()
        assert good.ask("GET", "/healthz").status == 200
        # It counts for the second request as for the first, and what drips in does not put it off.
        good.send(b"GET /")
        while not select.select([good.socket], [], [], 0.02)[0]:
            good.send(b"x")
        assert good.reply().status == 408
    wait_metric(millrace, "connections_late", 2)
    wait_metric(millrace, "connections_idle_ended", 1)


@pytest.mark.parametrize("rest", ["Content-Length: 50", "Transfer-Encoding: chunked"], ids=["sized", "chunked"])
def test_a_body_that_does_not_come_in_time_is_answered_408(instance, tmp_path, backend, rest):
    millrace = instance(config=times(tmp_path, backend, quick="body_timeout"))
    with Client(http_address(millrace)) as slow, Client(http_address(millrace)) as good:
        slow.send(request_bytes("POST", "/event", None, JSON_TYPE, rest) + b"9\r\n")
        reply = slow.reply()
        assert reply.status == 408 and reply.json()["where"] == "body" and slow.ends()
        assert good.ask("POST", "/event", EXAMPLE).status == 200
    wait_metric(millrace, "connections_late", 1)
    check_ledger(millrace, "metric", received=1, written=1)


def test_idle_connections_are_closed_without_a_word(instance, tmp_path, backend):
    millrace = instance(config=times(tmp_path, backend, quick="idle_timeout"))
    with Client(http_address(millrace)) as client:
        assert client.ask("GET", "/healthz").status == 200
        began = time.monotonic()
        assert client.ends()
        assert time.monotonic() - began >= QUICK_S / 2
    wait_metric(millrace, "connections_idle_ended", 1)


def test_who_does_not_read_its_answers_is_ended(instance, tmp_path, backend):
    millrace = instance(config=times(tmp_path, backend, quick="write_timeout"))
    with connect(http_address(millrace)) as client:
        client.setblocking(False)
        data = 1000 * request_bytes("GET", "/t/x")
        began = time.monotonic()
        while time.monotonic() - began < 60:
            try:
                client.send(data)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        else:
            pytest.fail("it is never ended")
    wait_metric(millrace, "connections_write_late", 1)
    assert ask(http_address(millrace), "GET", "/healthz").status == 200


def open_and_asked(address):
    client = Client(address)
    client.ask("GET", "/healthz")
    return client


def taken_again(address):
    try:
        return ask(address, "GET", "/healthz").status == 200
    except (EOFError, OSError):
        return False


@pytest.mark.parametrize(
    "limit, metric_name",
    [({"max_connections_per_address": 3, "trusted_proxies": []}, "connections_over_cap"),
     ({"max_connections": 3}, "connections_turned_away")],
    ids=["of_an_address", "of_all"],
)
def test_connections_over_the_cap_are_closed_at_once_and_there_is_room_again_afterwards(instance, tmp_path, backend, limit, metric_name):
    millrace = instance(config=http_config(tmp_path, backend, **limit))
    address = http_address(millrace)
    clients = [open_and_asked(address) for _ in range(3)]
    for _ in range(4):
        with Client(address) as over:
            assert over.ends()
    wait_metric(millrace, metric_name, 4)
    assert all(client.ask("GET", "/healthz").status == 200 for client in clients)
    clients.pop().socket.close()
    wait_until(lambda: taken_again(address), 20, "room for another")
    for client in clients:
        client.socket.close()


def test_a_trusted_proxy_has_no_cap_and_behind_it_each_client_has_its_own(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, max_connections_per_address=2, proxy_protocol="on"))
    address = http_address(millrace)
    clients = []

    def enter(who):
        clients.append(Client(address))
        clients[-1].send(b"PROXY TCP4 %s 127.0.0.1 1 2\r\n" % who + request_bytes("GET", "/healthz"))
        return clients[-1]

    for who in (b"192.0.2.1", b"192.0.2.1", b"192.0.2.2", *4 * [b"127.0.0.9"]):
        assert enter(who).reply().status == 200
    assert enter(b"192.0.2.1").ends()
    assert enter(b"192.0.2.2").reply().status == 200
    for client in clients:
        client.socket.close()
    wait_metric(millrace, "connections_over_cap", 1)


def test_held_bodies_starve_nobody_of_an_answer(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, request_memory="8MiB"))
    address = http_address(millrace)
    held = []
    for length, n in ((600_000, 7), (3000, 700)):
        for _ in range(n):
            held.append(connect(address))
            held[-1].sendall(request_bytes("POST", "/event", None, JSON_TYPE, f"Content-Length: {length + 1}") + length * b" ")
    wait_until(lambda: metric(millrace, "kept_requests") == len(held), 20, "all bodies to be held")
    for _ in range(50):
        assert ask(address, "POST", "/event", EXAMPLE).status == 200
    # Who would need memory that is not there is told so.
    fits_nowhere = request_bytes("POST", "/event", None, JSON_TYPE, "Content-Length: 1000000") + 900_000 * b" "
    replies = []
    for _ in range(8):
        with Client(address) as client:
            client.send(fits_nowhere[:-1])
            client.socket.settimeout(0.5)
            try:
                replies.append(client.reply())
            except TimeoutError:
                held.append(client.socket.dup())
    assert replies and all(r.status == 503 and r.headers["retry-after"] == "1" for r in replies), replies
    for client in held:
        client.close()
    wait_metric(millrace, "memory_bytes", 0)
    wait_metric(millrace, "answer_memory_bytes", 0)
    check_ledger(millrace, "metric", written=50)


def test_an_address_holds_its_share_of_the_memory_and_no_more(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, request_memory="8MiB", request_memory_share=25, trusted_proxies=[]))
    address = http_address(millrace)
    clients = []
    for _ in range(6):  # each wants 1 MiB of the 2 MiB that an address may hold
        clients.append(Client(address))
        try:
            clients[-1].send(request_bytes("POST", "/event", None, JSON_TYPE, "Content-Length: 900001") + 900_000 * b" ")
        except OSError:
            pass  # refused before all was sent
    wait_metric(millrace, "memory_over_share", 4)
    assert metric(millrace, "memory_bytes") <= 2 * KIB * KIB and metric(millrace, "memory_short") == 0
    assert ask(address, "POST", "/event", EXAMPLE).status == 200
    for client in clients:
        client.socket.close()
    wait_metric(millrace, "memory_bytes", 0)


def test_when_memory_for_requests_is_used_up_the_others_go_on(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend, request_memory="1MiB", max_body="256KiB", max_inflated="256KiB"))
    address = http_address(millrace)
    greedy = []
    body = 200 * KIB * b"x"
    head = request_bytes("POST", "/event", None, JSON_TYPE, f"Content-Length: {256 * KIB}")
    for _ in range(12):
        client = connect(address)
        greedy.append(client)
        try:
            client.sendall(head + body)
        except OSError:
            pass

    def short():
        metrics = millrace.stage("ingest-http.0")["metrics"]
        return metrics["memory_short"] >= 1 and metrics["connections"] < 12

    wait_until(short, 20, "the end of connections that want more than there is")
    for client in greedy:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    wait_metric(millrace, "connections", 0)
    wait_metric(millrace, "memory_bytes", 0)
    assert ask(address, "POST", "/log", {**LOG_EXAMPLE, "text": 200 * KIB * "x"}).status == 200


def test_fewer_connections_than_wanted_is_said_once(instance, tmp_path, backend):
    config = http_config(tmp_path, backend, max_connections=600)
    millrace = instance(config=config, wrapper=["prlimit", "--nofile=400:400"])
    said = "fewer connections than wanted"
    wait_until(lambda: said in millrace.log(), 10, "the warning")
    for _ in range(2):
        pid = millrace.pid_of("ingest-http.0")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: (stage := millrace.stage("ingest-http.0"))["pid"] != pid and stage["state"] == "running", 20, "started again")
    assert millrace.log().count(said) == 1
    config["ingest"]["http"][0]["max_connections"] = 700
    millrace.write_config(config)
    millrace.kill(signal.SIGHUP)
    wait_until(lambda: millrace.log().count(said) == 2, 20, "another number is said")
