"""The back-end xdp: packets past the kernel, in a lab of two network namespaces. Needs root; skipped otherwise.

make crash-packets (MILLRACE_KILLS=50) makes the tests of kills longer.
"""
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import packet_help
from harness import ROOT, SLOW, Instance, default_config, kill_pid, processes, wait_until
from packet_help import CLIENT_MAC, SERVER, SERVER6, SERVER_MAC, Lab, ones_sum

pytestmark = pytest.mark.skipif(packet_help.missing() != "", reason=packet_help.missing())

PORT = 4002
ROLE = "ingest-udp.0"
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
SHA = "ab" * 32
WITHOUT = "packets are not taken from the interface: the ordinary sockets serve"
XDP = ("--backend", "xdp", "--interface", "client0")
MODES = {"generic": 1, "copy": 2, "zero-copy": 3}


class Kept(Lab):
    """One of which no process is left while tests come and go."""

    def __init__(self, *options):  # pylint: disable=super-init-not-called
        self.name = f"t{os.getpid()}-{random.randrange(1 << 24):06x}"
        self.client_name, self.server_name = f"{self.name}-client", f"{self.name}-server"
        self.script("--keep", "--quiet", *options)

    def script(self, *options):
        subprocess.run([str(ROOT / "scripts" / "packet-lab"), "--name", self.name, *map(str, options)], check=True, stdout=subprocess.DEVNULL)

    def __exit__(self, *_):
        self.script("--remove")

    def server_link(self):
        """The server's end, and what programs are on it."""
        return self.run(self.server_name, "ip", "-d", "link", "show", "server0").stdout

    def connect(self):
        """Makes the pair anew after one end was deleted."""
        for command in (
            f"ip link add name client0 address {CLIENT_MAC.hex(':')} netns {self.client_name} type veth "
            f"peer name server0 address {SERVER_MAC.hex(':')} netns {self.server_name}",
            f"ip -n {self.client_name} address add 10.77.0.2/16 dev client0",
            f"ip -n {self.server_name} address add {SERVER}/16 dev server0",
            f"ip netns exec {self.client_name} ethtool -K client0 tx off",
            f"ip -n {self.client_name} link set client0 up",
            f"ip -n {self.server_name} link set server0 up",
        ):
            subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def lab():
    with Kept("--mtu", 3000) as one:
        yield one


def config_for(tmp_path, **options):
    config = default_config(tmp_path)
    config["ingest"]["udp"] = [
        {"listen": [f"[::]:{PORT}"], "format": "ipevent", "backend": "xdp", "interface": "server0", "buffers": 64, "frames": 32768,
         "receive_buffer": "64MiB", **options}
    ]
    config["topics"]["ip"]["size"] = "64MiB"
    # kills in a row must not keep the stage away for so long that the ordinary socket is full
    config.update(restart_backoff="1ms", restart_backoff_max="20ms")
    return config


def made(lab, tmp_path, shm_root, wrapper=(), **options):
    return Instance(tmp_path, shm_root, config_for(tmp_path, **options), wrapper=[*lab.inside(lab.server_name), *wrapper])


def metrics(one, role=ROLE):
    return one.stage(role)["metrics"]


def shown(one, role=ROLE, **wanted):
    """What the card and the program count is set by a tick: the metrics once they are as wanted."""
    def look():
        now = metrics(one, role)
        return now if all(now[name] == value for name, value in wanted.items()) else None
    try:
        return wait_until(look, 5, f"{wanted}")
    except AssertionError:
        now = metrics(one, role)
        raise AssertionError(f"wanted {wanted}, got { {name: now[name] for name in wanted} }") from None


def rejected(one, stat=None):
    return {reason: n for reason, n in one.ledger("ip", stat)["rejected"].items() if n > 0}


# ---- frames, built byte by byte ----


def event(number):
    """An IpEvent, of another address each time."""
    varint, value = b"", 1 + number
    while value >= 0x80:
        varint, value = varint + bytes([value & 0x7F | 0x80]), value >> 7
    return b"\x0a\x40" + SHA.encode() + b"\x10" + varint + bytes([value])


def checksum(data):
    return 0xFFFF - ones_sum(data)


