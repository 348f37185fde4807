"""Instances with sinks of the kind objects, and what is in their stores.

    millrace = instance(config=objects_config(tmp_path))
    send_logs(millrace, range(100))
    flush(millrace, "logs")
    read_directory(tmp_path / "data" / "objects")      {name: [line, ...]}
"""
import gzip
import json
import signal

from harness import kill_pid, processes
from http_help import Client, http_address, http_config, request_bytes

KEY = "chat/{date}/content_logs_{date}_{client_id}"
DAY_MS = 86400000
DAY = "2020-04-14"
STAMP = 1586846680064  # of that day
ROLE = "objects.logs"
PATIENCE_S = 30


def objects_config(tmp_path, topics=None, **sink):
    """One sink, logs, of the topic log, into data/objects, everything small and quick."""
    config = http_config(tmp_path, topics=topics)
    store = {"min_free": 0, "retry": "5ms", "retry_max": "100ms", **sink.pop("store", {})}
    config["sinks"] = [{"name": "logs", "kind": "objects", "topics": ["log"], "key": KEY, "tails": "16MiB", "longest_line": "64KiB",
                        "part_size": "64KiB", "member": "16KiB", **sink, "store": store}]
    return config


def log_line(number, client=None, stamp=STAMP, text="hello world"):
    return {"text": text, "content_id": number + 1, "client_id": number % 5 + 1 if client is None else client, "timestamp": stamp}


def send_logs(millrace, numbers, pipeline=100, **fields):
    """Each must be answered 200."""
    numbers = list(numbers)
    with Client(http_address(millrace)) as client:
        for at in range(0, len(numbers), pipeline):
            some = numbers[at:at + pipeline]
            client.send(b"".join(request_bytes("POST", "/log", log_line(n, **fields)) for n in some))
            for _ in some:
                reply = client.reply()
                assert reply.status == 200, reply


def sink_metrics(millrace, role=ROLE):
    return millrace.stage(role)["metrics"]


def sink_note(millrace, role=ROLE):
    return millrace.stage(role)["note"]


def pid_of_sink(millrace, role=ROLE):
    """Of the life that runs, or None between two lives."""
    found = processes.children(of=millrace.process.pid)
    return next((pid for pid, command in found.items() if command and f"--role {role}" in command), None)


def flush(millrace, sink="logs", timeout=PATIENCE_S):
    """Until all that had been sent is in the store."""
    result = millrace.millrace("flush", sink, "--timeout", f"{timeout}s", timeout=timeout + 10)
    assert result.returncode == 0, result.stderr


def unpack(data):
    return gzip.decompress(data).decode().splitlines()


def plain(data):
    """Of objects with compression none."""
    return data.decode().splitlines()


def read_directory(directory, unpack=unpack):
    """{name: lines} of all finished objects."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not name.startswith("+open/"):
            found[name] = unpack(path.read_bytes())
    return found


def open_parts(directory):
    return list((directory / "+open").glob("*"))


def numbers_of(objects):
    """content_id - 1 of every line, sorted; each line must be whole."""
    return sorted(json.loads(line)["content_id"] - 1 for lines in objects.values() for line in lines)


def check_objects(objects, key=lambda event: f"chat/{DAY}/content_logs_{DAY}_{event['client_id']}"):
    """Each line lies in an object whose name is its key, or begins with it and a suffix."""
    for name, lines in objects.items():
        assert lines, f"{name} is empty"
        for line in lines:
            expected = key(json.loads(line))
            assert name == expected or name.startswith(expected + "_"), f"{line} lies in {name}"


def reboot(millrace):
    """Every process is killed before it can finish anything, and what was in memory goes."""
    millrace.kill(signal.SIGSTOP)
    stages = processes.children(of=millrace.process.pid)
    for pid in stages:
        kill_pid(pid)
    millrace.kill()
    millrace.remove_memory()
    millrace.start()
