"""Postbacks in, requests out: an instance with the stage that delivers, and receivers that note every request.

    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        post(millrace, receiver.url("/data?n={n}"), [{"n": 1}])
        receiver.wait(1)
"""
import contextlib
import os
import signal
import socket
import sqlite3
import struct
import threading
import time
from collections import Counter, namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import SLOW, kill_pid, wait_until
from http_help import Client, http_address, http_config

Request = namedtuple("Request", "at method path headers body")
ID = "idempotency-key"
HEADER_BYTES = 4096     # of a segment, before its body
HANDLING_OFFSET = 2240  # of `handling` in struct deliver_private


def deliver_config(tmp_path, queue=None, allow=("127.0.0.0/8", "::1"), **deliver):
    """One HTTP listener and the stage that delivers, allowed to send to loopback; retries come soon."""
    config = http_config(tmp_path, queue=queue or {"slots": 4096, "slot_size": 1024})
    config["topics"]["delivery"] = {"size": "4MiB"}
    base = {"guard": {"allow": list(allow)}, "retry": {"schedule": ["200ms"] * 20, "jitter": "0"}, "commit_interval": "20ms",
            "drain_timeout": "5s", "in_flight": 256, "dns": {"servers": ["127.0.0.1:1"], "timeout": "200ms", "tries": 1}}
    return {**config, "deliver": {**base, **deliver}}


def kill_role(millrace, role="deliver.0"):
    """kill -9, and the next life."""
    pid = millrace.pid_of(role)
    kill_pid(pid)
    return wait_new_life(millrace, role, pid)


def wait_new_life(millrace, role, pid):
    def there():
        stat = millrace.try_stat()
        stage = stat and next((s for s in stat["stages"] if s["name"] == role), None)
        return stage["pid"] if stage and stage["state"] == "running" and stage["pid"] != pid else None

    return wait_until(there, 20, f"the next life of {role}")


def die_at(millrace, role, postback):
    """Makes it look as if the process died while it worked on this postback (deliver/suspects.h)."""
    pid = millrace.pid_of(role)
    os.kill(pid, signal.SIGSTOP)
    with open(millrace.directory / f"{role}.private", "r+b") as private:
        private.seek(HEADER_BYTES + HANDLING_OFFSET)
        private.write(struct.pack("<QQ", int(postback[:16], 16), int(postback[16:], 16)))
    kill_pid(pid)
    return wait_new_life(millrace, role, pid)


def post(millrace, url, data, method="GET", address=None):
    """POST /ingest; returns the answer."""
    with Client(address or http_address(millrace)) as client:
        return client.ask("POST", "/ingest", {"endpoint": {"method": method, "url": url}, "data": data})


def accept(millrace, url, data, method="GET"):
    reply = post(millrace, url, data, method)
    assert (reply.status, reply.json()) == (202, {"accepted": len(data)}), reply


def stage_metric(millrace, name, stage="deliver"):
    return sum(s["metrics"][name] for s in millrace.stat()["stages"] if s["program"] == stage)


def wait_stage_metric(millrace, name, value, timeout=20):
    last = []

    def reached():
        last[:] = [stage_metric(millrace, name)]
        return last[0] == value

    try:
        wait_until(reached, timeout, f"{name} = {value}")
    except AssertionError as error:
        raise AssertionError(f"{error}, but {last[0]}\n{millrace.log()[-3000:]}") from None


def queue_counts(millrace, stat=None):
    return next(q for q in (stat or millrace.stat())["queues"] if q["queue"] == "postback")


class Database:
    """deliver.db as other tools see it."""

    def __init__(self, tmp_path):
        self.path = tmp_path / "data" / "deliver.db"

    def rows(self, query, *arguments):
        """None as long as the file is not there, or has no tables yet."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as database:
                database.row_factory = sqlite3.Row
                return [dict(row) for row in database.execute(query, arguments)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error) or not self.path.exists():
                return []
            raise

    def dead(self):
        return self.rows("SELECT * FROM dead ORDER BY dead_ms")

    def waiting(self):
        return self.rows("SELECT * FROM waiting")


def wait_dead(millrace, tmp_path, n):
    """Until n postbacks are dead letters: the metric tells of the decision, deliver.db of the letter."""
    wait_stage_metric(millrace, "dead", n)
    wait_until(lambda: len(Database(tmp_path).dead()) >= n, 20, f"{n} dead letters in deliver.db")


class Receiver:
    """An HTTP/1.1 server on loopback that notes every request. answer(request) -> (status, headers, body); it may wait, and None closes the
    connection without an answer."""

    def __init__(self, answer=None, host="127.0.0.1", port=0):
        self.answer = answer or (lambda request: (200, {}, b"ok"))
        self.requests = []
        self.lock = threading.Lock()
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                with outer.lock:
                    outer.connections += 1

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(time.time(), self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with outer.lock:
                    outer.requests.append(request)
                answer = outer.answer(request)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, text = answer
                head = [f"HTTP/1.1 {status} X"] + [f"{k}: {v}" for k, v in headers.items()] + [f"Content-Length: {len(text)}", "", ""]
                self.wfile.write("\r\n".join(head).encode() + (text if self.command != "HEAD" else b""))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, *arguments):
                pass

        self.server = Server((host, port), Handler)
        self.host, self.port = self.server.server_address[:2]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def url(self, path="/", host=None):
        host = host or self.host
        return f"http://[{host}]:{self.port}{path}" if ":" in host else f"http://{host}:{self.port}{path}"

    def seen(self):
        with self.lock:
            return list(self.requests)

    def wait(self, n, timeout=20):
        """The first n requests, once there are so many."""
        try:
            wait_until(lambda: len(self.requests) >= n, timeout, f"{n} requests")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {len(self.requests)}") from None
        return self.seen()

    def wait_distinct(self, n, timeout=20):
        """Until so many different postbacks have come. Returns how often each came, by id."""
        wait_until(lambda: len(self.by_id()) >= n, timeout, f"{n} postbacks", pause=0.1)
        return self.by_id()

    def by_id(self):
        return Counter(request.headers[ID] for request in self.seen())


class Silent:
    """Takes connections and never answers."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self.socket.close()

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"


def free_port():
    """A port on which nobody listens (for the moment)."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def pause(seconds):
    time.sleep(seconds * SLOW)
