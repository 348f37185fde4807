"""kill -9 of stages and of the supervisor at random moments, under load: nothing lost, nothing twice.

The test holds the UDP socket, as systemd would, and hands it down to each supervisor, so that what the kernel has queued
outlives even the supervisor. The sender is paced so that the socket's buffer holds what arrives while nobody reads: the
kernel drops nothing, and so every single datagram must be accounted for.
"""
import os
import random
import signal
import socket
import threading
import time

import pytest

from harness import SLOW, default_config, kill_pid, kill_supervisor, processes, wait_until
from load import SOL_UDP, UDP_SEGMENT, Expected, ipevent, random_sha, send_paced, udp_socket

SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
UDP_GRO = 104
OUTAGE_S = 4.0  # the longest time that nobody may read the socket: a restart with its back-off, on a busy machine
BYTES_ALONE = 1280  # of receive buffer that the kernel charges for a datagram of this size that comes alone
BYTES_IN_BURST = 128  # ... that comes with 63 others
BURST = 64


class Held:
    """Bound UDP sockets of one address, with as large buffers as this user may have; they outlive every supervisor."""

    def __init__(self, n=1, buffer_bytes=64 << 20):
        self.sockets = []
        for _ in range(n):
            held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                held.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
            except PermissionError:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            held.setsockopt(SOL_UDP, UDP_GRO, 1)
            if n > 1:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(self.address() if self.sockets else ("127.0.0.1", 0))
            self.sockets.append(held)
        self.buffer_bytes = self.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def address(self):
        return self.sockets[0].getsockname()

    def kernel_drops(self):
        """The ninth word of SO_MEMINFO, summed."""
        words = [s.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36) for s in self.sockets]
        return sum(int.from_bytes(w[32:36], "little") for w in words)

    def close(self):
        for held in self.sockets:
            held.close()


class Sender(threading.Thread):
    """Sends at random in bursts (GSO) and one by one, at rates that the receive buffer outlasts, and keeps the account."""

    def __init__(self, address, buffer_bytes, seed):
        super().__init__()
        self.seed = seed
        self.rng = random.Random(seed)
        self.expected = Expected()
        self.burst_rate = min(250000, buffer_bytes / BYTES_IN_BURST / OUTAGE_S) / SLOW
        self.single_rate = min(10000, buffer_bytes / BYTES_ALONE / OUTAGE_S) / SLOW
        self.stopping = threading.Event()
        self.problem = None
        self.single = udp_socket(address)
        self.burst = udp_socket(address)
        shas = [random_sha(self.rng) for _ in range(3000)]
        self.bad = b"\x0f" + self.rng.randbytes(70)  # wire type 7 does not exist
        # Addresses with the top bit set all make datagrams of 72 bytes, as one GSO send wants them.
        self.bursts = []
        for _ in range(50):
            events = [(self.rng.choice(shas), self.rng.randrange(1 << 31, 1 << 32)) for _ in range(BURST)]
            self.bursts.append((events, b"".join(ipevent(*event) for event in events)))
        self.burst.setsockopt(SOL_UDP, UDP_SEGMENT, len(ipevent(*self.bursts[0][0][0])))

    def send_burst(self):
        events, data = self.rng.choice(self.bursts)
        self.burst.send(data)
        for event in events:
            self.expected.valid(*event)
        return len(events)

    def send_single(self):
        if self.rng.random() < 0.1:
            self.single.send(self.bad)
            self.expected.corrupt("malformed")
        else:
            event = self.rng.choice(self.rng.choice(self.bursts)[0])
            self.single.send(ipevent(*event))
            self.expected.valid(*event)
        return 1

    def run(self):
        try:
            while not self.stopping.is_set():
                bursts = self.rng.random() < 0.5
                send, rate = (self.send_burst, self.burst_rate) if bursts else (self.send_single, self.single_rate)
                began, sent = time.monotonic(), 0
                while time.monotonic() - began < 0.3 and not self.stopping.is_set():
                    if sent / rate > time.monotonic() - began:
                        time.sleep(0.0005)
                    else:
                        sent += send()
        except OSError as error:
            self.problem = error

    def end(self):
        self.stopping.set()
        self.join()
        self.single.close()
        self.burst.close()


def kill_a_stage(millrace, rng):
    """Kills one of the supervisor's children; returns its program's name, or None when there was none alive.

    A stage is idle most of the time, so half of the victims are first held for a moment: what they find then keeps them
    busy, and the kill comes in the midst of it.
    """
    stages = sorted(processes.children(of=millrace.process.pid).items())
    if not stages:
        return None
    pid, command = rng.choice(stages)
    name = os.path.basename(command.split()[0]) if command else "?"
    if rng.random() < 0.5:
        try:
            processes.pause(pid)
        except ProcessLookupError:
            return None
        time.sleep(rng.uniform(0.05, 0.3))
        processes.resume(pid)
        time.sleep(rng.uniform(0, 0.004 if name == "ingest-udp" else 0.008) * SLOW)
    return name if kill_pid(pid) else None


