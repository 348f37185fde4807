"""millrace send http against a small server that remembers what it was sent."""
import collections
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import MILLRACE, ROOT, SLOW, wait_until
from http_server import OK, Broken, Server, answer, numbers_of

ROUTES = {"event": "/event", "log": "/log", "track": "/t/", "batch": "/batch", "ingest": "/ingest"}
EXAMPLE = 12412414


def send(server, *arguments, timeout=40):
    """The result and, when there is one, its account. timeout is for the command's own waiting: its default is long."""
    address = server if isinstance(server, str) else server.address
    result = subprocess.run(
        [str(MILLRACE), "send", "http", address, "--json", *map(str, arguments)], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout * SLOW, check=False,
    )
    return result, json.loads(result.stdout) if result.stdout else None


def acknowledged(path):
    return sorted(int(line) for line in path.read_text().splitlines())


# ---- what is sent, and the account ----


@pytest.mark.parametrize("route", ROUTES)
def test_every_event_is_acknowledged_by_the_number_it_was_stored_under(route, tmp_path):
    many = ["--batch-size", 7] if route in ("batch", "ingest") else []
    with Server() as server:
        result, account = send(
            server, "--route", route, "-n", 300, "-c", 4, "-p", 8, "--first", 1000, "--acknowledged", tmp_path / "numbers", *many,
        )
    assert result.returncode == 0 and result.stderr == ""
    events = 300 * (7 if many else 1)
    assert account["sent"] == account["answered"] == 300 and account["acknowledged_events"] == events
    assert account["codes"] == ({"202": 300} if many else {"200": 300})
    assert account["unanswered"] == account["unexpected"] == account["unasked"] == account["connections"]["broken"] == 0
    assert acknowledged(tmp_path / "numbers") == server.numbers() == list(range(1000, 1000 + events))
    assert all(target.startswith(ROUTES[route]) for _, target, _, _ in server.requests)
    assert account["connections"]["opened"] == 4
    assert account["bytes_sent"] > 300 * 100 and account["bytes_received"] > 300 * 30
    latency = account["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]


@pytest.mark.parametrize("route", ROUTES)
def test_corrupted_requests_are_answered_4xx_and_never_acknowledged(route, tmp_path, rng):
    with Server() as server:
        result, account = send(
            server, "--route", route, "-n", 600, "-c", 3, "-p", 4, "--corrupt", 60, "--seed", rng.randrange(1 << 30),
            "--acknowledged", tmp_path / "numbers",
        )
    assert result.returncode == 0, result.stderr + result.stdout
    corrupted = sum(account["corrupted"].values())
    refused = sum(n for code, n in account["codes"].items() if code.startswith("4"))
    assert corrupted == refused and 250 < corrupted < 470
    assert len(account["corrupted"]) >= 8
    assert account["unanswered"] == 0 and account["connections"]["broken"] == 0
    assert acknowledged(tmp_path / "numbers") == server.numbers()
    assert len(server.numbers()) == account["acknowledged_events"]


def test_a_server_that_takes_corrupted_requests_is_told_on(rng):
    with Server(lenient=True) as server:
        result, account = send(server, "-n", 200, "--corrupt", 50, "--seed", rng.randrange(1 << 30))
    assert result.returncode == 1
    assert account["unexpected"] == sum(account["corrupted"].values()) == sum(account["unexpected_by_request"].values()) > 0
    assert "valid" not in account["unexpected_by_request"]
    assert "not as expected" in result.stderr and result.stderr.count("\n") == 1


def test_a_batch_of_which_not_all_was_accepted_is_not_acknowledged(tmp_path):
    def accept_less(server, method, target, _headers, body):
        return answer(200, json.dumps({"accepted": len(numbers_of(method, target, body)) - 1}).encode())

    with Server(accept_less) as server:
        result, account = send(
            server, "--route", "batch", "-n", 10, "-b", 5, "--acknowledged", tmp_path / "numbers",
        )
    assert result.returncode == 1 and account["unexpected"] == 10
    assert acknowledged(tmp_path / "numbers") == []


def test_the_collectors_mix_is_20_random_events_to_1_example(tmp_path):
    with Server() as server:
        result, account = send(server, "--mix", "collector", "-n", 420, "--acknowledged", tmp_path / "numbers")
    assert result.returncode == 0
    bodies = collections.Counter(body for _, _, _, body in server.requests)
    example = b'{"username": "kodingbot", "count": 12412414, "metric": "kite_call"}'
    assert bodies[example] == 20 and max(n for body, n in bodies.items() if body != example) == 1
    assert acknowledged(tmp_path / "numbers") == server.numbers()
    assert server.numbers().count(EXAMPLE) == 20 and account["acknowledged_events"] == 420


def test_the_same_seed_sends_the_same(tmp_path):
    def bodies(seed):
        with Server() as server:
            assert send(server, "-n", 50, "-c", 1, "--seed", seed)[0].returncode == 0
        return [request[3] for request in server.requests]

    first = bodies(5)
    assert first == bodies(5) != bodies(6)


def test_token_prefix_and_host_arrive():
    with Server() as server:
        result, _ = send(f"http://{server.address}/behind/", "-n", 20, "--token", "abc.DEF-123")
    assert result.returncode == 0, result.stderr
    for method, target, headers, _ in server.requests:
        assert (method, target) == ("POST", "/behind/event")
        assert headers["authorization"] == "Bearer abc.DEF-123" and headers["host"] == server.address
        assert headers["content-type"] == "application/json"


def test_unix_sockets(tmp_path):
    with Server(path=tmp_path / "socket") as server:
        result, account = send(server, "-n", 100, "-c", 3, "-p", 2)
    assert result.returncode == 0 and account["answered"] == 100 and len(server.numbers()) == 100
    assert {headers["host"] for _, _, headers, _ in server.requests} == {"localhost"}


# ---- answers, however they come ----


def test_answers_in_small_pieces_and_in_chunks_are_understood():
    def chunked(server, *request):
        server.accept(*request)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\nO\r\n1\r\nK\r\n0\r\nA: b\r\n\r\n"

    with Server(chunked, pieces=3) as server:
        result, account = send(server, "-n", 100, "-c", 2, "-p", 5)
    assert result.returncode == 0 and account["answered"] == 100 and len(server.numbers()) == 100


def test_interim_answers_are_no_answers():
    def early(server, *request):
        server.accept(*request)
        return b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK

    with Server(early) as server:
        result, account = send(server, "-n", 50, "-p", 4)
    assert result.returncode == 0 and account["codes"] == {"200": 50}


def test_without_keep_alive_each_request_has_a_connection_of_its_own():
    with Server() as server:
        result, account = send(server, "-n", 60, "-c", 3, "--keep-alive", "off")
    assert result.returncode == 0, result.stderr
    assert account["answered"] == 60 and account["connections"]["broken"] == 0
    assert {headers["connection"] for _, _, headers, _ in server.requests} == {"close"}
    assert server.connections >= 60


def test_a_body_that_ends_with_the_connection_is_an_answer():
    def old(server, *request):
        server.accept(*request)
        return b"HTTP/1.1 200 OK\r\n\r\nOK"

    with Server(old) as server:
        result, account = send(server, "-n", 30, "-c", 2, "--keep-alive", "off")
    assert result.returncode == 0 and account["answered"] == 30 and account["connections"]["broken"] == 0


def test_503_is_counted_with_its_retry_after(tmp_path):
    seen = []

    def busy(server, *request):
        with server.lock:
            seen.append(1)
            n = len(seen)
        if n % 10 == 0:
            return answer(503, b"busy", f"Retry-After: {n // 10}")
        return server.accept(*request)

    with Server(busy) as server:
        result, account = send(server, "-n", 100, "-c", 2, "--acknowledged", tmp_path / "numbers")
    assert result.returncode == 1
    assert account["codes"] == {"200": 90, "503": 10} and account["unexpected"] == 10
    assert account["retry_after"] == {"answers": 10, "min_s": 1, "max_s": 10}
    assert acknowledged(tmp_path / "numbers") == server.numbers() and len(server.numbers()) == 90


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"])
def test_what_is_no_http_is_told_on(reply):
    with Server(lambda *_: reply) as server:
        result, account = send(server, "-n", 5, "-c", 1)
    assert result.returncode == 1 and account["connections"]["bad_answers"] == 5 and account["answered"] == 0
    assert account["unanswered"] == 5


def test_an_answer_that_nobody_asked_for_is_told_on():
    with Server(lambda *_: OK + answer(400)) as server:
        result, account = send(server, "-n", 10, "-c", 1, "--rate", 200)
    assert result.returncode == 1 and account["unasked"] + account["unexpected"] > 0


# ---- connections that break ----


def break_each(n):
    """A handler that stores every request and breaks the connection instead of each n-th answer."""
    seen = []

    def handler(server, *request):
        reply = server.accept(*request)
        with server.lock:
            seen.append(1)
            broken = len(seen) % n == 0
        if broken:
            raise Broken
        return reply

    return handler


def test_lost_answers_are_counted_and_their_requests_not_sent_again(tmp_path):
    with Server(break_each(20)) as server:
        result, account = send(server, "-n", 400, "-c", 4, "-p", 4, "--acknowledged", tmp_path / "numbers")
    assert result.returncode == 1 and "without answer" in result.stderr
    assert account["sent"] == 400 == account["answered"] + account["unanswered"]
    assert account["unanswered"] >= account["connections"]["broken"] > 0
    assert account["repeated"] == 0
    stored, taken = server.numbers(), acknowledged(tmp_path / "numbers")
    assert len(stored) == len(set(stored)), "none was sent twice"
    assert len(taken) == account["answered"] and set(taken) <= set(stored)


def test_with_retry_every_event_arrives(tmp_path):
    with Server(break_each(20)) as server:
        result, account = send(server, "-n", 400, "-c", 4, "-p", 4, "--retry", "--acknowledged", tmp_path / "numbers")
    assert result.returncode == 0, result.stderr
    assert account["repeated"] == account["unanswered"] > 0 and account["answered"] == 400
    assert account["sent"] == 400 + account["repeated"]
    assert acknowledged(tmp_path / "numbers") == list(range(1, 401)) == sorted(set(server.numbers()))


def test_a_server_that_does_not_answer_costs_its_requests_after_the_timeout():
    release = threading.Event()

    def hold(server, *request):
        release.wait(60 * SLOW)
        raise Broken

    with Server(hold) as server:
        try:
            result, account = send(server, "-n", 3, "-c", 3, "--timeout", "0.5")
        finally:
            release.set()
    assert result.returncode == 1
    assert account["unanswered"] == account["connections"]["timed_out"] == 3 and account["answered"] == 0


def test_a_server_that_comes_back_is_found_again(tmp_path):
    path = tmp_path / "socket"
    with Server(path=path) as first:
        process = subprocess.Popen(
            [str(MILLRACE), "send", "http", first.address, "--json", "--rate", "200", "-n", "200", "-c", "2"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        wait_until(lambda: len(first.requests) > 20, 20, "the first requests")
    path.unlink()
    with Server(path=path) as second:
        out, err = process.communicate(timeout=40 * SLOW)
    account = json.loads(out)
    assert account["sent"] == 200 == account["answered"] + account["unanswered"], err
    # One request at a time on each connection: each that broke lost one.
    assert account["unanswered"] == account["connections"]["broken"] and account["connections"]["opened"] >= 4
    stored = first.numbers() + second.numbers()
    assert len(second.numbers()) > 0 and len(stored) == len(set(stored)) >= account["answered"]


# ---- pace and end ----


def test_the_pace_is_kept():
    with Server() as server:
        began = time.monotonic()
        result, account = send(server, "-n", 200, "--rate", 500)
        took = time.monotonic() - began
    assert result.returncode == 0 and account["answered"] == 200
    assert 0.398 <= account["seconds"] <= took  # the last one is due after 199 / 500 s


def test_the_duration_ends_it_and_outstanding_answers_are_waited_for():
    with Server() as server:
        result, account = send(server, "--duration", "0.4", "-p", 4, "-c", 2)
    assert result.returncode == 0 and account["unanswered"] == 0
    assert account["sent"] == account["answered"] == len(server.requests) > 0
    assert account["seconds"] >= 0.4


def test_a_signal_ends_it_with_its_account(tmp_path):
    with Server() as server:
        process = subprocess.Popen(
            [str(MILLRACE), "send", "http", server.address, "--duration", "600", "--json", "--acknowledged", tmp_path / "numbers"],
            stdout=subprocess.PIPE, text=True,
        )
        wait_until(lambda: len(server.requests) > 100, 20, "some requests")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20 * SLOW)
    account = json.loads(out)
    assert process.returncode == 0 and account["sent"] == account["answered"] == len(server.numbers())
    assert acknowledged(tmp_path / "numbers") == server.numbers()


# ---- wrong use, help ----


def test_send_says_when_nobody_listens_or_the_address_is_none(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        result, account = send("127.0.0.1:%d" % probe.getsockname()[1], "-n", 5)
    assert result.returncode == 1 and "nobody listens" in result.stderr
    assert send(f"unix:{tmp_path}/none", "-n", 5)[0].returncode == 1
    for address in ("https://127.0.0.1/", "::1:80", "127.0.0.1:port", "http://127.0.0.1/?x"):
        result, _ = send(address, "-n", 1)
        assert result.returncode == 1 and address in result.stderr and result.stderr.count("\n") == 1, address


@pytest.mark.parametrize(
    "arguments",
    [
        ["--route", "other"], ["--mix", "collector", "--route", "log"], ["--batch-size", "5"], ["--pipeline", "0"],
        ["--keep-alive", "off", "--pipeline", "2"], ["--connections", "50000", "--pipeline", "1024"], ["--corrupt", "200"],
        ["--token", "a b"], ["--endpoint", 'http://h/"'], ["--first", "0"], ["--rte", "5"], ["one", "two"],
    ],
)
def test_wrong_use_is_two_and_one_line(arguments):
    result = subprocess.run([MILLRACE, "send", "http", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result
    assert result.stdout == "" and result.stderr.count("\n") == 1 and "millrace send http" in result.stderr


def test_the_manual_page_and_the_completion_know_all_options():
    text = subprocess.run([MILLRACE, "send", "http", "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^ .{5}--([a-z-]+)", text, re.M))
    assert {"route", "mix", "acknowledged", "retry", "keep-alive"} <= options and "millrace-send(1)" in text
    page = (ROOT / "docs" / "man" / "millrace-send.1").read_text()
    section = page[page.index(".Ss HTTP") :]
    for option in options - {"help"}:
        assert re.search(rf"^\.It .*Fl -{option}\b", section, re.M), option
    script = (
        f"source {ROOT}/cli/completion/millrace; "
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _millrace; echo "${COMPREPLY[*]}"; }; '
        f"m={MILLRACE}; try $m send ''; try $m send http --; try $m send http --route ''; try $m send udp --format ''; try $m send udp --"
    )
    result = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True, env=dict(os.environ))
    protocols, http, routes, formats, udp = result.stdout.splitlines()
    assert set(protocols.split()) == {"udp", "http", "postback"}
    assert set(http.split()) == {f"--{option}" for option in options}
    assert set(routes.split()) == set(ROUTES) and set(formats.split()) == {"ipevent", "raw", "json"}
    assert "--gso" in udp.split() and "--route" not in udp.split()
