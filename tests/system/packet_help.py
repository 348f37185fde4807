"""For tests of packets: a lab of two network namespaces (scripts/packet-lab), and frames read byte by byte.

    with Lab() as lab:
        lab.client("send", "udp", ...)      the command in one namespace, to its end
        lab.socket(lab.server_name, ...)    a socket in the other
"""
import collections
import ctypes
import ipaddress
import os
import random
import shutil
import socket
import subprocess
import threading

from harness import MILLRACE, ROOT, SLOW

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000007702"), bytes.fromhex("020000007701")
SERVER, SERVER6 = "10.77.0.1", "fd77::1"
ETH_P_ALL, SO_RCVBUFFORCE = 3, 33
IPV4, IPV6 = 0x0800, 0x86DD
CLONE_NEWNET = 0x40000000
AF_XDP, BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY = 44, 0, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}


def kernel_lacks():
    """What of AF_XDP the kernel refuses to root here; empty when nothing."""
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        return f"AF_XDP sockets: {error}"
    number = SYS_BPF.get(os.uname().machine)
    if number is None:
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = (ctypes.c_uint32 * 32)(BPF_MAP_TYPE_ARRAY, 4, 4, 1)  # type, bytes of key and value, entries
    fd = libc.syscall(number, BPF_MAP_CREATE, ctypes.byref(wanted), ctypes.sizeof(wanted))
    if fd < 0:
        return f"bpf: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return ""


def missing():
    """Why there can be no lab here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root: it makes network namespaces"
    absent = [name for name in ("ip", "tc", "ethtool") if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=10)
    if probe.returncode != 0:
        return f"no network namespaces here: {probe.stderr.decode().strip()}"
    lacks = kernel_lacks()
    return f"the kernel refuses {lacks}" if lacks else ""


class Lab:
    def __init__(self, *options):
        name = f"t{os.getpid()}-{random.randrange(1 << 24):06x}"
        self.client_name, self.server_name = f"{name}-client", f"{name}-server"
        self.process = subprocess.Popen(
            [str(ROOT / "scripts" / "packet-lab"), "--name", name, "--quiet", *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        line = self.process.stdout.readline()
        assert line == "ready\n", self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _, errors = self.process.communicate(timeout=20 * SLOW)
        assert self.process.returncode == 0, errors

    def inside(self, name):
        """The words before a command that make it run in a namespace."""
        return ["ip", "netns", "exec", name]

    def run(self, name, *command, timeout=60, **options):
        return subprocess.run(
            [*self.inside(name), *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout * SLOW, **options,
        )

    def client(self, *arguments, **options):
        return self.run(self.client_name, MILLRACE, *arguments, **options)

    def socket(self, name, *arguments):
        """A socket belongs to the namespace of the thread that makes it."""
        made = []

        def make():
            with open(f"/run/netns/{name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0:
                    made.append(socket.socket(*arguments))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def listener(self, interface="server0"):
        """A socket that sees every frame which comes to the server's end."""
        listener = self.socket(self.server_name, socket.AF_PACKET, socket.SOCK_RAW, 0)
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        listener.bind((interface, ETH_P_ALL))
        listener.settimeout(5 * SLOW)
        return listener

    def received(self):
        """Packets that came in at the server's end, as the interface counts."""
        path = "/sys/class/net/server0/statistics/rx_packets"
        return int(self.run(self.server_name, "cat", path).stdout)


def is_udp(frame):
    kind = int.from_bytes(frame[12:14], "big")
    return (kind == IPV4 and frame[23] == socket.IPPROTO_UDP) or (kind == IPV6 and frame[20] == socket.IPPROTO_UDP)


def frames(listener, n):
    """The next n frames that carry UDP; what the kernels say to each other is left out."""
    found = []
    while len(found) < n:
        frame, (_, _, kind, _, _) = listener.recvfrom(65536)
        if kind != socket.PACKET_OUTGOING and is_udp(frame):
            found.append(frame)
    return found


def ones_sum(data):
    """RFC 1071, in the plainest way: 0xffff when a checksum within is right."""
    data = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


Packet = collections.namedtuple("Packet", "to_mac from_mac source source_port to to_port payload")


def read_frame(frame):
    """A frame with UDP over IPv4 without options or over IPv6, each of its bytes checked."""
    kind = int.from_bytes(frame[12:14], "big")
    ip = frame[14:]
    if kind == IPV4:
        assert ip[0] == 0x45 and ip[1] == 0, "no options"
        length, header = int.from_bytes(ip[2:4], "big"), 20
        assert ip[4:8] == b"\0\0\x40\0", "one whole, not to be cut"
        assert ip[8] == 64 and ip[9] == 17
        assert ones_sum(ip[:20]) == 0xFFFF, "checksum of the header"
        addresses = ip[12:16], ip[16:20]
    else:
        assert kind == IPV6 and ip[:4] == b"\x60\0\0\0"
        length, header = 40 + int.from_bytes(ip[4:6], "big"), 40
        assert ip[6] == 17 and ip[7] == 64
        addresses = ip[8:24], ip[24:40]
    assert len(ip) == length
    udp = ip[header:]
    size = int.from_bytes(udp[4:6], "big")
    assert size == len(udp) == length - header
    assert udp[6:8] != b"\0\0"
    pseudo = b"".join(addresses) + size.to_bytes(4, "big") + (17).to_bytes(4, "big")
    assert ones_sum(pseudo + udp) == 0xFFFF, "checksum of the datagram"
    source, to = (str(ipaddress.ip_address(address)) for address in addresses)
    return Packet(
        frame[:6], frame[6:12], source, int.from_bytes(udp[:2], "big"), to, int.from_bytes(udp[2:4], "big"), udp[8:]
    )


def capture(path, *arguments):
    """The datagrams that `send udp` sends with these arguments, one after the other."""
    result = subprocess.run([str(MILLRACE), "send", "udp", *map(str, arguments), "--output", str(path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found
