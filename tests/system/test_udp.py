"""The UDP stage alone: a file of datagrams in, records out, the ledger on standard error."""
import re
import struct
import subprocess

import harness

PROGRAM = harness.BUILD / "libexec" / "millrace" / "ingest-udp"
EVENT_IP, EVENT_RAW, EVENT_METRIC, EVENT_TRACK_RAW = 1, 2, 3, 4


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def ip_event(sha, ip):
    return b"\x0a" + varint(len(sha)) + sha.encode() + b"\x10" + varint(ip)


def capture(path, datagrams):
    path.write_bytes(b"".join(struct.pack("<I", len(datagram)) + datagram for datagram in datagrams))
    return path


def run_alone(tmp_path, source, *sets, output=None):
    output = output or tmp_path / "records"
    command = [PROGRAM, "--input", source, "--output", output]
    for key_value in sets:
        command += ["--set", key_value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    ledger = {what: int(n) for what, n in re.findall(r"^([a-z_ ]+) (\d+)$", done.stderr, re.M)}
    return done, ledger, output.read_bytes() if output.is_file() else b""


def records(data):
    """(type, payload) of each record in a row."""
    found, at = [], 0
    while at < len(data):
        length, kind, _ = struct.unpack_from("<IHH", data, at)
        found.append((kind, data[at + 8:at + 8 + length]))
        at += (8 + length + 7) // 8 * 8
    assert at == len(data)
    return found


def test_a_file_of_ip_events_becomes_records_and_a_ledger(tmp_path):
    sha = "aB" * 32
    whole = ip_event(sha, 0x0A000001)
    source = capture(tmp_path / "capture", [
        whole, ip_event("x" * 64, 1), ip_event(sha, 1 << 33), whole[:-1], b"", ip_event(sha, 0xFFFFFFFF)])
    done, ledger, data = run_alone(tmp_path, source)
    assert done.returncode == 0
    found = records(data)
    assert [kind for kind, _ in found] == [EVENT_IP, EVENT_IP]
    assert [struct.unpack_from("<I", payload, 28)[0] for _, payload in found] == [0x0A000001, 0xFFFFFFFF]
    assert found[0][1][32:] == bytes.fromhex(sha)
    assert ledger["received"] == 6 and ledger["written"] == 2 and ledger["dropped"] == 0
    assert ledger["rejected bad_sha"] == 1 and ledger["rejected ip_out_of_range"] == 1
    assert sum(n for what, n in ledger.items() if what.startswith("rejected")) == 4


def test_raw_keeps_every_datagram_as_it_is(tmp_path):
    datagrams = [b"", b"one", bytes(range(256)) * 255, b"x" * 65507]
    done, ledger, data = run_alone(tmp_path, capture(tmp_path / "capture", datagrams), "ingest.udp[0].format=raw")
    assert done.returncode == 0
    found = records(data)
    assert [kind for kind, _ in found] == [EVENT_RAW] * 4
    assert [payload[32:] for _, payload in found] == datagrams
    assert ledger == {"received": 4, "dropped": 0, "written": 4}


def test_json_becomes_metrics_and_tracking_calls(tmp_path):
    source = capture(tmp_path / "capture", [
        b'{"username": "kodingbot", "count": 12412414, "metric": "kite_call"}',
        b'{"type": "app_open", "params": {"klag": 3}}', b"nonsense"])
    done, ledger, data = run_alone(tmp_path, source, "ingest.udp[0].format=json")
    assert done.returncode == 0
    assert sorted(kind for kind, _ in records(data)) == [EVENT_METRIC, EVENT_TRACK_RAW]
    assert ledger == {"received": 3, "rejected malformed": 1, "dropped": 0, "written": 2}


def test_a_byte_order_mark_in_front_of_json_changes_nothing(tmp_path):
    mark = b"\xef\xbb\xbf"
    source = capture(tmp_path / "capture", [
        mark + b'{"username": "kodingbot", "count": 12412414, "metric": "kite_call"}', mark + b'{"type": "app_open"}',
        mark, mark + mark + b'{"type": "app_open"}'])
    done, ledger, data = run_alone(tmp_path, source, "ingest.udp[0].format=json")
    assert done.returncode == 0
    assert sorted(kind for kind, _ in records(data)) == [EVENT_METRIC, EVENT_TRACK_RAW]
    assert ledger == {"received": 4, "rejected truncated": 1, "rejected malformed": 1, "dropped": 0, "written": 2}


def test_a_file_that_is_no_capture_is_named_as_such(tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(capture(tmp_path / "capture", [b"one", b"two"]).read_bytes()[:-1])
    done, ledger, _ = run_alone(tmp_path, broken, "ingest.udp[0].format=raw")
    assert done.returncode == 1 and "ends within a datagram" in done.stderr and "datagram=1" in done.stderr
    assert ledger["written"] == 1
    broken.write_text("this is a text file\n")
    done, _, _ = run_alone(tmp_path, broken)
    assert done.returncode == 1 and "no datagram is that long" in done.stderr
    done, _, _ = run_alone(tmp_path, tmp_path / "absent")
    assert done.returncode == 1 and "absent" in done.stderr
