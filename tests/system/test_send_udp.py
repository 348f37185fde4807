"""millrace send udp: its account of what it sent."""
import json
import socket
import struct

import pytest

from cli_help import millrace
from harness import SLOW


def test_send_accounts_for_what_it_sent(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sink.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sink.getsockname()[1]}"
        result = millrace(
            "send", "udp", address, "--count", 500, "--rate", 20000, "--corrupt", 30, "--gso", 16, "--sources", 4, "--json",
            "--expect", tmp_path / "expect.json",
        )
        assert result.returncode == 0, result.stderr
        sink.settimeout(5 * SLOW)
        got = [sink.recvfrom(2048) for _ in range(500)]
        sink.setblocking(False)
        with pytest.raises(BlockingIOError):
            sink.recv(1)
    account = json.loads(result.stdout)
    assert account["sent"] == 500 == account["valid"] + sum(account["corrupted"].values())
    assert account["bytes"] == sum(len(datagram) for datagram, _ in got)
    assert {address[0] for _, address in got} == {f"127.0.0.{i}" for i in range(1, 5)}
    expect = json.loads((tmp_path / "expect.json").read_text())
    assert expect["rejected"] == account["corrupted"] and expect["topics"] == {"ip": account["valid"]}
    assert sum(app["count"] for app in expect["apps"].values()) == account["valid"]


def test_a_capture_holds_the_same_datagrams_each_with_its_length(tmp_path):
    def capture(name, *arguments):
        path = tmp_path / name
        result = millrace("send", "udp", "--count", 300, "--output", path, *arguments)
        assert result.returncode == 0, result.stderr
        data, datagrams = path.read_bytes(), []
        while data:
            (length,) = struct.unpack_from("<I", data)
            assert len(data) >= 4 + length
            datagrams.append(data[4 : 4 + length])
            data = data[4 + length :]
        return datagrams

    first = capture("first")
    assert len(first) == 300 and sum(len(d) == 71 for d in first) > 270
    assert capture("second") == first
    assert capture("third", "--seed", 2) != first
    assert {len(d) for d in capture("raw", "--format", "raw", "--size", 1400)} == {1400}
    for datagram in capture("json", "--format", "json"):
        assert {"username", "type"} & json.loads(datagram).keys()


def test_send_keeps_its_rate_and_its_time():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sink.getsockname()[1]}"
        account = json.loads(millrace("send", "udp", address, "--rate", 1000, "--duration", "0.5", "--json").stdout)
    assert 0.45 < account["seconds"] < 0.6 * SLOW + 0.5
    assert 300 / SLOW < account["sent"] <= 520


def test_send_says_when_nobody_listens_or_the_address_is_none():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = millrace("send", "udp", f"127.0.0.1:{port}", "--count", 50)
    assert result.returncode == 1 and "nobody listens" in result.stderr
    for address in ("[::1:4002", "127.0.0.1:99999", "127.0.0.1:port"):
        result = millrace("send", "udp", address, "--count", 1)
        assert result.returncode == 1 and address in result.stderr, (address, result)


def test_options_of_the_backend_xdp_that_do_not_go_together_are_wrong_use():
    xdp = ("--backend", "xdp", "--interface", "client0")
    for arguments, message in (
        (["--backend", "xdp", "--interface", "client0"], "takes an ADDRESS"),
        (["10.77.0.1", "--backend", "xdp"], "takes --interface"),
        (["10.77.0.1", *xdp, "--gso", 2], "--gso is for sockets"),
        (["10.77.0.1", *xdp, "--output", "x"], "--output takes no --backend"),
        (["10.77.0.1", *xdp, "--mac", "2:0:0:0:0:1"], "a MAC address looks like"),
        (["10.77.0.1", *xdp, "--from", "10.0.0.1/8"], "a network looks like"),
        (["10.77.0.1", *xdp, "--ports", "5-4"], "ports look like"),
        (["10.77.0.1", *xdp, "--ports", "0-4"], "ports look like"),
        (["10.77.0.1", *xdp, "--ports", "5-"], "ports look like"),
        (["10.77.0.1", "--interface", "client0"], "are for --backend xdp"),
        (["10.77.0.1", "--sources", 1025], "at most 1024 are sockets"),
    ):
        result = millrace("send", "udp", *arguments, "--count", 1)
        assert result.returncode == 2 and message in result.stderr, (arguments, result)
