"""/live with many clients: what they cost, and that the pipeline does not notice.

`make bench-live` runs it with 1,000 clients and prints the figures; in `make test` there are fewer, and the bounds that depend on an idle
machine are wider.
"""
import json
import os
import selectors
import socket
import statistics
import subprocess
import threading
import time

import pytest

from harness import BUILD, MILLRACE, SLOW, cpu_seconds, default_config, own_bytes, wait_until
from http_help import http_config
from live_help import Live, connect, handshake
from serve_help import serve_address, serve_config

CLIENTS = int(os.environ.get("MILLRACE_LIVE_CLIENTS") or 200)
WHOLE = CLIENTS >= 1000  # the figures that are promised
SPAN_S = 10 if WHOLE else 4
TURNS = 9 if WHOLE else 2


def tell(name, text):
    """A figure, kept as output of the test."""
    folder = BUILD / "test-output"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(text + "\n")
    print(text)


def flow(tmp_path):
    """Every stage of the default: what a tick shows."""
    config = http_config(tmp_path)
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    config["deliver"] = {"processes": 1}
    config["topics"]["delivery"] = {"size": "1MiB"}
    return config


class Crowd:
    """Clients that take what comes without looking at it, as cheaply as can be, and some that never read."""

    def __init__(self, address, readers, others):
        self.selector = selectors.DefaultSelector()
        self.sockets = []
        self.bytes = {}
        self.over = False
        for number in range(readers + others):
            client = connect(address)
            if number >= readers:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(handshake())
            self.sockets.append(client)
            if number < readers:
                client.setblocking(False)
                self.bytes[client] = 0
                self.selector.register(client, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        room = bytearray(1 << 20)
        while not self.over:
            for key, _ in self.selector.select(0.1):
                self.bytes[key.fileobj] += key.fileobj.recv_into(room, 0, socket.MSG_TRUNC)  # thrown away by the kernel
            time.sleep(0.02)

    def close(self):
        self.over = True
        self.thread.join()
        for client in self.sockets:
            client.close()


def rate_of(one):
    """Datagrams a second that are sent as fast as they are taken, and counted."""
    before, began = one.ledger("ip")["written"], time.monotonic()
    subprocess.run([MILLRACE, "send", "udp", "{}:{}".format(*one.address()), "--duration", "2s" if WHOLE else "1s", "--gso", "64", "--apps", "100"],
                   check=True, capture_output=True, timeout=60)
    took = time.monotonic() - began
    return (one.ledger("ip")["written"] - before) / took


@pytest.mark.limit(400)
def test_many_clients_cost_little_and_the_pipeline_nothing(instance, tmp_path):
    one = instance(config=serve_config(tmp_path, flow(tmp_path), answer_timeout="60s"))
    address, pid = serve_address(one), one.pid_of("serve.0")
    with Live(address) as live:  # what is made once is there
        live.until("tick")
    own = cpu_seconds(pid)
    time.sleep(SPAN_S / 2)
    own = (cpu_seconds(pid) - own) / (SPAN_S / 2)
    before = own_bytes(pid)
    crowd = Crowd(address, CLIENTS - CLIENTS // 10, CLIENTS // 10)
    try:
        with Live(address) as live:
            wait_until(lambda: one.stage("serve.0")["metrics"]["live_clients"] == CLIENTS + 1, 60, "all clients")
            length = len(json.dumps(live.until("tick"), separators=(",", ":")))
            got = dict(crowd.bytes)
            ticks, began, used = 0, time.monotonic(), cpu_seconds(pid)
            while time.monotonic() - began < SPAN_S:
                ticks += live.message()["type"] == "tick"
            share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
            size = [crowd.bytes[client] - got[client] for client in got]
            grown = own_bytes(pid) - before
            metrics = one.stage("serve.0")["metrics"]
            tell("live-many-clients", f"{CLIENTS} clients, {CLIENTS // 10} of which never read: {100 * share:.2f} % of a core (alone {100 * own:.2f} %), "
                 f"{grown / 2**20:.1f} MiB more, {ticks} ticks in {SPAN_S} s, {length} bytes each, "
                 f"skipped {metrics['live_ticks_skipped']}")
            assert ticks >= SPAN_S / 3 / SLOW
            assert min(size) > 0
            assert share < (0.05 if WHOLE else 0.05 + 0.05 * SLOW)
            assert grown < (16 << 20)
    finally:
        crowd.close()
    wait_until(lambda: one.stage("serve.0")["metrics"]["live_clients"] == 0, 60, "all to be gone")
    assert one.stage("serve.0")["restarts"] == 0


@pytest.mark.limit(600)
def test_the_rate_of_the_pipeline_does_not_depend_on_clients(instance, tmp_path):
    one = instance(config=serve_config(tmp_path, default_config(tmp_path), answer_timeout="60s"))
    address = serve_address(one)
    rate_of(one)  # warm
    alone, ratios, references = [], [], []
    for _ in range(TURNS):
        before = rate_of(one)
        crowd = Crowd(address, CLIENTS - CLIENTS // 10, CLIENTS // 10)
        try:
            wait_until(lambda: one.stage("serve.0")["metrics"]["live_clients"] == CLIENTS, 60, "all clients")
            watched = rate_of(one)
        finally:
            crowd.close()
        wait_until(lambda: one.stage("serve.0")["metrics"]["live_clients"] == 0, 60, "all to be gone")
        after = rate_of(one)
        alone += [before, after]
        ratios.append(2 * watched / (before + after))
        references.append(after / before)
    spread = statistics.median(abs(1 - reference) for reference in references)
    ratio = statistics.median(ratios)
    tell("live-rate", f"{statistics.median(alone):.0f} datagrams a second without clients, {ratio:.3f} of that with {CLIENTS} "
         f"(two turns without differ by {spread:.3f}; {TURNS} turns of each)")
    assert ratio > (0.95 - spread if WHOLE else 0.3)
    assert one.stage("serve.0")["restarts"] == 0
