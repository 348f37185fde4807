"""What no single benchmark program can measure: a syslog receiver beside ours, and what everybody uses who waits.

    syslog()  millrace and rsyslog get the same datagrams from the same generator, in turns
    idle()    memory and processor time of each server with nothing to do
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "system"), str(ROOT / "tests" / "peers")]
from harness import Instance, cpu_seconds  # noqa: E402

FLOOD_S = 2
IDLE_S = 5
JSON_TOPICS = ("metric", "log", "track.raw")  # where JSON datagrams go, by what is in them
SYSLOG = """global(workDirectory="{folder}")
module(load="imudp" threads="1" batchSize="128" timeRequery="8")
template(name="line" type="string" string="%rawmsg%\\n")
ruleset(name="in" queue.type="Direct") {{ action(type="omfile" file="{folder}/out" template="line" asyncWriting="off" ioBufferSize="256k") }}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="in" rcvbufSize="16m")
"""


@contextlib.contextmanager
def folder():
    """A folder in shared memory, so that no disk is measured."""
    where = Path(tempfile.mkdtemp(prefix="millrace-bench-report-", dir="/dev/shm"))
    try:
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def server(command, **options):
    """A program that runs until the block ends."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def flood(build, address):
    """Sends JSON datagrams, one a message, as many as go; returns how many."""
    host, port = address
    sent = subprocess.run([build / "bin" / "millrace", "send", "udp", f"{host}:{port}", "--format", "json", "--duration", f"{FLOOD_S}s", "--json"],
                          capture_output=True, text=True, check=True, timeout=60)
    return json.loads(sent.stdout)["sent"]


def unchanging(read, pause=0.3):
    """The value that read() has twice in a row."""
    last = read()
    while True:
        time.sleep(pause)
        now = read()
        if now == last:
            return now
        last = now


def installed(program):
    """Its path, None when it is not there. Servers are in sbin, which not everybody's PATH has."""
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")


def syslog_turn(build, where):
    port = free_port(socket.SOCK_DGRAM)
    conf, out = where / "rsyslog.conf", where / "out"
    conf.write_text(SYSLOG.format(folder=where, port=port))
    out.unlink(missing_ok=True)
    with server([installed("rsyslogd"), "-n", "-f", str(conf), "-i", str(where / "rsyslog.pid")]) as process:
        time.sleep(1)
        before = cpu_seconds(process.pid)
        sent = flood(build, ("127.0.0.1", port))
        unchanging(lambda: out.stat().st_size if out.exists() else 0)
        used = cpu_seconds(process.pid) - before
    with open(out, "rb") as lines:
        received = sum(1 for _ in lines)
    return {"sent": sent, "received": received, "per_s": received / FLOOD_S, "per_cpu_s": received / used}


def millrace_turn(build, where):
    config = {"data_dir": str(where / "data"), "ingest": {"udp": [{"listen": ["127.0.0.1:0"], "format": "json", "receive_buffer": "16MiB"}], "http": []},
              "sinks": [], "serve": {"listen": []}}
    with Instance(where, where, config) as one:
        pids = [stage["pid"] for stage in one.stat()["stages"]]
        before = sum(map(cpu_seconds, pids))
        sent = flood(build, one.address())
        written = unchanging(lambda: sum(entry["written"] for entry in one.stat()["ledger"] if entry["topic"] in JSON_TOPICS))
        used = sum(map(cpu_seconds, pids)) - before
    return {"sent": sent, "received": written, "per_s": written / FLOOD_S, "per_cpu_s": written / used}


def syslog(build):
    """One turn of each, or why not."""
    if installed("rsyslogd") is None:
        return {"left_out": "rsyslogd is not installed"}
    with folder() as where:
        return {"millrace": millrace_turn(build, where), "rsyslog": syslog_turn(build, where)}


# ---- who waits ----


def descendants(pid):
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def memory_bytes(pid):
    """What of a process's own memory and of its files is its share (PSS); shared memory, which may be mapped twice, is shared_bytes'."""
    kinds = ("Pss_Anon:", "Pss_File:")
    return sum(int(line.split()[1]) * 1024 for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith(kinds))


def shared_bytes(where):
    """Blocks of the files in shared memory below a folder, data_dir left out."""
    return sum(one.lstat().st_blocks * 512 for one in where.rglob("*") if one.is_file() and "data" not in one.relative_to(where).parts)


def waiting(pid, where=None):
    """where: the folder of its shared memory, None: it has none."""
    time.sleep(2)
    pids = descendants(pid)
    before = sum(map(cpu_seconds, pids))
    time.sleep(IDLE_S)
    return {"processes": len(pids), "memory": sum(map(memory_bytes, pids)),
            "shared": shared_bytes(where) if where else 0, "cpu_percent": 100 * (sum(map(cpu_seconds, pids)) - before) / IDLE_S}


def idle_servers(where):
    """Name and command of each that is installed, as it comes."""
    nginx = where / "nginx.conf"
    nginx.write_text(f"daemon off; worker_processes 1; pid {where}/nginx.pid; error_log {where}/nginx.log; events {{}}\n"
                     f"http {{ access_log off; server {{ listen 127.0.0.1:{free_port(socket.SOCK_STREAM)}; }} }}\n")
    syslog_conf = where / "rsyslog.conf"
    syslog_conf.write_text(SYSLOG.format(folder=where, port=free_port(socket.SOCK_DGRAM)))
    return (
        ("nginx, one worker", ["nginx", "-e", f"{where}/nginx.log", "-c", str(nginx)]),
        ("Redis", ["redis-server", "--port", "0", "--unixsocket", f"{where}/redis.sock", "--save", "", "--dir", str(where)]),
        ("rsyslog", ["rsyslogd", "-n", "-f", str(syslog_conf), "-i", f"{where}/rsyslog.pid"]),
        ("NATS with JetStream", ["nats-server", "--jetstream", "--addr", "127.0.0.1", "--port", "-1", "--store_dir", f"{where}/nats"]),
    )


def idle():
    """[{name, processes, memory, shared, cpu_percent}], bytes"""
    found = []
    with folder() as where:
        config = {"data_dir": str(where / "data"), "ingest": {"udp": [{"listen": ["127.0.0.1:0"]}], "http": [{"listen": ["127.0.0.1:0"]}]},
                  "sinks": [{"name": "files", "kind": "objects", "topics": ["log", "track"], "store": {"directory": str(where / "objects")}}],
                  "serve": {"listen": ["127.0.0.1:0"]}}
        with Instance(where, where, config) as one:
            found.append({"name": "millrace, all stages", **waiting(one.process.pid, one.directory)})
        for name, command in idle_servers(where):
            path = installed(command[0])
            if path is not None:
                with server([path, *command[1:]]) as process:
                    found.append({"name": name, **waiting(process.pid)})
        with kafka(where) as broker:
            if broker is not None:
                found.append({"name": "Kafka", **waiting(broker.process.pid)})
    return found


@contextlib.contextmanager
def kafka(where):
    """A broker, where `make test-peers` has fetched one; else None."""
    import peers_help  # pylint: disable=import-outside-toplevel

    if peers_help.missing("kafka"):
        yield None
        return

    class Broker(peers_help.Kafka):
        def ready(self):
            return self.port.answers()

    with Broker(where / "kafka") as broker:
        time.sleep(3)  # its port is open before it can be asked
        yield broker
