"""millrace send udp --backend xdp: frames of many sources, in a lab of two network namespaces."""
import collections
import json
import os
import socket
import subprocess
import time

import pytest

import packet_help
from cli_help import millrace
from harness import MILLRACE, ROOT, SLOW, Instance, default_config, wait_until
from packet_help import CLIENT_MAC, SERVER, SERVER6, SERVER_MAC, Lab, capture, frames, is_udp, read_frame

pytestmark = pytest.mark.skipif(packet_help.missing() != "", reason=packet_help.missing())

XDP = ("--backend", "xdp", "--interface", "client0")
LIVE, SOCKET = ("--transmit", "live"), ("--transmit", "socket")


@pytest.fixture
def lab():
    with Lab() as one:
        yield one


@pytest.fixture(params=[LIVE, SOCKET], ids=["live frames", "a socket"])
def way(request):
    return request.param


@pytest.fixture
def both():
    """Live frames go to an end that has GRO on."""
    with Lab("--gro", "on") as one:
        yield one


def sent(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_frames_are_those_of_the_account_byte_for_byte_and_sources_take_turns(both, way, tmp_path):
    lab = both
    what = ("--count", 5000, "--corrupt", 30, "--seed", 7)
    expected = capture(tmp_path / "capture", *what)
    with lab.listener() as listener:
        account = sent(lab.client("send", "udp", f"{SERVER}:4002", *XDP, *way, *what, "--sources", 1024, "--from", "10.77.1.0/24", "--rate", 20000, "--json"))
        packets = [read_frame(frame) for frame in frames(listener, len(expected))]
    assert account["sent"] == len(expected) and account["interface"] == "client0" and account["mode"] == ("live" if way == LIVE else "copy")
    assert account["valid"] + sum(account["corrupted"].values()) == len(expected) and 0.2 < len(expected) / account["valid"] - 1 < 0.6
    assert [packet.payload for packet in packets] == expected
    assert {(packet.to_mac, packet.from_mac, packet.to, packet.to_port) for packet in packets} == {(SERVER_MAC, CLIENT_MAC, SERVER, 4002)}
    sources = [(f"10.77.1.{1 + i % 254}", 1024 + i // 254) for i in range(1024)]
    assert [(packet.source, packet.source_port) for packet in packets] == [sources[i % 1024] for i in range(len(packets))]


def test_frames_go_over_ipv6_with_json_and_raw_datagrams(both, way, tmp_path):
    lab = both
    for what in (("--format", "json"), ("--format", "raw", "--size", 1452), ("--format", "raw", "--size", 0)):
        expected = capture(tmp_path / "capture", *what, "--count", 300)
        with lab.listener() as listener:
            account = sent(lab.client("send", "udp", f"[{SERVER6}]:4002", *XDP, *way, *what, "--count", 300, "--sources", 7, "--from", "fd77::1:0/112",
                                      "--ports", "5000-5000", "--rate", 20000, "--json"))
            packets = [read_frame(frame) for frame in frames(listener, 300)]
        assert account["sent"] == 300
        assert [packet.payload for packet in packets] == expected
        assert [(p.source, p.source_port, p.to, p.to_port) for p in packets] == [(f"fd77::1:{1 + i % 7}", 5000, SERVER6, 4002) for i in range(300)]


def test_one_source_has_the_interfaces_own_address_and_the_network_is_asked_for_the_way(lab):
    lab.run(lab.client_name, "ip", "neigh", "flush", "dev", "client0")
    with lab.listener() as listener:
        account = sent(lab.client("send", "udp", SERVER, *XDP, "--count", 10, "--json"))
        assert account["sent"] == 10
        first = b""
        while not (first[:6] == b"\xff" * 6 and first[12:14] == b"\x08\x06"):  # who has 10.77.0.1?
            first = listener.recv(2048)
            assert not is_udp(first)
        packets = [read_frame(frame) for frame in frames(listener, 10)]
    assert {(p.to_mac, p.source, p.source_port, p.to_port) for p in packets} == {(SERVER_MAC, "10.77.0.2", 1024, 4002)}
    with lab.listener() as listener:
        sent(lab.client("send", "udp", SERVER, *XDP, "--mac", "02:00:00:00:00:99", "--count", 1, "--json"))
        assert read_frame(frames(listener, 1)[0]).to_mac == bytes.fromhex("020000000099")


def test_a_millrace_counts_what_the_account_says(lab, tmp_path, shm_root):
    config = default_config(tmp_path)
    config["ingest"]["udp"][0]["listen"] = [f"{SERVER}:4002"]
    with Instance(tmp_path, shm_root, config, wrapper=lab.inside(lab.server_name)) as one:
        expect = tmp_path / "expect.json"
        account = sent(lab.client("send", "udp", f"{SERVER}:4002", *XDP, "--sources", 500, "--from", "10.77.1.0/24", "--corrupt", 30,
                                  "--rate", int(30000 / SLOW), "--count", 60000, "--json", "--expect", expect))
        stat = one.settle("ip", received=60000)
        ledger = one.ledger("ip", stat)
        assert ledger["received"] == account["sent"] == 60000 and ledger["kernel_dropped"] == 0
        expected = json.loads(expect.read_text())
        assert {reason: n for reason, n in ledger["rejected"].items() if n > 0} == expected["rejected"]
        assert ledger["written"] == expected["valid"] == account["valid"]


def test_the_rate_is_held_and_the_time_is_kept(both, way):
    account = sent(both.client("send", "udp", SERVER, *XDP, *way, "--rate", 20000, "--duration", "1.5", "--sources", 100, "--json"))
    assert 1.45 < account["seconds"] < 1.7 * SLOW
    assert 28000 / SLOW < account["sent"] <= 30100


def times_full(waits, way):
    """The ring of the pair has room for 256, and is emptied every 2 ms only. How often the sender found it full."""
    n = 100000 if SLOW == 1 and way == SOCKET else 20000  # a live frame that waits for the listener holds a page
    with Lab("--gro", "on", "--moderate", 2000) as lab:
        if not waits:
            lab.run(lab.client_name, "tc", "qdisc", "del", "dev", "client0", "root")
        before = lab.received()
        with lab.listener() as listener:
            listener.setsockopt(socket.SOL_SOCKET, packet_help.SO_RCVBUFFORCE, 256 << 20)
            account = sent(lab.client("send", "udp", f"{SERVER}:4002", *XDP, *way, "--mac", SERVER_MAC.hex(":"), "--count", n, "--sources", 64,
                                      "--format", "raw", "--size", 16, "--json"))
            assert account["sent"] == n
            wait_until(lambda: lab.received() - before >= n, 10, "all frames at the other end")
            listener.settimeout(0.2)
            seen = collections.Counter()
            with pytest.raises(TimeoutError):
                while True:
                    frame = frames(listener, 1)[0]
                    seen[frame[26:36] + frame[42:]] += 1
        assert seen.total() == n
        pool = 16384
        assert len(seen) == min(pool, n) and set(seen.values()) <= {n // pool, -(-n // pool)}
    return account["busy"]


@pytest.mark.parametrize("waits, way", [(True, SOCKET), (False, SOCKET), (False, LIVE)], ids=["that can tell to wait", "that drops", "that refuses"])
def test_each_frame_arrives_once_at_an_interface_that_is_full(waits, way):
    """On a busy machine the sender may be too slow to fill it the first time."""
    assert any(times_full(waits, way) > 10 for _ in range(4))


def test_an_interface_that_goes_down_ends_it_with_a_clear_line(both, way):
    lab = both
    for side, interface, message in (("client", "client0", "Network is down"), ("server", "server0", "takes no frames any more")):
        name = f"{lab.client_name.removesuffix('-client')}-{side}"
        process = subprocess.Popen(
            [*lab.inside(lab.client_name), str(MILLRACE), "send", "udp", SERVER, *XDP, *way, "--rate", "1000", "--duration", "60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        before = lab.received()
        wait_until(lambda: lab.received() > before + 20, 10, "the first frames")
        lab.run(name, "ip", "link", "set", interface, "down")
        _, errors = process.communicate(timeout=20 * SLOW)
        assert process.returncode == 1 and message in errors, errors
        lab.run(name, "ip", "link", "set", interface, "up")
        wait_until(lambda: "LOWER_UP" in lab.run(lab.client_name, "ip", "link", "show", "client0").stdout, 10, "the link")


def test_without_live_frames_a_socket_sends_and_a_line_says_why(lab, both):
    """The first lab's other end has neither GRO nor a program."""
    what = ("--mac", SERVER_MAC.hex(":"), "--count", 100, "--json")
    for arguments, where, mode, line in (
        ((), lab, "copy", "client0: sends by a socket: live frames: its driver takes none"),
        ((), both, "live", ""),
        (SOCKET, both, "copy", ""),
        (("--rate", 50000), both, "copy", ""),
        (("--rate", 150000), both, "live", ""),
    ):
        before = where.received()
        result = where.client("send", "udp", SERVER, *XDP, *arguments, *what)
        account = sent(result)
        assert account["mode"] == mode and account["sent"] == 100, arguments
        assert result.stderr.startswith(f"millrace send: {line}") if line else result.stderr == "", result.stderr
        wait_until(lambda: where.received() - before >= 100, 5, "the frames")
    result = lab.client("send", "udp", SERVER, *XDP, *LIVE, *what)
    assert result.returncode == 1 and "GRO" in result.stderr, result
    result = both.client("send", "udp", SERVER, *XDP, *LIVE, *what, "--queue", 1)
    assert result.returncode == 2 and "--transmit socket" in result.stderr, result
    limited = ["setpriv", "--bounding-set=-all,+net_raw,+net_admin", "--inh-caps=-all"]
    result = both.run(both.client_name, *limited, MILLRACE, "send", "udp", SERVER, *XDP, *what)
    assert sent(result)["mode"] == "copy" and "CAP_BPF" in result.stderr


def test_live_frames_are_counted_exactly_at_full_speed_and_when_a_signal_ends_them(both):
    def udp():
        lines = both.run(both.server_name, "cat", "/proc/net/snmp").stdout.splitlines()
        return sum(int(n) for n in [line for line in lines if line.startswith("Udp:")][1].split()[1:4])  # taken, no port, errors

    before = udp()
    account = sent(both.client("send", "udp", SERVER, *XDP, *LIVE, "--count", 200000, "--sources", 1000, "--from", "10.77.1.0/24", "--corrupt", 30, "--json"))
    assert account["sent"] == 200000
    wait_until(lambda: udp() - before == 200000, 5, "all of them")
    process = subprocess.Popen([*both.inside(both.client_name), str(MILLRACE), "send", "udp", SERVER, *XDP, *LIVE, "--duration", "60", "--json"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: udp() - before > 250000, 20, "some more")
    process.terminate()
    out, _ = process.communicate(timeout=20 * SLOW)
    wait_until(lambda: udp() - before == 200000 + json.loads(out)["sent"], 5, "exactly those of the account")


def test_what_cannot_be_sent_is_refused_with_the_reason(lab):
    for arguments, message in (
        ([SERVER, "--backend", "xdp", "--interface", "none0"], "none0: there is no such interface"),
        ([SERVER, "--backend", "xdp", "--interface", "lo"], "lo: it is not an Ethernet interface"),
        ([SERVER, *XDP, "--queue", 5], "client0: it has no such queue"),
        (["10.77.0.2", *XDP], "one of this machine's own"),
        (["10.77.255.255", *XDP], "not that of one host"),
        ([SERVER, *XDP, "--from", "fd77::/64"], "not both IPv4 or both IPv6"),
        ([SERVER, *XDP, "--from", "10.77.1.0/30", "--ports", "1024-1025", "--sources", 5], "more sources than there are addresses and ports"),
        ([SERVER, *XDP, "--format", "raw", "--size", 1473], "1473 bytes does not fit; with an MTU of 1500 at most 1472"),
    ):
        result = lab.client("send", "udp", *arguments, "--count", 1)
        assert result.returncode == 1 and message in result.stderr, (arguments, result)


def test_nobody_on_the_network_answers(lab):
    began = time.monotonic()
    result = lab.client("send", "udp", "10.77.0.99", *XDP, "--count", 1)
    assert result.returncode == 1 and "nobody on the network answers" in result.stderr, result
    assert time.monotonic() - began < 6 * SLOW


def test_without_the_privilege_it_says_what_it_needs(lab):
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    result = lab.run(lab.client_name, *without, MILLRACE, "send", "udp", SERVER, *XDP, "--mac", "02:00:00:00:77:01", "--count", 1)
    assert result.returncode == 1 and "CAP_NET_RAW" in result.stderr and "root" in result.stderr, result


def test_the_benchmark_names_all_places_where_packets_are_and_they_add_up():
    """Whether something is lost depends on the machine; that it is known where does not."""
    result = millrace("bench", "udp", "--backend", "xdp", "--turns", 1, "--turn-duration", 0.3, "--duration", 0.5, "--corrupt", 30, "--no-search", "--json", timeout=60)
    assert result.returncode in (0, 1) and result.stdout, result.stderr
    bench = json.loads(result.stdout)
    assert bench["sources"] == 1024 and bench["turns"] == 1
    assert min(bench[key] for key in ("per_s", "bare_loop_per_s", "socket_per_s")) > 0
    run = bench["run"]
    places = ("no_free_frame", "ring_full", "socket_full", "refused_by_kernel", "rejected", "dropped", "written")
    assert run["sent"] > 0 and run["unknown"] == 0 and run["sent"] == sum(run[place] for place in places)
    assert run["exact"] == (result.returncode == 0) == (run["received"] == run["sent"] and run["written"] == run["valid"] == run["counted"])
    assert run["redirected"] == run["sent"] and 0.1 < run["rejected"] / run["received"] < 0.5


def lab_script(*arguments, **options):
    return subprocess.run([str(ROOT / "scripts" / "packet-lab"), *map(str, arguments)], capture_output=True, text=True, timeout=30 * SLOW, **options)


def test_the_lab_says_what_to_run_and_leaves_nothing():
    name = f"t{os.getpid()}-script"
    paths = [f"/run/netns/{name}-client", f"/run/netns/{name}-server"]
    result = lab_script("--name", name, input="\n")
    assert result.returncode == 0, result.stderr
    assert f"ip netns exec {name}-client build/bin/millrace send udp 10.77.0.1:4002 --backend xdp" in result.stdout
    assert not any(map(os.path.exists, paths))
    try:
        assert lab_script("--name", name, "--keep").returncode == 0
        assert all(map(os.path.exists, paths))
        again = lab_script("--name", name, input="")
        assert again.returncode == 1 and "already" in again.stderr
        assert all(map(os.path.exists, paths))
    finally:
        assert lab_script("--name", name, "--remove").returncode == 0
    assert not any(map(os.path.exists, paths))
    process = subprocess.Popen([str(ROOT / "scripts" / "packet-lab"), "--name", name, "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
    assert not any(map(os.path.exists, paths))
    for arguments in (["--queues", "x"], ["--name", "A b"], ["--gro", "maybe"], ["--bogus"], ["--mtu"]):
        assert lab_script(*arguments).returncode == 2