def restarts(millrace):
    return {stage["name"]: stage["restarts"] for stage in millrace.stat()["stages"]}


def crash_config(tmp_path, held, backend="auto"):
    config = default_config(tmp_path)
    host, port = held.address()
    config["ingest"]["udp"][0].update(
        listen=f"{host}:{port}", processes=len(held.sockets), receive_buffer="64MiB", backend=backend
    )
    config["topics"]["ip"]["size"] = "64MiB"
    config["tally"]["commit_interval"] = "20ms"  # so that many kills fall into a commit
    return config


def check_account(millrace, held, expected):
    """Every datagram that was sent is received, judged and, when valid, counted once."""
    assert held.kernel_drops() == 0
    stat = millrace.settle("ip", expected.sent, timeout=30)
    ledger = millrace.ledger("ip", stat)
    assert {k: v for k, v in ledger["rejected"].items() if v} == expected.rejected
    assert (ledger["received"], ledger["kernel_dropped"]) == (expected.sent, 0)
    assert (ledger["written"], ledger["dropped"], ledger["refused"]) == (expected.n_valid(), 0, 0)
    group = millrace.group("ip", "tally", stat)
    assert (group["read_records"], group["missed_records"], group["waiting_records"]) == (expected.n_valid(), 0, 0)
    assert millrace.counts() == expected.count
    for sha in sorted(expected.count)[:20]:
        assert millrace.report(sha) == expected.report(sha)
    return stat


@pytest.mark.limit(240)
@pytest.mark.parametrize(
    "kills, processes_, backend", [(54, 1, "auto"), (20, 2, "recvmmsg")], ids=["54_kills", "20_kills_of_two_recvmmsg_processes"]
)
def test_kills_at_random_moments_lose_nothing_and_count_nothing_twice(instance, tmp_path, rng, kills, processes_, backend):
    held = Held(processes_)
    millrace = instance(config=crash_config(tmp_path, held, backend), sockets=held.sockets)
    sender = Sender(held.address(), held.buffer_bytes, rng.random())
    killed = {}
    sender.start()
    try:
        while sum(killed.values()) < kills:
            time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0.1, 0.6), rng.uniform(0.5, 1.2)]) * SLOW)
            if rng.random() < 0.2:
                kill_supervisor(millrace, rng, processes.children(of=millrace.process.pid), 10)
                name = "supervisor"
            else:
                name = kill_a_stage(millrace, rng)
            if name:
                killed[name] = killed.get(name, 0) + 1
            assert millrace.process.poll() is None, millrace.log()[-3000:]
        millrace.wait_running(60)
        time.sleep(0.5)
    finally:
        sender.end()
    assert sender.problem is None
    print(f"killed {killed}; sent {sender.expected.sent}; seed of the sender {sender.seed}")
    stat = check_account(millrace, held, sender.expected)
    recovered = {}
    for stage in stat["stages"]:
        for name, value in stage["metrics"].items():
            if name.startswith("recovered"):
                recovered[name] = recovered.get(name, 0) + value
    print(f"taken up by next lives: {recovered}")
    assert set(killed) >= {"ingest-udp", "tally"}
    restarts = sum(stage["restarts"] for stage in stat["stages"])
    assert restarts >= (sum(killed.values()) - killed.get("supervisor", 0)) / 2, (restarts, killed)
    held.close()


@pytest.mark.limit(120)
def test_each_role_killed_alone_is_restarted_and_counted(instance, tmp_path, rng):
    held = Held()
    millrace = instance(config=crash_config(tmp_path, held), sockets=held.sockets)
    sender = Sender(held.address(), held.buffer_bytes, rng.random())
    sender.start()
    try:
        for role in ("ingest-udp.0", "tally.0"):
            before = millrace.stage(role)
            time.sleep(rng.uniform(0.2, 0.5))
            os.kill(before["pid"], signal.SIGKILL)

            def back():
                after = millrace.stage(role)
                return after if after["state"] == "running" and after["pid"] != before["pid"] else None

            after = wait_until(back, 10, f"{role}'s next life", pause=0.01)
            assert after["restarts"] == before["restarts"] + 1
    finally:
        sender.end()
    check_account(millrace, held, sender.expected)
    held.close()


@pytest.mark.limit(60)
def test_the_stages_end_when_their_supervisor_is_killed_and_what_they_took_is_counted(instance, rng):
    millrace = instance(sets=["tally.commit_interval=30s"])
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, i) for i in range(3000)], 15000 / SLOW)
    wait_until(lambda: millrace.ledger("ip")["received"] == 3000, 10, "all received")
    stages = [s["pid"] for s in millrace.stat()["stages"]]
    millrace.kill()
    wait_until(lambda: not set(stages) & set(processes.children()), 10, "the end of the stages")
    millrace.start()
    millrace.settle("ip", 3000)
    assert millrace.report(sha)["count"] == 3000