def udp(source, to, payload, port=PORT, length=None, sum_of=None):
    """sum_of: what the checksum field has instead of the right one."""
    length = 8 + len(payload) if length is None else length
    head = struct.pack("!HHH", 5000, port, length)
    pseudo = source + to + struct.pack("!IHBB", length, 0, 0, 17)
    right = checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF
    return head + struct.pack("!H", right if sum_of is None else sum_of) + payload


def ipv4(payload, source="10.77.0.2", to=SERVER, protocol=17, options=b"", fragment=0, number=1, length=None, sum_of=None):
    source, to = socket.inet_aton(source), socket.inet_aton(to)
    words = 5 + len(options) // 4
    length = 4 * words + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, length, number, fragment, 64, protocol, 0, source, to) + options
    total = checksum(head) if sum_of is None else sum_of
    return head[:10] + struct.pack("!H", total) + head[12:] + payload


def ipv6(payload, source="fd77::2", to=SERVER6, following=17, length=None):
    return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, following, 64) + \
        socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to) + payload


def frame(packet, tags=(), to=SERVER_MAC, kind=None):
    tagged = b"".join(struct.pack("!HH", *tag) for tag in tags)
    kind = ETHERTYPE[packet[0] >> 4] if kind is None else kind
    return (to + CLIENT_MAC + tagged + struct.pack("!H", kind) + packet).ljust(60, b"\0")


def plain4(payload, source="10.77.0.2", to=SERVER, **options):
    return ipv4(udp(socket.inet_aton(source), socket.inet_aton(to), payload), source, to, **options)


def datagram6(payload, **options):
    return udp(socket.inet_pton(socket.AF_INET6, "fd77::2"), socket.inet_pton(socket.AF_INET6, SERVER6), payload, **options)


