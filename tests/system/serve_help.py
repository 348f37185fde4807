"""Instances whose read side listens, and requests to it.

    millrace = instance(config=serve_config(tmp_path))
    reply = ask(serve_address(millrace), "GET", "/api/stat")
"""
import socket
import subprocess
import time

from harness import BUILD, default_config, wait_until
from http_help import Client

DEAD_TOOL = BUILD / "tests" / "dead_tool"
DAY_MS = 86400 * 1000
HOST = "millrace.test"  # what http_help's clients say


def serve_config(tmp_path, base=None, **serve):
    """One address on a port that the kernel chooses."""
    config = base or default_config(tmp_path)
    return {**config, "topics": {"ip": {"size": "1MiB"}, **config["topics"]}, "restart_backoff": "5ms", "restart_backoff_max": "50ms",
            "serve": {"listen": ["127.0.0.1:0"], "hosts": [HOST], **serve}}


def serve_addresses(millrace):
    """Of all addresses that are bound: (host, port), or the path of a Unix socket."""
    found = []
    for text in filter(None, millrace.stage("serve.0")["note"].split(", ")):
        host, _, port = text.rpartition(":")
        if not text.startswith("unix:") and not port.isdigit():
            continue  # not bound: the reason is there
        found.append(text.removeprefix("unix:") if text.startswith("unix:") else (host.strip("[]"), int(port)))
    return found


def serve_address(millrace):
    return wait_until(lambda: serve_addresses(millrace), 20, "an address that is bound")[0]


def raw(address, data, patience_s=20):
    """All that comes back for these bytes, until the server ends the connection or has nothing to say for a second."""
    with Client(address) as client:
        client.socket.settimeout(patience_s)
        try:
            client.send(data)
            client.socket.settimeout(1)
            while True:
                client.more()
        except (EOFError, socket.timeout, ConnectionResetError, BrokenPipeError):
            return client.data


def problem(reply, status):
    """The detail of an error, which must have the form of RFC 9457."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json", reply
    said = reply.json()
    assert said["status"] == status and said["type"] == "about:blank" and said["title"] and said["detail"], said
    return said["detail"]


def write_tokens(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


# ---- dead letters ----


def identity(number):
    return f"1122334455667788{number:016x}"


def make_letters(folder, n):
    """Dead letters 1 to n, the last the newest; two by two they died at the same moment."""
    now = int(time.time() * 1000)
    for number in range(1, n + 1):
        arguments = ["dead", number, 1 + number % 2, 400, "answered 400", now - (n - number) // 2 * DAY_MS]
        subprocess.run([str(DEAD_TOOL), str(folder), *map(str, arguments)], check=True, timeout=60, capture_output=True)
