"""millrace catch against clients that show every byte."""
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import MILLRACE, ROOT, SLOW, wait_until

PATIENCE_S = 20 * SLOW


class Catch:
    """A receiver on a port of its own. account() ends it and returns what it counted."""

    def __init__(self, *arguments, environment=None):
        self.process = subprocess.Popen(
            [str(MILLRACE), "catch", "--json", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=environment,
        )
        self.first = self.process.stderr.readline()
        address = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", self.first)
        assert address, self.first
        self.port = int(address.group(1))

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def account(self, stop=True, status=0):
        if stop:
            self.process.send_signal(signal.SIGTERM)
        out, self.errors = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == status, (self.process.returncode, self.errors)
        return json.loads(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def get(number, *fields, target="/postback"):
    sent = time.time_ns() // 1000
    return "\r\n".join([f"GET {target}?n={number}&t={sent} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def post(body, *fields, content="application/x-www-form-urlencoded", target="/postback"):
    head = [f"POST {target} HTTP/1.1", "Host: h", f"Content-Type: {content}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


def answers(connection, n):
    """The status and the fields of the next n answers, whose bodies are empty."""
    data = b""
    while data.count(b"\r\n\r\n") < n:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    found = []
    for head in data.split(b"\r\n\r\n")[:-1]:
        first, *fields = head.decode().split("\r\n")
        found.append((int(first.split(" ")[1]), dict(field.lower().split(": ", 1) for field in fields)))
    return found


def statuses(connection, n):
    return [status for status, _ in answers(connection, n)]


def closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


# ---- what is taken ----


def test_numbers_are_found_in_queries_forms_and_json_and_counted():
    sent = time.time_ns() // 1000
    with Catch() as catch, catch.connect() as connection:
        requests = [
            get(1), get(2), get(2),
            post(b"data=x&n=3&t=%d" % sent),
            post(json.dumps({"n": 4, "t": sent, "data": "\u00fc"}).encode(), content="application/json; charset=utf-8"),
            post(json.dumps({"n": "5"}).encode(), content="application/json"),
        ]
        for request in requests:
            connection.sendall(request)
            assert statuses(connection, 1) == [200]
        account = catch.account()
    assert account["received"] == 6 and account["distinct"] == account["delivered"] == 5 and account["duplicates"] == 1
    assert account["statuses"] == {"200": 6} and account["connections"] == 1 and account["unnamed"] == 0
    assert account["bytes"] == sum(map(len, requests))
    latency = account["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"] < PATIENCE_S * 1000


def test_a_postback_without_a_number_is_known_by_its_id():
    with Catch() as catch, catch.connect() as connection:
        connection.sendall(b"".join([
            post(b"", "Idempotency-Key: a"), post(b"", "webhook-id: b"), post(b"", "IDEMPOTENCY-KEY:  a "), post(b""),
        ]))
        assert statuses(connection, 4) == [200] * 4
        account = catch.account()
    assert account["distinct"] == 2 and account["duplicates"] == 1 and account["unnamed"] == 1 and account["other_id"] == 0


def test_another_id_of_the_same_number_is_told_on():
    with Catch() as catch, catch.connect() as connection:
        connection.sendall(get(1, "Idempotency-Key: a") + get(1, "Idempotency-Key: a") + get(1, "Idempotency-Key: b") + get(1))
        assert statuses(connection, 4) == [200] * 4
        account = catch.account()
    assert account["distinct"] == 1 and account["duplicates"] == 3 and account["other_id"] == 2


@pytest.mark.parametrize("number", ["0", "-1", "", "1x", "99999999999999999999", "9223372036854775808", "%31", "0x1"])
def test_what_is_no_number_is_counted_and_takes_no_entry(number):
    with Catch() as catch, catch.connect() as connection:
        connection.sendall(get(number) + post(b'{"n": [1], "t": -5}', content="application/json"))
        assert statuses(connection, 2) == [200, 200]
        account = catch.account()
    assert account["bad_numbers"] == account["unnamed"] == 2 and account["distinct"] == 0


def test_the_account_is_bounded_and_says_what_it_could_not_tell_apart():
    with Catch("--numbers", 3) as catch, catch.connect() as connection:
        connection.sendall(b"".join(get(n) for n in range(1, 11)))
        assert statuses(connection, 10) == [200] * 10
        account = catch.account()
    assert account["distinct"] == 3 and account["untracked"] == 7 and account["received"] == 10


# ---- requests, however they come ----


CHUNKED = (
    b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1;ext=\"1\"\r\nn\r\n3\r\n=12\r\n1\r\n3\r\n0\r\nTrailer: x\r\n\r\n"
)


def test_torn_requests_are_the_same_as_whole_ones():
    data = get(1) + post(b"n=2") + CHUNKED + post(b"n=4", "Connection: close")
    with Catch() as catch, catch.connect() as connection:
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(0.0005 if at % 7 == 0 else 0)
        assert statuses(connection, 4) == [200] * 4 and closed(connection)
        account = catch.account()
    assert account["received"] == account["delivered"] == 4 and account["bad_requests"] == account["cut"] == 0


def test_pipelined_requests_are_answered_in_their_order():
    n = 5000
    with Catch("--answer", "/a=201", "--answer", "/b=503") as catch, catch.connect() as connection:
        data = b"".join(get(i, target="/a" if i % 3 else "/b") for i in range(1, n + 1))
        connection.sendall(data)
        assert statuses(connection, n) == [201 if i % 3 else 503 for i in range(1, n + 1)]
        account = catch.account()
    assert account["statuses"] == {"201": n - n // 3, "503": n // 3} and account["delivered"] == n - n // 3


def test_a_client_that_does_not_read_is_waited_for_and_gets_all_answers():
    n = 20000
    each = len("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") + 1000
    with Catch("--body", "x" * 1000) as catch, catch.connect() as connection:
        connection.setblocking(False)
        data = memoryview(b"".join(get(i) for i in range(1, n + 1)))
        sent = got = 0
        stuck = 0
        while sent < len(data) and stuck < 50:  # until both sides' buffers are full
            try:
                sent += connection.send(data[sent:])
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.002)
        end = time.monotonic() + PATIENCE_S
        while (got < n * each or sent < len(data)) and time.monotonic() < end:
            try:
                got += len(connection.recv(1 << 20))
            except BlockingIOError:
                time.sleep(0.001)
            if sent < len(data):
                try:
                    sent += connection.send(data[sent:])
                except BlockingIOError:
                    pass
        account = catch.account()
    assert got == n * each and account["delivered"] == n and account["statuses"] == {"200": n}


def test_chunked_bodies_are_joined(tmp_path):
    with Catch("--log", tmp_path / "log") as catch, catch.connect() as connection:
        connection.sendall(CHUNKED + get(1))
        assert statuses(connection, 2) == [200, 200]
        account = catch.account()
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert first["body"] == "n=123" and first["number"] == 123 and first["body_bytes"] == 5 and second["number"] == 1
    assert account["delivered"] == 2


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 300, 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 4000, 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 20000, 431),
        (b"\0" * 20000, 431),
    ],
)
def test_what_is_no_request_or_over_a_limit_is_refused_and_the_connection_ends(request_bytes, status):
    with Catch() as catch, catch.connect() as connection, catch.connect() as other:
        connection.sendall(get(1) + request_bytes)
        replies = answers(connection, 2)
        assert [reply[0] for reply in replies] == [200, status] and replies[1][1]["connection"] == "close"
        assert closed(connection)
        other.sendall(get(2))
        assert statuses(other, 1) == [200]
        account = catch.account()
    assert account["bad_requests"] == 1 and account["received"] == account["delivered"] == 2


def test_torn_requests_share_a_bounded_memory():
    with Catch("--memory", 65536) as catch:
        connections = [catch.connect() for _ in range(40)]
        for connection in connections:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"x" * 3000)
        ended = []

        def refused():
            for connection in connections:
                connection.settimeout(0.01)
                try:
                    if connection not in ended and connection.recv(1) == b"":
                        ended.append(connection)
                except TimeoutError:
                    pass
                except ConnectionResetError:
                    ended.append(connection)
            return len(ended) >= 20

        wait_until(refused, 20, "connections that the memory is too small for to be closed")
        account = catch.account()
        for connection in connections:
            connection.close()
    assert account["refused"] >= 20 and account["received"] == 0


def test_a_request_whose_connection_ends_in_the_middle_is_counted():
    with Catch() as catch:
        with catch.connect() as connection:
            connection.sendall(get(1) + get(2)[:-3])
            assert statuses(connection, 1) == [200]
        with catch.connect() as connection:  # it comes after the end of the first
            connection.sendall(get(3))
            assert statuses(connection, 1) == [200]
        account = catch.account()
    assert account["received"] == 2 and account["cut"] == 1


def test_a_client_that_waits_for_100_continue_gets_it():
    with Catch() as catch, catch.connect() as connection:
        head, _, body = post(b"n=1", "Expect: 100-continue").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert statuses(connection, 1) == [100]
        connection.sendall(body)
        assert statuses(connection, 1) == [200]
        assert catch.account()["delivered"] == 1


def test_old_clients_and_those_that_say_close_are_closed():
    with Catch() as catch:
        for request in (b"GET /?n=1 HTTP/1.0\r\n\r\n", get(2, "Connection: Keep-Alive, Close")):
            with catch.connect() as connection:
                connection.sendall(request)
                assert answers(connection, 1)[0][1]["connection"] == "close" and closed(connection)
        assert catch.account()["delivered"] == 2


def test_no_more_connections_than_allowed_are_taken_and_the_others_wait():
    with Catch("--connections", 2) as catch:
        first, second, third = (catch.connect() for _ in range(3))
        for connection, number in ((first, 1), (second, 2)):
            connection.sendall(get(number))
            assert statuses(connection, 1) == [200]
        third.sendall(get(3))
        third.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(PATIENCE_S)
        assert statuses(third, 1) == [200]
        second.close()
        third.close()
        assert catch.account()["delivered"] == 3


def test_idle_connections_are_closed():
    with Catch("--idle", "1s") as catch, catch.connect() as connection:
        assert closed(connection)
        assert catch.account()["idle"] == 1


# ---- what is answered ----


def test_codes_come_by_their_share_and_the_seed_decides():
    def codes(seed):
        with Catch("--answer", "200:0.7,500:0.2,429:0.1", "--seed", seed) as catch, catch.connect() as connection:
            connection.sendall(b"".join(get(i) for i in range(1, 2001)))
            found = statuses(connection, 2000)
            return found, catch.account()

    found, account = codes(5)
    assert 1250 < found.count(200) < 1550 and 300 < found.count(500) < 500 and 120 < found.count(429) < 290
    assert account["statuses"] == {str(code): found.count(code) for code in (200, 429, 500)}
    assert account["delivered"] == found.count(200) and account["distinct"] == 2000 and account["duplicates"] == 0
    assert codes(5)[0] == found != codes(6)[0]


def test_an_attempt_that_failed_makes_no_duplicate():
    with Catch("--answer", "/down=503") as catch, catch.connect() as connection:
        connection.sendall(get(1, target="/down") + get(1, target="/down") + get(1))
        assert statuses(connection, 3) == [503, 503, 200]
        account = catch.account()
    assert account["distinct"] == account["delivered"] == 1 and account["duplicates"] == 0


def test_retry_after_and_location_stand_where_they_belong():
    with Catch("--answer", "/a=429", "--answer", "/b=302", "--answer", "/c=204", "--retry-after", 7, "--location", "http://x/y") as catch:
        with catch.connect() as connection:
            connection.sendall(b"".join(get(1, target=target) for target in ("/a", "/b", "/c", "/d")))
            replies = answers(connection, 4)
        catch.account()
    assert [status for status, _ in replies] == [429, 302, 204, 200]
    assert replies[0][1] == {"content-length": "0", "retry-after": "7"}
    assert replies[1][1] == {"content-length": "0", "location": "http://x/y"}
    assert replies[2][1] == {} and replies[3][1] == {"content-length": "0"}


def test_delayed_answers_keep_their_order_and_others_do_not_wait():
    with Catch("--delay", "/slow=400ms") as catch, catch.connect() as slow, catch.connect() as fast:
        began = time.monotonic()
        slow.sendall(get(1) + get(2, target="/slow") + get(3) + get(4, target="/slow"))
        assert statuses(slow, 1) == [200] and time.monotonic() - began < 0.4 * SLOW
        fast.sendall(get(5))
        assert statuses(fast, 1) == [200] and time.monotonic() - began < 0.4 * SLOW
        assert statuses(slow, 3) == [200] * 3
        assert time.monotonic() - began >= 0.79
        assert catch.account()["delivered"] == 5


def test_many_delays_of_random_length_all_end():
    with Catch("--delay", "1ms-50ms", "--count", 200) as catch:
        connections = [catch.connect() for _ in range(50)]
        for i, connection in enumerate(connections):
            connection.sendall(b"".join(get(4 * i + j) for j in range(1, 5)))
        for connection in connections:
            assert statuses(connection, 4) == [200] * 4
            connection.close()
        assert catch.account(stop=False)["delivered"] == 200


def test_a_peer_that_goes_during_a_delay_costs_nothing():
    with Catch("--delay", "/slow=200ms") as catch:
        for number in range(1, 20):
            with catch.connect() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
                connection.sendall(get(number, target="/slow"))
        with catch.connect() as connection:
            connection.sendall(get(100, target="/slow") + get(101))
            assert statuses(connection, 2) == [200, 200]
        account = catch.account()
    assert account["delivered"] >= 2 and account["received"] >= 2


def test_some_hang_and_some_are_closed_without_an_answer():
    with Catch("--hang", "/hang=1", "--close", "/close=1") as catch:
        with catch.connect() as hung, catch.connect() as cut:
            hung.sendall(get(1) + get(2, target="/hang") + get(3))
            cut.sendall(get(4) + get(5, target="/close"))
            assert statuses(cut, 2) == [200] and closed(cut)
            assert statuses(hung, 1) == [200]
            hung.settimeout(0.3)
            with pytest.raises(TimeoutError):
                hung.recv(1)
        account = catch.account()
    assert account["hung"] == account["closed"] == 1 and account["delivered"] == 2 and account["received"] == 4


# ---- how it ends, and what it tells ----


def test_what_is_missing_is_told_and_is_one(tmp_path):
    (tmp_path / "numbers").write_text("1\n2\n3\n4\n3\n")
    with Catch("--expect", tmp_path / "numbers") as catch, catch.connect() as connection:
        connection.sendall(get(1) + get(4) + get(9))
        assert statuses(connection, 3) == [200] * 3
        account = catch.account(status=1)
    assert account["expected"] == {"sent": 4, "delivered": 2, "missing": 2}


def test_the_line_of_both_together(tmp_path):
    (tmp_path / "numbers").write_text("1\n2\n")
    process = subprocess.Popen(
        [str(MILLRACE), "catch", "--count", "2", "--expect", tmp_path / "numbers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = int(process.stderr.readline().rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(get(1) + get(1) + get(2))
        assert statuses(connection, 3) == [200] * 3
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and errors == ""
    line = out.splitlines()[-1]
    assert re.fullmatch(r"sent 2, delivered 2, duplicates 1, missing 0, latency p50 \d+\.\d{3} ms, p99 \d+\.\d{3} ms", line), out


@pytest.mark.parametrize("text", ["1\nx\n", "1\n\n2\n", "0\n", "1" * 40 + "\n"])
def test_a_file_of_something_else_is_named_with_its_line(text, tmp_path):
    (tmp_path / "numbers").write_text(text)
    result = subprocess.run(
        [MILLRACE, "catch", "--duration", "10ms", "--expect", tmp_path / "numbers"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert result.returncode == 1 and re.search(rf"{tmp_path}/numbers:\d: ", result.stderr)


def test_it_ends_when_nothing_comes_any_more():
    with Catch("--quiet", "300ms") as catch:
        time.sleep(0.5)
        assert catch.process.poll() is None
        with catch.connect() as connection:
            connection.sendall(get(1))
            assert statuses(connection, 1) == [200]
        assert catch.account(stop=False)["delivered"] == 1


def test_the_log_has_all_of_each_request(tmp_path):
    with Catch("--log", tmp_path / "log", "--close", "/close=1") as catch, catch.connect() as connection:
        connection.sendall(post(b"\xff\xfe", "X-Odd:  a\"b\xe9 ") + get(7, target="/close"))
        assert statuses(connection, 1) == [200]
        catch.account()
    first, second = map(json.loads, (tmp_path / "log").read_text(encoding="utf-8").splitlines())
    assert first["method"] == "POST" and first["target"] == "/postback" and first["status"] == 200
    assert first["body_hex"] == "fffe" and first["body_bytes"] == 2 and ["content-length", "2"] in first["headers"]
    assert any(name == "x-odd" and value.startswith('a"b') for name, value in first["headers"])
    assert second["number"] == 7 and second["status"] == 0 and second["failure"] == "close"
    assert abs(second["ts"] / 1000 - time.time()) < 60 * SLOW


def signed(secret, number, age=0, body=None, field=None):
    """A request with the three fields of Standard Webhooks; body and field are what is sent instead of what was signed."""
    stamp, data = int(time.time()) - age, b"n=%d" % number
    text = b"msg-%d.%d." % (number, stamp) + data
    made = base64.b64encode(hmac.new(base64.b64decode(secret), text, hashlib.sha256).digest()).decode()
    fields = [f"webhook-id: msg-{number}", f"webhook-timestamp: {stamp}", f"webhook-signature: {field or 'v1,' + made}"]
    return post(body or data, *fields)


def test_signatures_are_checked_and_the_bad_ones_told_apart(tmp_path):
    old, new, other = (base64.b64encode(os.urandom(32)).decode() for _ in range(3))
    (tmp_path / "secrets").write_text(f"# rotated\nwhsec_{new}\nwhsec_{old}\n")
    (tmp_path / "secrets").chmod(0o600)
    good = [signed(new, 1), signed(old, 2), signed(new, 3, age=200), signed(new, 4, age=-200)]
    wrong = [signed(other, 5), signed(new, 6, body=b"n=7"), signed(new, 8, field="v1,"), signed(new, 9, field="x" * 300 + " v1,AAAA")]
    stale = [signed(new, 10, age=1000), signed(new, 11, age=-1000)]
    unsigned = [get(12), get(13, "webhook-id: a", "webhook-signature: v1,A"), signed(new, 14, field="v1," + "A" * 5000)]
    requests = good + wrong + stale + unsigned
    with Catch("--secrets", tmp_path / "secrets", "--log", tmp_path / "log") as catch, catch.connect() as connection:
        connection.sendall(b"".join(requests))
        assert statuses(connection, len(requests)) == [200] * len(requests)
        account = catch.account(status=1)
    assert account["signatures"] == {"bad": 9, "good": 4, "unsigned": 3, "stale": 2, "wrong": 4}
    logged = [json.loads(line)["signature"] for line in (tmp_path / "log").read_text().splitlines()]
    assert logged == ["good"] * 4 + ["wrong"] * 4 + ["stale"] * 2 + ["unsigned"] * 3


def test_good_signatures_alone_are_zero_and_a_bad_file_is_named(tmp_path):
    secret = base64.b64encode(os.urandom(24)).decode()
    (tmp_path / "secrets").write_text(f"whsec_{secret}\n")
    (tmp_path / "secrets").chmod(0o600)
    with Catch("--secrets", tmp_path / "secrets", "--tolerance", "1h") as catch, catch.connect() as connection:
        connection.sendall(signed(secret, 1, age=3000))
        assert statuses(connection, 1) == [200]
        assert catch.account()["signatures"]["good"] == 1
    (tmp_path / "secrets").write_text("whsec_short\n")
    result = subprocess.run([MILLRACE, "catch", "--secrets", tmp_path / "secrets"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert result.returncode == 1 and f"{tmp_path}/secrets" in result.stderr and "short" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--answer", "20"], ["--answer", "199"], ["--answer", "600"], ["--answer", "200:2"], ["--answer", "200:"], ["--answer", "/x"],
        ["--answer", "200:0"], ["--answer", "200,"], ["--delay", "fast"], ["--delay", "2s-1s"], ["--delay", "2h"], ["--delay", "-1s"],
        ["--hang", "2"], ["--close", "nan"], ["--close", "/x="], ["127.0.0.1"], ["host:80"], ["--location", "a\r\nb: c"],
        ["--body", "x" * 20000], ["one", "two"],
    ],
)
def test_wrong_use_is_two_and_one_line(arguments):
    result = subprocess.run([MILLRACE, "catch", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert result.returncode == 2, result
    assert result.stdout == "" and result.stderr.count("\n") == 1 and "millrace catch" in result.stderr


def test_an_address_in_use_and_a_log_that_cannot_be_are_named(tmp_path):
    with Catch() as catch:
        for arguments, named in (([f"127.0.0.1:{catch.port}"], str(catch.port)), (["--log", tmp_path / "no" / "log"], "no/log")):
            result = subprocess.run([MILLRACE, "catch", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            assert result.returncode == 1 and named in result.stderr and result.stderr.count("\n") == 1


def test_the_completion_knows_it():
    script = (
        f"source {ROOT}/cli/completion/millrace; "
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _millrace; echo "${COMPREPLY[*]}"; }; '
        f"m={MILLRACE}; try $m catch --; try $m send postback --; try $m send postback --method ''"
    )
    result = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True, env=dict(os.environ))
    caught, sent, methods = result.stdout.splitlines()
    assert {"--answer", "--expect", "--hang"} <= set(caught.split()) and {"--catch", "--batch-size"} <= set(sent.split())
    assert methods.split() == ["GET", "POST", "PUT", "PATCH", "DELETE"]