class Wire:
    """Sends frames as they are from the client's end."""

    def __init__(self, lab):
        self.socket = lab.socket(lab.client_name, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind(("client0", 0))

    def send(self, *frames):
        for one in frames:
            self.socket.send(one)

    def close(self):
        self.socket.close()


@pytest.fixture
def wire(lab):
    with contextlib.closing(Wire(lab)) as one:
        yield one


def send_count(lab, n, *options, to=f"{SERVER}:{PORT}"):
    result = lab.client("send", "udp", to, *XDP, "--count", n, "--sources", 500, "--from", "10.77.1.0/24", "--json", *options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# ---- what is taken ----


@pytest.mark.parametrize("mode, used", [("auto", "copy"), ("generic", "generic")])
def test_packets_come_past_the_kernel_and_each_is_counted_once(lab, tmp_path, shm_root, mode, used):
    n = int((100000 if mode == "auto" else 50000) / SLOW)
    with made(lab, tmp_path, shm_root, xdp_mode=mode) as one:
        assert re.search(rf"ingest.udp\[0\]: packets of server0, {used} mode, queues 0\n", one.log())
        account = send_count(lab, n, "--corrupt", 30, "--rate", int(50000 / SLOW))
        stat = one.settle("ip", received=n)
        assert account["sent"] == one.ledger("ip", stat)["received"] == n
        assert rejected(one, stat) == {reason: k for reason, k in account["corrupted"].items() if k > 0}
        now = shown(one, xdp_mode=MODES[used], xdp_queues=1, xdp_redirected=n)
        assert f"xdp {used} on server0, queues 0" in one.millrace("stat").stdout
        assert now["received_buffers"] == 0
        assert sum(now[f"xdp_{what}"] for what in ("dropped", "ring_full", "invalid", "passed_closed")) == 0


def test_queues_are_shared_by_the_processes(tmp_path, shm_root):
    n = int(40000 / SLOW)
    with Kept("--queues", 4) as wide:
        with made(wide, tmp_path, shm_root, processes=2, queues=[0, 1, 3, 1]) as one:
            assert "packets of server0, copy mode, queues 0 3 1\n" in one.log()
            assert [metrics(one, f"ingest-udp.{i}")["xdp_queues"] for i in range(2)] == [2, 1]
            for queue in range(4):
                send_count(wide, n // 4, "--queue", queue, "--rate", int(50000 / SLOW))
            one.settle("ip", received=n)
            each = [shown(one, f"ingest-udp.{i}", xdp_redirected=m) for i, m in enumerate([n // 2, n // 4])]
            assert sum(m["received_frames"] for m in each) + sum(m["received_buffers"] for m in each) <= n


def test_what_is_no_plain_datagram_goes_through_the_kernel(lab, tmp_path, shm_root, wire):
    """Each kind on its own: taken from the card, taken from the ordinary socket, or rejected by reason."""
    numbers = iter(range(1, 1000))
    fragmented = udp(socket.inet_aton("10.77.0.2"), socket.inet_aton(SERVER), event(900))

    def payload():
        return event(next(numbers))

    def jumbo():
        # an unknown field, which protobuf skips
        return payload() + b"\x1a\xc4\x13" + b"x" * 2500

    padding = b"\x01\x04\0\0\0\0"  # of a header with options
    taken = {
        "IPv4": [frame(plain4(payload()))],
        "IPv6": [frame(ipv6(datagram6(payload())))],
        "VLAN": [frame(plain4(payload()), [(0x8100, 7)])],
        "two VLAN tags": [frame(plain4(payload()), [(0x88A8, 7), (0x8100, 8)])],
        "no UDP checksum": [frame(ipv4(udp(b"\x0a\x4d\0\x02", socket.inet_aton(SERVER), payload(), sum_of=0)))],
        "trailing bytes": [frame(plain4(payload())) + b"trailer"],
    }
    passed = {
        "IPv4 options": [frame(plain4(payload(), options=b"\x01\x01\x01\0"))],
        "fragments": [frame(ipv4(fragmented[:40], fragment=0x2000, number=77)), frame(ipv4(fragmented[40:], fragment=5, number=77))],
        "destination options": [frame(ipv6(b"\x11\0" + padding + datagram6(payload()), following=60))],
        "fragment header": [frame(ipv6(b"\x11\0\0\0\0\0\0\x09" + datagram6(payload()), following=44))],
        "larger than a frame": [frame(plain4(jumbo()))],
        "broadcast": [frame(plain4(payload(), to="10.77.255.255"), to=b"\xff" * 6)],
    }
    wrong = {
        "frame_ip_checksum": [frame(plain4(payload(), sum_of=0x1234))],
        "frame_udp_checksum": [
            frame(ipv4(udp(b"\x0a\x4d\0\x02", socket.inet_aton(SERVER), payload(), sum_of=1))),
            frame(ipv6(datagram6(payload(), sum_of=0))),
        ],
        "frame_length": [
            frame(ipv4(udp(b"\x0a\x4d\0\x02", socket.inet_aton(SERVER), payload(), length=300))),
            frame(plain4(payload(), length=1500)),
            frame(ipv6(datagram6(payload()), length=1400)),
        ],
        "frame_martian": [frame(plain4(payload(), source=source)) for source in ("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255")],
    }
    nothing = {
        "another port": [frame(ipv4(udp(b"\x0a\x4d\0\x02", socket.inet_aton(SERVER), payload(), port=9)))],
        "runts": [frame(plain4(payload()))[:n] for n in (14, 20, 33, 41)],
        "another machine": [frame(plain4(payload()), to=bytes.fromhex("020000009999"))],
        "an unknown protocol": [frame(plain4(payload()), kind=0x9999), frame(ipv4(b"x" * 40, protocol=253))],
    }
    with made(lab, tmp_path, shm_root) as one:
        expected, received, from_card, from_socket = {}, 0, 0, 0
        before = metrics(one)["xdp_passed_other"]
        for kinds, redirected in ((taken, True), (passed, False), (wrong, True)):
            for name, frames in kinds.items():
                wire.send(*frames)
                n = len(frames) if redirected else 1
                received += n
                from_card += n if redirected else 0
                from_socket += 0 if redirected else 1
                if kinds is wrong:
                    expected[name] = len(frames)
                stat = one.settle("ip", received=received)
                assert one.ledger("ip", stat)["received"] == received and rejected(one, stat) == expected, name
            now = wait_until(lambda: (m := metrics(one))["xdp_redirected"] + m["received_buffers"] == received and m, 5, "the metrics")
            assert (now["xdp_redirected"], now["received_buffers"]) == (from_card, from_socket), list(kinds)
        frames = [one for kind in nothing.values() for one in kind]
        wire.send(*frames)
        now = wait_until(lambda: (m := metrics(one))["xdp_passed_other"] >= before + len(frames) and m, 5, "what is for nobody")
        assert one.ledger("ip")["received"] == received
        shown(one, xdp_redirected=from_card, xdp_passed_form=5, xdp_passed_large=1, xdp_passed_closed=0)


def check_echo(lab, address, family, protocol, asks, answers):
    """What ping does; the address is asked for by ARP or neighbour discovery first."""
    with lab.socket(lab.client_name, family, socket.SOCK_RAW, protocol) as own:
        own.settimeout(5 * SLOW)
        own.connect((address, 0))
        head = struct.pack("!BBHHH", asks, 0, 0, 7, 1)
        own.send(head[:2] + struct.pack("!H", checksum(head)) + head[4:])
        while True:
            answer = own.recv(2048)
            body = answer[20:] if family == socket.AF_INET else answer
            if body[0] == answers:
                assert body[4:8] == head[4:8]
                return


def test_the_rest_of_the_network_goes_on(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root):
        lab.run(lab.client_name, "ip", "neigh", "flush", "dev", "client0")
        check_echo(lab, SERVER, socket.AF_INET, socket.IPPROTO_ICMP, 8, 0)
        check_echo(lab, SERVER6, socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)
        with lab.socket(lab.server_name, socket.AF_INET, socket.SOCK_STREAM) as listening:
            listening.bind((SERVER, 0))
            listening.listen()
            listening.settimeout(10)
            with lab.socket(lab.client_name, socket.AF_INET, socket.SOCK_STREAM) as client:
                client.connect(listening.getsockname())
                server, _ = listening.accept()
                with server:
                    data = os.urandom(1 << 20)
                    threading.Thread(target=client.sendall, args=(data,)).start()
                    server.settimeout(10)
                    got = b""
                    while len(got) < len(data):
                        got += server.recv(1 << 16)
                    assert got == data


def test_a_source_that_is_not_listed_is_the_kernels_affair(lab, tmp_path, shm_root, wire):
    with made(lab, tmp_path, shm_root, sources=["10.77.1.0/24", "fd77::2"]) as one:
        wire.send(frame(plain4(event(1), source="10.77.1.9")), frame(plain4(event(2))), frame(ipv6(datagram6(event(3)))))
        one.settle("ip", received=3)
        now = wait_until(lambda: (m := metrics(one))["xdp_redirected"] == 2 and m, 5, "two from the card")
        assert now["xdp_passed_source"] == 1 and now["received_buffers"] == 1


# ---- deaths ----


class Load(threading.Thread):
    """Sends without end, and keeps the account of each run."""

    def __init__(self, lab, rate, seconds):
        super().__init__()
        self.lab, self.rate, self.seconds = lab, rate, seconds
        self.accounts, self.problem = [], None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                result = self.lab.client("send", "udp", f"{SERVER}:{PORT}", *XDP, "--sources", 500, "--from", "10.77.1.0/24", "--corrupt", 20,
                                         "--rate", self.rate, "--duration", self.seconds, "--json", timeout=60)
                assert result.returncode == 0, result.stderr
                self.accounts.append(json.loads(result.stdout))
        except (AssertionError, ValueError) as error:
            self.problem = error

    def end(self):
        self.stopping.set()
        self.join()
        assert self.problem is None, self.problem

    def total(self):
        corrupted = {}
        for account in self.accounts:
            for reason, n in account["corrupted"].items():
                corrupted[reason] = corrupted.get(reason, 0) + n
        return sum(a["sent"] for a in self.accounts), sum(a["valid"] for a in self.accounts), corrupted


@pytest.mark.limit(240)
def test_kills_of_the_stage_lose_nothing_and_count_nothing_twice(lab, tmp_path, shm_root, rng):
    kills = int(os.environ.get("MILLRACE_KILLS") or 8)
    with made(lab, tmp_path, shm_root, frames=65536) as one:
        load = Load(lab, int((60000 if "MILLRACE_KILLS" in os.environ else 20000) / SLOW), 1)
        load.start()
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.02, 0.25))
                pid = wait_until(lambda: one.pid_of(ROLE), 10, "a process")
                if rng.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        processes.pause(pid)
                        time.sleep(rng.uniform(0.01, 0.1))
                        processes.resume(pid)
                        time.sleep(rng.uniform(0, 0.003))
                kill_pid(pid)
                wait_until(lambda: one.stage(ROLE)["pid"] != pid and one.stage(ROLE)["state"] == "running", 20, "the next life")
        finally:
            load.end()
        sent, valid, corrupted = load.total()
        stat = one.settle("ip", received=sent, timeout=30)
        ledger = one.ledger("ip", stat)
        now = wait_until(lambda: (m := metrics(one))["xdp_redirected"] + m["xdp_passed_closed"] >= sent and m, 5, "what the program counts")
        print(f"sent {sent}, {kills} kills; {now['xdp_redirected']} from the card, {now['recovered_frames']} found by a next life, "
              f"{now['xdp_passed_closed']} by the ordinary socket meanwhile; kernel dropped {ledger['kernel_dropped']}")
        assert ledger["received"] == sent and ledger["kernel_dropped"] == 0
        assert rejected(one, stat) == {reason: n for reason, n in corrupted.items() if n > 0}
        assert ledger["written"] == valid
        assert now["xdp_redirected"] + now["xdp_passed_closed"] == sent
        assert one.stage(ROLE)["restarts"] == kills


@pytest.mark.limit(240)
def test_kills_of_the_supervisor_lose_nothing_when_the_socket_is_held_elsewhere(lab, tmp_path, shm_root, rng):
    """The test holds the ordinary socket, as systemd would. The program goes with the supervisor: from then on that socket
    gets what comes, while the stage empties its ring and ends."""
    kills = 5 if os.environ.get("MILLRACE_KILLS") else 2
    held = lab.socket(lab.server_name, socket.AF_INET6, socket.SOCK_DGRAM)
    held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    held.setsockopt(socket.SOL_SOCKET, packet_help.SO_RCVBUFFORCE, 256 << 20)
    held.bind(("::", PORT))
    one = Instance(tmp_path, shm_root, config_for(tmp_path), sockets=[held], wrapper=lab.inside(lab.server_name))
    try:
        one.start()
        load = Load(lab, int(20000 / SLOW), 1)
        load.start()
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.3, 1))
                stages = list(processes.children(of=one.process.pid))
                one.kill()
                wait_until(lambda: "xdp" not in lab.server_link(), 5, "the program goes with its holder")
                if rng.random() < 0.5:
                    wait_until(lambda: not set(stages) & set(processes.children()), 20, "the end of the stages")
                one.start()
                assert "copy mode" in one.log(), one.log()
        finally:
            load.end()
        sent, valid, corrupted = load.total()
        stat = one.settle("ip", received=sent)
        ledger = one.ledger("ip", stat)
        assert ledger["received"] == sent and ledger["kernel_dropped"] == 0 and ledger["written"] == valid
        assert rejected(one, stat) == {reason: n for reason, n in corrupted.items() if n > 0}
        wait_until(lambda: metrics(one)["xdp_redirected"] > 0, 5, "packets from the card")
        assert one.stop() == 0
    finally:
        one.discard()
        held.close()


# ---- what does not work ----


def check_served(lab, one, received=100):
    """The ordinary socket serves: all that is sent is counted."""
    send_count(lab, 100, "--rate", 10000)
    one.settle("ip", received=received)
    assert metrics(one)["received_buffers"] > 0


def warning(one):
    lines = [line for line in one.log().splitlines() if WITHOUT in line]
    assert len(lines) == 1, one.log()
    return lines[0]


def test_without_the_privilege_the_ordinary_socket_serves(lab, tmp_path, shm_root):
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    with made(lab, tmp_path, shm_root, wrapper=without) as one:
        line = warning(one)
        assert "CAP_BPF" in line and "CAP_NET_ADMIN" in line and "listener=ingest.udp[0]" in line
        assert metrics(one)["xdp_mode"] == 0
        assert "xdp is not in use" in one.millrace("stat").stdout
        check_served(lab, one)


def test_with_capabilities_to_load_and_none_to_open_sockets_it_says_which_is_missing(lab, tmp_path, shm_root):
    without = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"]
    with made(lab, tmp_path, shm_root, wrapper=without) as one:
        assert "CAP_NET_RAW" in warning(one)
        check_served(lab, one)
        assert "xdp" not in lab.server_link()


def test_without_the_interface_the_ordinary_socket_serves(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root, interface="none0") as one:
        assert "there is no such interface" in warning(one) and "interface=none0" in warning(one)
        check_served(lab, one)


def test_an_interface_that_is_no_ethernet_is_refused(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root, interface="lo") as one:
        assert "it is not an Ethernet interface" in warning(one)
        check_served(lab, one)


def test_zero_copy_alone_is_not_replaced_by_another_mode(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root, xdp_mode="zero-copy") as one:
        assert "reason=" in warning(one)
        check_served(lab, one)


def test_a_program_of_others_stays_on_the_interface(lab, tmp_path, shm_root):
    source = tmp_path / "other.c"
    source.write_text('#include <linux/bpf.h>\n#define SEC(n) __attribute__((section(n), used))\n'
                      'SEC("xdp") int other(struct xdp_md *c) { (void)c; return XDP_PASS; }\nchar _license[] SEC("license") = "GPL";\n')
    compiled = tmp_path / "other.o"
    machine = os.uname().machine
    subprocess.run(["clang", "-target", "bpf", "-O2", "-idirafter", f"/usr/include/{machine}-linux-gnu", "-c", source, "-o", compiled], check=True)
    attach = lab.run(lab.server_name, "ip", "link", "set", "dev", "server0", "xdp", "obj", compiled, "sec", "xdp")
    assert attach.returncode == 0, attach
    try:
        with made(lab, tmp_path, shm_root) as one:
            assert "another XDP program is on it" in warning(one)
            check_served(lab, one)
        assert "xdp" in lab.server_link()
    finally:
        lab.run(lab.server_name, "ip", "link", "set", "dev", "server0", "xdp", "off")


def test_an_interface_that_vanishes_and_comes_back(tmp_path, shm_root):
    with Kept() as own:
        with made(own, tmp_path, shm_root) as one:
            send_count(own, 1000, "--rate", 50000)
            one.settle("ip", received=1000)
            own.run(own.server_name, "ip", "link", "del", "server0")
            wait_until(lambda: "the interface has gone" in one.log(), 10, "a warning")
            assert one.stage(ROLE)["state"] == "running" and one.stage(ROLE)["restarts"] == 0
            # the ordinary socket serves what comes another way
            result = own.run(own.server_name, packet_help.MILLRACE, "send", "udp", f"127.0.0.1:{PORT}", "--count", 100)
            assert result.returncode == 0, result
            one.settle("ip", received=1100)
            own.connect()
            one.kill(signal.SIGHUP)
            wait_until(lambda: one.log().count("packets of server0, copy mode") == 2, 20, "the interface is taken up")
            one.wait_running()
            before = metrics(one)["received_buffers"]
            send_count(own, 1000, "--rate", 50000)
            one.settle("ip", received=2100)
            assert metrics(one)["received_buffers"] == before


CAPABILITIES = {"net_admin": 12, "net_raw": 13, "ipc_lock": 14, "sys_admin": 21, "perfmon": 38, "bpf": 39}
SECRET = sum(1 << n for n in CAPABILITIES.values())
OTHER_USER = 54321  # nobody has this number


def process_status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    found = {name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    return {**found, "NoNewPrivs": int(fields["NoNewPrivs"]), "Uid": int(fields["Uid"].split()[0])}


def check_capabilities(one, held):
    """The supervisor holds its capabilities without effect; the stages have none of them."""
    supervisor = process_status(one.process.pid)
    assert supervisor["CapPrm"] & SECRET == held and supervisor["CapEff"] & SECRET == 0, supervisor
    for stage in one.stat()["stages"]:
        status = process_status(stage["pid"])
        assert status["NoNewPrivs"] == 1, stage
        assert not any(status[name] & SECRET for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")), (stage, status)


def check_redirected(lab, one):
    before, received = metrics(one)["xdp_redirected"], one.ledger("ip")["received"]
    send_count(lab, 1000, "--rate", 50000)
    one.settle("ip", received=received + 1000)
    shown(one, xdp_redirected=before + 1000)


@pytest.fixture
def others_folders():
    """Two folders that another user owns and reaches, for data and for shared memory."""
    folders = [pathlib.Path(tempfile.mkdtemp(prefix="millrace-test.", dir=parent)) for parent in (None, "/dev/shm")]
    for folder in folders:
        os.chown(folder, OTHER_USER, OTHER_USER)
    probe = subprocess.run(["setpriv", f"--reuid={OTHER_USER}", "--clear-groups", "test", "-x", packet_help.MILLRACE, "-a", "-w", folders[0]], check=False)
    yield folders if probe.returncode == 0 else None
    for folder in folders:
        shutil.rmtree(folder)


def test_root_holds_what_packets_need_without_effect_and_stages_have_none_of_it(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root) as one:
        check_capabilities(one, SECRET)
        check_redirected(lab, one)


def test_another_user_takes_packets_with_four_capabilities_and_stages_have_none(others_folders):
    """Also when the interface comes back, and after a stage has died."""
    if others_folders is None:
        pytest.skip("another user cannot reach the programs here")
    names = ("net_admin", "net_raw", "bpf", "ipc_lock")
    given = "".join(f",+{name}" for name in names)
    wrapper = ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", f"--inh-caps=-all{given}", f"--ambient-caps=-all{given}",
               f"--bounding-set=-all{given}"]
    with Kept() as own:
        one = made(own, *others_folders, wrapper)
        with one:
            held = sum(1 << CAPABILITIES[name] for name in names)
            assert process_status(one.process.pid)["Uid"] == OTHER_USER and WITHOUT not in one.log(), one.log()
            check_capabilities(one, held)
            for stage in one.stat()["stages"]:
                status = process_status(stage["pid"])
                assert status["CapEff"] == status["CapPrm"] == 0, stage
            check_redirected(own, one)
            own.run(own.server_name, "ip", "link", "del", "server0")
            wait_until(lambda: "the interface has gone" in one.log(), 10, "a warning")
            own.connect()
            one.kill(signal.SIGHUP)
            wait_until(lambda: one.log().count("packets of server0, copy mode") == 2, 20, "the interface is taken up")
            one.wait_running()
            pid = one.pid_of(ROLE)
            kill_pid(pid)
            wait_until(lambda: one.pid_of(ROLE) not in (0, pid) and one.stage(ROLE)["state"] == "running", 20, "its next life")
            check_redirected(own, one)
            check_capabilities(one, held)


# ---- changes while it runs ----


def test_a_reload_changes_frames_and_queues_and_loses_nothing(lab, tmp_path, shm_root):
    with made(lab, tmp_path, shm_root) as one:
        load = Load(lab, int(20000 / SLOW), 1)
        load.start()
        try:
            for options in ({"frames": 16384}, {"frame_bytes": "4096"}, {"backend": "recvmmsg"}, {}):
                time.sleep(0.3)
                pid = one.pid_of(ROLE)
                one.write_config(config_for(tmp_path, **options))
                one.kill(signal.SIGHUP)
                wait_until(lambda: one.pid_of(ROLE) != pid and one.stage(ROLE)["state"] == "running", 20, f"{options}: a new process")
        finally:
            load.end()
        sent, valid, _ = load.total()
        stat = one.settle("ip", received=sent)
        assert one.ledger("ip", stat)["received"] == sent and one.ledger("ip", stat)["written"] == valid


def test_a_reload_that_changes_nothing_of_it_keeps_the_process_and_finds_new_addresses(lab, tmp_path, shm_root, wire):
    with made(lab, tmp_path, shm_root) as one:
        pid = one.pid_of(ROLE)
        assert lab.run(lab.server_name, "ip", "address", "add", "10.77.0.50/16", "dev", "server0").returncode == 0
        try:
            wire.send(frame(plain4(event(1), to="10.77.0.50")))
            one.settle("ip", received=1)
            assert metrics(one)["received_buffers"] == 1, "an address that is new comes through the kernel"
            one.kill(signal.SIGHUP)
            wait_until(lambda: "no stage changes" in one.log(), 20, "the reload")
            wire.send(frame(plain4(event(2), to="10.77.0.50")))
            one.settle("ip", received=2)
            wait_until(lambda: metrics(one)["xdp_redirected"] == 1, 5, "one from the card")
        finally:
            lab.run(lab.server_name, "ip", "address", "del", "10.77.0.50/16", "dev", "server0")
        one.kill(signal.SIGHUP)
        wait_until(lambda: one.log().count("no stage changes") == 2, 20, "the reload")
        assert one.pid_of(ROLE) == pid


def test_the_check_says_what_is_taken_and_what_memory_it_needs(lab, tmp_path, shm_root):
    one = made(lab, tmp_path, shm_root, frames=8192)
    result = one.millrace("check", "-c", one.config_file)
    assert result.returncode == 0, result
    assert "packets of server0, queues all, 8192 frames of 2048 bytes for each process" in result.stdout
    size = int(re.search(r"(\d+)  ingest-udp\.0\.private", result.stdout)[1])
    assert size == 4096 + -(-(4096 + 64 * 65728) // 4096) * 4096 + 4096 + 8192 * 2048
