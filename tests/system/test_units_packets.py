"""Packets past the kernel where systemd runs the roles: a process of its own has the rights and hands the sockets to the stages. In the lab of
test_packets.py, with the stand-in for systemd (units_help.py)."""
import json
import signal
import socket
import threading
import time

import pytest

import packet_help
from harness import SLOW, kill_pid, wait_until
from packet_help import SERVER, SO_RCVBUFFORCE
from test_packets import PORT, ROLE, XDP, Kept
from units_help import NAMES, managed_instance

pytestmark = pytest.mark.skipif(packet_help.missing() != "", reason=packet_help.missing())

HOLDER, STAGE = "millrace-packets.service", "millrace-ingest-udp@0.service"
KILLS = 6


@pytest.fixture(scope="module")
def lab():
    with Kept() as one:
        yield one


@pytest.fixture
def managed(lab, instance, tmp_path):
    udp = lab.socket(lab.server_name, socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
    udp.bind(("::", PORT))
    made = managed_instance(instance, tmp_path, udp, [*NAMES, HOLDER], listen=[f"[::]:{PORT}"], backend="xdp", interface="server0", frames=32768)
    manager = next(made)
    manager.config["topics"]["ip"]["size"] = "64MiB"
    manager.one.write_config(manager.config)
    manager.wrapper[HOLDER] = lab.inside(lab.server_name)
    yield manager
    next(made, None)


class Sender(threading.Thread):
    def __init__(self, lab, n):
        super().__init__()
        self.lab, self.n = lab, n

    def run(self):
        self.result = self.lab.client("send", "udp", f"{SERVER}:{PORT}", *XDP, "--count", self.n, "--sources", 500, "--from", "10.77.1.0/24", "--json",
                                      "--rate", int(20000 / SLOW), timeout=120)

    def sent(self):
        self.join()
        assert self.result.returncode == 0, self.result.stderr
        return json.loads(self.result.stdout)["sent"]


def taken(managed):
    return managed.one.stage(ROLE)["metrics"]["xdp_redirected"]


def flooded(managed, lab, count):
    """Everything runs, and takes packets past the kernel from this sender on."""
    managed.start()
    sender = Sender(lab, count)
    sender.start()
    wait_until(lambda: taken(managed) > 0, 20, "packets past the kernel")
    return sender


def settled(managed, n):
    stat = managed.one.settle("ip", received=n, timeout=30)
    ledger = managed.one.ledger("ip", stat)
    assert (ledger["received"], ledger["written"], ledger["kernel_dropped"]) == (n, n, 0), ledger


@pytest.mark.limit(180)
def test_packets_are_handed_to_the_stage_and_no_kill_loses_any(managed, lab, rng):
    order = managed.sorted()
    assert order.index(HOLDER) < order.index(STAGE)
    managed.start()
    assert "handed to a stage role=ingest-udp.0 queues=1" in managed.one.log_file.read_text()
    sender = Sender(lab, 60000)
    sender.start()
    wait_until(lambda: taken(managed) > 0, 20, "packets past the kernel")
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 0.3))
        kill_pid(managed.process[STAGE].pid)
        managed.process[STAGE].wait()
        wait_until(lambda: managed.turn() or managed.ready(managed.process[STAGE].pid), 20, "the next life")
    settled(managed, sender.sent())
    assert set(managed.stop().values()) == {0}
    assert "xdp" not in lab.server_link()


@pytest.mark.limit(180)
def test_a_holder_that_dies_is_followed_by_the_next_and_loses_nothing(managed, lab):
    sender = flooded(managed, lab, 60000)
    before = managed.process[STAGE].pid
    kill_pid(managed.process[HOLDER].pid)
    managed.process[HOLDER].wait()
    wait_until(lambda: managed.turn() or managed.one.log_file.read_text().count("handed to a stage role=ingest-udp.0 queues=1") == 2, 30,
               "the next life of both")
    assert managed.process[STAGE].pid != before
    settled(managed, sender.sent())
    assert set(managed.stop().values()) == {0}


@pytest.mark.limit(180)
def test_an_upgrade_and_a_reload_renew_the_holder_and_lose_nothing(managed, lab):
    sender = flooded(managed, lab, 100000)
    holder = managed.process[HOLDER].pid
    result = managed.millrace("upgrade")
    assert result.returncode == 0, result
    assert managed.process[HOLDER].pid != holder and ("try-restart", HOLDER) in managed.commands
    holder = managed.process[HOLDER].pid
    managed.config["ingest"]["udp"][0]["frames"] = 16384
    managed.one.write_config(managed.config)
    result = managed.millrace("reload")
    assert result.returncode == 0 and "ingest-udp.0: starts again" in result.stdout, result
    assert managed.process[HOLDER].pid != holder
    managed.process[HOLDER].send_signal(signal.SIGHUP)
    settled(managed, sender.sent())
    before = taken(managed)
    again = Sender(lab, 5000)
    again.start()
    assert again.sent() == 5000
    wait_until(lambda: taken(managed) == before + 5000, 10, "packets past the kernel, not through it")
    assert set(managed.stop().values()) == {0}


def test_without_a_holder_the_ordinary_socket_serves(managed, lab):
    del managed.units[HOLDER]
    managed.start()
    assert "packets are not taken from the interface: the ordinary sockets serve role=ingest-udp.0" in managed.one.log_file.read_text()
    sender = Sender(lab, 5000)
    sender.start()
    settled(managed, sender.sent())
    assert set(managed.stop().values()) == {0}
