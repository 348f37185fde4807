"""Datagrams whose fate is known: what the system tests send, and what must become of it.

The events are made here, byte by byte from the protobuf encoding, and the report is computed here from BEHAVIOUR: a /28
with two or more distinct addresses is good. So nothing of millrace is needed to say what millrace must answer.
"""
import ipaddress
import socket
import time

SOL_UDP = 17
UDP_SEGMENT = 103


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sha_field(text):
    return b"\x0a" + varint(len(text)) + text


def ip_field(ip):
    return b"\x10" + varint(ip)


def ipevent(sha, ip):
    """One valid event; sha is 64 hexadecimal characters as a str."""
    return sha_field(sha.encode()) + ip_field(ip)


def random_sha(rng):
    return f"{rng.getrandbits(256):064x}"


def truncated(rng):
    whole = ipevent(random_sha(rng), rng.randrange(1 << 28, 1 << 32))
    return whole[: rng.choice([1, 2, 30, 65, 67, 68, len(whole) - 1])]


def malformed(rng):
    # A group that ends without having begun, wire types that do not exist, field number 0.
    return ipevent(random_sha(rng), 1) + rng.choice([b"\x0f", b"\x0e", b"\x00\x01", b"\x02\x01a"])


def missing_field(rng):
    return rng.choice([sha_field(random_sha(rng).encode()), ip_field(rng.getrandbits(32)), b"\x18\x05"])


def bad_sha(rng):
    sha = random_sha(rng)
    at = rng.randrange(64)
    spoiled = rng.choice([sha[:-1], sha + "0", "", sha[:at] + "g" + sha[at + 1 :], sha[:at] + "\0" + sha[at + 1 :]])
    return sha_field(spoiled.encode()) + ip_field(rng.getrandbits(32))


def ip_out_of_range(rng):
    return sha_field(random_sha(rng).encode()) + ip_field(rng.choice([1 << 32, (1 << 32) + 5, -1, -(1 << 63), (1 << 63) - 1]))


# By the reason under which the ledger counts them.
CORRUPTIONS = {f.__name__: f for f in (truncated, malformed, missing_field, bad_sha, ip_out_of_range)}


class Expected:
    """What was sent, and so what the reports and the ledger must say."""

    def __init__(self):
        self.count = {}
        self.addresses = {}
        self.rejected = {}
        self.sent = 0

    def valid(self, sha, ip, times=1):
        sha = sha.lower()
        self.count[sha] = self.count.get(sha, 0) + times
        self.addresses.setdefault(sha, set()).add(ip)
        self.sent += times

    def corrupt(self, reason):
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        self.sent += 1

    def n_valid(self):
        return sum(self.count.values())

    def report(self, sha):
        networks = {}
        for ip in self.addresses[sha]:
            networks.setdefault(ip >> 4, set()).add(ip)
        good, bad = [], []
        for ip in sorted(self.addresses[sha]):
            (good if len(networks[ip >> 4]) >= 2 else bad).append(str(ipaddress.IPv4Address(ip)))
        return {"count": self.count[sha], "good_ips": good, "bad_ips": bad}


def mixture(rng, n, apps, corrupt_percent, expected):
    """n datagrams, some of them spoiled, entered in `expected`. Addresses lie close, so that both kinds of network come up."""
    shas = [random_sha(rng) for _ in range(apps)]
    bases = [rng.getrandbits(32) for _ in range(40)]
    datagrams = []
    for _ in range(n):
        if rng.random() * 100 < corrupt_percent:
            reason = rng.choice(sorted(CORRUPTIONS))
            datagrams.append(CORRUPTIONS[reason](rng))
            expected.corrupt(reason)
            continue
        sha = rng.choice(shas)
        ip = (rng.choice(bases) & ~0xFF) | rng.randrange(0, 256) if rng.random() < 0.5 else rng.choice(bases)
        datagrams.append(ipevent(sha.upper() if rng.random() < 0.1 else sha, ip))
        expected.valid(sha, ip)
    return datagrams


def udp_socket(address):
    """A sender connected to (host, port)."""
    host, port = address
    sender = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect((host, port))
    return sender


def send_paced(address, datagrams, per_second, senders=1):
    """Sends them one by one, evenly, from `senders` sockets in turn; a receiver that is awake can follow."""
    sockets = [udp_socket(address) for _ in range(senders)]
    began = time.monotonic()
    for i, datagram in enumerate(datagrams):
        if i % 64 == 0:
            ahead = i / per_second - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
        sockets[i % senders].send(datagram)
    for sender in sockets:
        sender.close()
