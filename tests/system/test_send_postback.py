"""millrace send postback: against an instance that keeps the postbacks in its queue, and, with --catch, against a server of the
test that delivers them."""
import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest

from harness import MILLRACE, ROOT, SLOW
from http_help import events, http_address, http_config
from http_server import Server, answer

PATIENCE_S = 40 * SLOW
POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue


def send(address, *arguments, json_out=True):
    return subprocess.run(
        [str(MILLRACE), "send", "postback", address, *(["--json"] if json_out else []), *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )


def numbers(path):
    return sorted(int(line) for line in path.read_text().splitlines())


def posted(server):
    """What the server was sent: the endpoints, and all elements."""
    bodies = [json.loads(body) for _, _, _, body in server.requests]
    return [body["endpoint"] for body in bodies], [element for body in bodies for element in body["data"]]


# ---- what is sent ----


def test_an_instance_takes_them_and_has_each_in_its_queue(instance, tmp_path):
    millrace = instance(config=http_config(tmp_path, queue={"slots": 1024, "slot_size": 1024}))
    host, port = http_address(millrace)
    began_us = time.time_ns() // 1000
    result = send(f"{host}:{port}", "-n", 50, "-b", 4, "-c", 3, "--first", 1001, "--size", 100, "--acknowledged", tmp_path / "numbers")
    assert result.returncode == 0, result.stderr
    account = json.loads(result.stdout)
    assert account["codes"] == {"202": 50} and account["acknowledged_events"] == 200
    queued = events(millrace, "postback")
    assert sorted(one["data"]["n"] for one in queued) == numbers(tmp_path / "numbers") == list(range(1001, 1201))
    for one in queued:
        assert one["url"] == "http://127.0.0.1:9000/postback?n={n}&t={t}" and one["method"] == "GET"
        assert began_us <= one["data"]["t"] <= time.time_ns() // 1000 and len(one["data"]["data"]) == 100
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()


def test_a_full_queue_is_told_on_and_only_what_was_accepted_is_written(instance, tmp_path):
    millrace = instance(config=http_config(tmp_path, queue={"slots": 64, "slot_size": 1024}))
    host, port = http_address(millrace)
    result = send(f"{host}:{port}", "-n", 100, "-c", 1, "--acknowledged", tmp_path / "numbers")
    account = json.loads(result.stdout)
    assert result.returncode == 1 and account["codes"]["202"] == account["acknowledged_events"] == 64
    assert account["codes"]["503"] == 36
    assert sorted(one["data"]["n"] for one in events(millrace, "postback")) == numbers(tmp_path / "numbers")
    assert millrace.stop() == POSTBACKS_WAIT, millrace.log()


@pytest.mark.parametrize(
    "method, endpoint, url",
    [
        ("GET", "http://h/x", "http://h/x?n={n}&t={t}"),
        ("GET", "http://h/x?a=1", "http://h/x?a=1&n={n}&t={t}"),
        ("DELETE", "http://h/{n}/x", "http://h/{n}/x"),
        ("POST", "http://h/x", "http://h/x"),
        ("PUT", "https://h/x?d={data}", "https://h/x?d={data}"),
        ("PATCH", "http://h/x", "http://h/x"),
    ],
)
def test_the_endpoint_is_a_template_that_carries_the_number(method, endpoint, url):
    with Server() as server:
        assert send(server.address, "-n", 3, "--method", method, "--endpoint", endpoint).returncode == 0
    endpoints, elements = posted(server)
    assert endpoints == [{"method": method, "url": url}] * 3
    assert sorted(element["n"] for element in elements) == [1, 2, 3] and all("data" not in element for element in elements)


def test_the_pace_is_kept_and_the_token_arrives():
    with Server() as server:
        began = time.monotonic()
        result = send(server.address, "-n", 100, "--rate", 250, "--token", "abc")
        took = time.monotonic() - began
    assert result.returncode == 0 and took >= 0.39
    assert {headers["authorization"] for _, _, headers, _ in server.requests} == {"Bearer abc"}


# ---- with a receiver ----


class Deliverer(Server):
    """Takes /ingest and sends each postback on: twice each `twice`-th, never each `lose`-th number."""

    def __init__(self, twice=0, lose=0):
        super().__init__(Deliverer.take)
        self.twice = twice
        self.lose = lose
        self.sending = []

    def deliver(self, elements, url, method):
        for element in elements:
            filled = url
            for key, value in element.items():
                filled = filled.replace("{%s}" % key, urllib.parse.quote(str(value), safe=""))
            body = None if method == "GET" else urllib.parse.urlencode(element).encode()
            number = element["n"]
            if self.lose and number % self.lose == 0:
                continue
            for _ in range(2 if self.twice and number % self.twice == 0 else 1):
                request = urllib.request.Request(filled, body, {"Idempotency-Key": f"id-{number}"}, method=method)
                try:
                    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
                        assert reply.status == 200
                except OSError:
                    pass  # the second of the last one comes when the receiver has ended; a loss shows in the account

    def take(self, _method, _target, _headers, body):
        message = json.loads(body)
        arguments = (message["data"], message["endpoint"]["url"], message["endpoint"]["method"])
        thread = threading.Thread(target=self.deliver, args=arguments)
        with self.lock:
            self.sending.append(thread)
        thread.start()
        return answer(202, json.dumps({"accepted": len(message["data"])}).encode())

    def __exit__(self, *_):
        super().__exit__()
        for thread in self.sending:
            thread.join()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_with_catch_it_waits_until_all_has_come(method):
    with Deliverer(twice=10) as server:
        result = send(server.address, "-n", 40, "-b", 2, "-c", 2, "--size", 20, "--method", method, "--catch", json_out=False)
    assert result.returncode == 0, result.stderr
    line = result.stdout.splitlines()[-1]
    found = re.fullmatch(r"sent 80, delivered 80, duplicates (\d+), missing 0, latency p50 \S+ ms, p99 \S+ ms", line)
    assert found and int(found.group(1)) <= 8, result.stdout  # it ends with the last that was missing


def test_with_catch_what_does_not_come_is_missing_and_is_one():
    with Deliverer(lose=5) as server:
        result = send(server.address, "-n", 20, "--catch", "--wait", "500ms")
    account = json.loads(result.stdout)
    assert result.returncode == 1 and account["expected"] == {"sent": 20, "delivered": 16, "missing": 4}
    assert account["duplicates"] == account["other_id"] == 0


def test_with_catch_and_nothing_delivered_it_says_what_may_be_wrong():
    with Server() as server:
        result = send(server.address, "-n", 5, "--catch", "--wait", "200ms")
    assert result.returncode == 1 and "nothing was delivered" in result.stderr and result.stderr.count("\n") == 1
    assert json.loads(result.stdout)["expected"] == {"sent": 5, "delivered": 0, "missing": 5}


# ---- wrong use, help ----


@pytest.mark.parametrize(
    "arguments",
    [
        ["--endpoint", 'http://h/"'], ["--endpoint", "http://h/#x"], ["--endpoint", "http://h/" + "x" * 2000], ["--method", "HEAD"],
        ["--size", "100000"], ["--batch-size", "10000", "--size", "60000"], ["--token", "a b"], ["--first", "0"],
        ["--catch", "--endpoint", "http://h/"], ["--connections", "50000", "--pipeline", "1024"], ["one", "two"], ["--ctch"],
    ],
)
def test_wrong_use_is_two_and_one_line(arguments):
    result = subprocess.run([MILLRACE, "send", "postback", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result
    assert result.stdout == "" and result.stderr.count("\n") == 1 and "millrace send postback" in result.stderr


def test_the_manual_page_knows_all_options_and_the_help_says_what_the_guard_needs():
    text = subprocess.run([MILLRACE, "send", "postback", "--help"], capture_output=True, text=True, check=True).stdout
    assert "deliver.guard.allow" in text and "millrace-send(1)" in text
    page = (ROOT / "docs" / "man" / "millrace-send.1").read_text()
    section = page[page.index(".Ss POSTBACK") :]
    for option in set(re.findall(r"^ .{5}--([a-z-]+)", text, re.M)) - {"help"}:
        assert re.search(rf"^\.It .*Fl -{option}\b", section, re.M), option
