"""Instances that take HTTP, and clients for them that show every byte.

    millrace = instance(config=http_config(tmp_path, backend))
    with Client(http_addresses(millrace)[0]) as client:
        reply = client.ask("POST", "/event", METRIC)
        reply.status, reply.headers, reply.body, reply.json()
"""
import ctypes
import errno
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections import namedtuple

from harness import MILLRACE, SLOW, wait_until

LISTENER = re.compile(r"^http (\S+) -> ", re.MULTILINE)
JSON_TYPE = "Content-Type: application/json"
EXAMPLE = {"username": "kodingbot", "count": 12412414, "metric": "kite_call"}
LOG_EXAMPLE = {"text": "hello world", "content_id": 1, "client_id": 1, "timestamp": 1586846680064}
OK_BODY = b'{"status":"ok"}'
PATIENCE_S = 20
IO_URING_SETUP = 425  # the same number on all architectures

Reply = namedtuple("Reply", "status headers body")
Reply.json = lambda self: json.loads(self.body)


# ---- instances ----


def uring_allowed():
    """io_uring_setup(0, NULL) fails with EFAULT or EINVAL where it is allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(IO_URING_SETUP, 0, None)
    return ctypes.get_errno() in (errno.EFAULT, errno.EINVAL)


def http_config(tmp_path, backend="auto", listen="127.0.0.1:0", topics=None, queue=None, **entry):
    """One ingest.http entry, everything small."""
    small = {topic: {"size": "1MiB"} for topic in ("metric", "log", "track.raw", "track")}
    return {
        "data_dir": str(tmp_path / "data"),
        "drain_timeout": "20s",
        "restart_backoff": "5ms",
        "restart_backoff_max": "50ms",
        "ingest": {"udp": [], "http": [{"listen": listen, "backend": backend, "max_connections": 1000,
                                        "request_memory": "16MiB", **entry}]},
        "topics": {**small, **(topics or {})},
        "queues": {"postback": queue or {"slots": 1024, "slot_size": 1024}},
        "deliver": {"processes": 0},
    }


def http_addresses(millrace):
    """Of all listeners, in the order of their announcement: (host, port), or the path of a Unix socket."""
    found = []
    for text in LISTENER.findall(millrace.log()):
        host, _, port = text.rpartition(":")
        found.append(text.removeprefix("unix:") if text.startswith("unix:") else (host.strip("[]"), int(port)))
    return found


def http_address(millrace):
    return http_addresses(millrace)[0]


def url_of(address, path=""):
    host, port = address
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


def metric(millrace, name, role="ingest-http"):
    """A counter, summed over all processes of the role."""
    return sum(stage["metrics"][name] for stage in millrace.stat()["stages"] if stage["program"] == role)


def wait_metric(millrace, name, value):
    """Counters come out twice a second."""
    last = []

    def reached():
        last[:] = [metric(millrace, name)]
        return last[0] == value

    try:
        wait_until(reached, PATIENCE_S, f"{name} = {value}")
    except AssertionError as error:
        raise AssertionError(f"{error}, but {last[0]}") from None


def events(millrace, topic):
    """All that are in memory, of a topic or a queue."""
    result = millrace.millrace("tap", topic, "--last", "1G", "--no-follow", "--format", "json")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def check_ledger(millrace, topic, **expected):
    """The ledger adds up, and its sums are these; rejected is the sum over all reasons."""
    entry = millrace.ledger(topic)
    entry["rejected"] = sum(entry["rejected"].values())
    assert entry["balanced"] and entry["dropped"] == 0, entry
    assert {key: entry[key] for key in expected} == expected, entry


# ---- clients ----


def connect(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(PATIENCE_S * SLOW)
    client.connect(address)
    if family != socket.AF_UNIX:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def request_bytes(method, target, body=None, *fields):
    """A dict goes as JSON. Fields are whole lines."""
    lines = [f"{method} {target} HTTP/1.1", "Host: millrace.test", *fields]
    if isinstance(body, (dict, list)):
        lines.append(JSON_TYPE)
        body = json.dumps(body).encode()
    if body is not None and not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Client:
    """One connection."""

    def __init__(self, address):
        self.socket = connect(address)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        received = self.socket.recv(65536)
        if not received:
            raise EOFError(f"the connection has ended after {self.data!r}")
        self.data += received

    def reply(self, method="GET"):
        """The next answer."""
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(headers) == len(lines), f"a field comes twice: {lines}"
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(self.data) < length:
            self.more()
        body, self.data = self.data[:length], self.data[length:]
        return Reply(int(status), headers, body)

    def ask(self, method, target, body=None, *fields):
        self.send(request_bytes(method, target, body, *fields))
        return self.reply(method)

    def ends(self):
        """True when the server closes without a further word; fails when something comes."""
        try:
            received = self.socket.recv(1)
        except ConnectionResetError:
            return True
        assert received == b"" and self.data == b"", received + self.data
        return True


def ask(address, method, target, body=None, *fields):
    """One request on a connection of its own."""
    with Client(address) as client:
        return client.ask(method, target, body, *fields)


def chunks(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Load:
    """`millrace send http` in the background; end() gives its account."""

    def __init__(self, address, tmp_path, *arguments, name="numbers"):
        self.file = tmp_path / name
        self.out = tmp_path / f"{name}.account"
        to = f"unix:{address}" if isinstance(address, str) else url_of(address)
        command = [str(MILLRACE), "send", "http", to, "--json", "--acknowledged", str(self.file), *map(str, arguments)]
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def running(self):
        return self.process.poll() is None

    def end(self, interrupt=True):
        if interrupt and self.running():
            self.process.send_signal(signal.SIGTERM)
        self.status = self.process.wait(timeout=60 * SLOW)
        text = self.out.read_text()
        at = text.find("{\n")
        assert at != -1, text
        return json.JSONDecoder().raw_decode(text[at:])[0]

    def discard(self):
        if self.running():
            self.process.kill()
        self.process.wait()

    def acknowledged(self):
        return [int(line) for line in self.file.read_text().splitlines()]


class Knocker(threading.Thread):
    """Makes connection after connection, as long as it is let: none may be refused."""

    def __init__(self, address, talk=None):
        super().__init__()
        self.address = address
        self.talk = talk
        self.refused = self.taken = self.broken = 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            try:
                with connect(self.address) as client:
                    self.taken += 1
                    if self.talk:
                        self.talk(client)
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                self.broken += 1
            time.sleep(0.002)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()
