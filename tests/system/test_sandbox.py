"""The sandboxes of a running instance, seen from outside: of every stage, by what the kernel says of its process."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import denied, wait_until
from http_help import ask, http_config
from serve_help import serve_address, serve_config

STAGES = {"ingest-udp.0", "ingest-http.0", "enrich.0", "deliver.0", "tally.0", "objects.kept", "file.lines", "kafka.bus", "serve.0"}
HOLD_KEYS = {"deliver.0", "objects.kept", "kafka.bus", "serve.0"}
PRIVILEGES, CAPABILITIES, CALLS, PATHS, PORTS, SIGNALS = 1, 2, 4, 8, 16, 32


def whole_config(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    config = http_config(tmp_path)
    config["ingest"]["udp"] = [{"listen": ["127.0.0.1:0"]}]
    config["deliver"] = {"processes": 1}
    config["serve"] = {"listen": ["127.0.0.1:0"]}
    config["topics"]["ip"] = {"size": "1MiB"}
    config["sinks"] = [
        {"name": "kept", "kind": "objects", "topics": ["log"], "tails": "16MiB", "member": "64KiB", "longest_line": "64KiB"},
        {"name": "lines", "kind": "file", "topics": ["log"], "path": str(logs / "lines.ndjson")},
        {"name": "bus", "kind": "kafka", "topics": ["metric"], "brokers": ["127.0.0.1:1"]},
    ]
    return config


def roles(millrace):
    return {stage["name"]: stage for stage in millrace.stat()["stages"]}


def status(pid, task=""):
    """Of a process, or of one of its threads."""
    where = Path("/proc", str(pid), "task", task) if task else Path("/proc", str(pid))
    return dict(line.split(":", 1) for line in (where / "status").read_text().splitlines())


def in_force(role):
    return role["metrics"]["sandbox"]


def dumpable(process):
    """As root everything belongs to root, so the page map tells: the kernel shows it to nobody then who lacks CAP_SYS_PTRACE."""
    script = f"open('{process}/maps').read()"
    if os.geteuid() != 0:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=10).returncode == 0
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0


def sanitized(millrace):
    return "built with a sanitizer" in millrace.log()


def test_every_stage_has_lost_what_it_does_not_need(instance, tmp_path):
    millrace = instance(config=whole_config(tmp_path))
    running = wait_until(lambda: {n: r for n, r in roles(millrace).items() if r["state"] == "running"}.keys() >= STAGES and roles(millrace),
                         what="all stages")
    assert set(running) == STAGES
    for name, role in running.items():
        about = status(role["pid"])
        assert about["NoNewPrivs"].strip() == "1", name
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(about[kind], 16) == 0, (name, kind)
        assert in_force(role) & (PRIVILEGES | CAPABILITIES) == PRIVILEGES | CAPABILITIES, name
        assert (in_force(role) & CALLS != 0) == (about["Seccomp"].strip() == "2"), name
        if sanitized(millrace):
            continue
        assert about["Seccomp"].strip() == "2", name
        for task in Path("/proc", str(role["pid"]), "task").iterdir():
            thread = status(role["pid"], task.name)
            assert (thread["Seccomp"].strip(), thread["NoNewPrivs"].strip(), int(thread["CapEff"], 16)) == ("2", "1", 0), (name, task)
    assert all(role["metrics"]["refused_calls"] == 0 for role in roles(millrace).values())


def test_keys_of_the_environment_are_where_they_are_needed_alone(instance, tmp_path, monkeypatch):
    """In no argument either; a key of another program is nowhere."""
    keys = {"AWS_SECRET_ACCESS_KEY": "key-of-the-store", "AZURE_KEY": "key-of-azure", "SOMEBODYS_PASSWORD": "key-of-another"}
    for name, key in {**keys, "MILLRACE_OF_THE_TEST": "to all", "JOURNAL_STREAM": "1:2", "NOTIFY_SOCKET": "/run/none", "WATCHDOG_USEC": "9000000"}.items():
        monkeypatch.setenv(name, key)
    millrace = instance(config=whole_config(tmp_path))
    for name, role in roles(millrace).items():
        process = Path("/proc", str(role["pid"]))
        given = environment(process)
        assert given is None or b"MILLRACE_OF_THE_TEST=to all" in given, name
        assert given is None or b"JOURNAL_STREAM=1:2" in given, "its lines have priorities, as the supervisor's"
        assert given is None or not any(one.startswith((b"NOTIFY_SOCKET=", b"WATCHDOG_")) for one in given), "it does not speak for the instance"
        has = {key for key in keys.values() if given is not None and any(key.encode() in one for one in given)}
        assert has == (set() if name != "objects.kept" or given is None else {"key-of-the-store", "key-of-azure"}), name
        assert not any(key.encode() in (process / "cmdline").read_bytes() for key in keys.values()), name


def environment(process):
    """None where the kernel shows it to root alone, and this is not root."""
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        assert os.geteuid() != 0
        return None


def test_who_holds_keys_cannot_be_dumped(instance, tmp_path):
    """The files in /proc of a process that cannot be dumped, or traced by its own user, belong to root."""
    millrace = instance(config=whole_config(tmp_path))
    if sanitized(millrace):
        pytest.skip("a sanitizer traces its process at the end")
    for name, role in roles(millrace).items():
        process = Path("/proc", str(role["pid"]))
        assert dumpable(process) == (name not in HOLD_KEYS), name


def test_a_folder_that_was_replaced_is_written_to_again(instance, tmp_path):
    millrace = instance(config=whole_config(tmp_path))
    if in_force(roles(millrace)["file.lines"]) & PATHS == 0:
        pytest.skip("the kernel has no Landlock, or a sanitizer is built in")
    before = millrace.pid_of("file.lines")
    (tmp_path / "logs").rename(tmp_path / "aside")
    (tmp_path / "logs").mkdir()
    wait_until(lambda: millrace.pid_of("file.lines") not in (before, None) and roles(millrace)["file.lines"]["state"] == "running", what="another life")
    wait_until((tmp_path / "logs" / "lines.ndjson").exists, what="its file")
    assert millrace.stop() == 0


def test_off_takes_nothing(instance, tmp_path):
    off = instance(config=whole_config(tmp_path), sets=["sandbox=off"])
    assert all(in_force(role) == 0 for role in roles(off).values())
    assert all(status(role["pid"])["Seccomp"].strip() == "0" for role in roles(off).values())
    assert off.log().count("the sandbox is off") == len(STAGES)
    assert off.stop() == 0


def test_a_kernel_without_the_means_is_said_and_on_refuses_it(instance, tmp_path):
    """Landlock is denied to the whole instance, as in a kernel that lacks it."""
    without = instance(config=http_config(tmp_path), wrapper=denied("landlock"))
    assert 'missing="paths, ports, signals"' in without.log() or sanitized(without)
    assert all(in_force(role) & (PATHS | PORTS | SIGNALS) == 0 for role in roles(without).values())
    assert without.stop() == 0
    strict = instance(start=False, config=http_config(tmp_path), sets=["sandbox=on"], wrapper=denied("landlock"))
    strict.start(wait=False)
    wait_until(lambda: 'sandbox: is "on", but' in strict.log(), what="the refusal")
    strict.process.send_signal(signal.SIGTERM)
    strict.process.wait(timeout=30)


def test_who_holds_no_capability_need_not_be_allowed_to_drop_any(instance):
    """As a unit of systemd whose filter leaves out @privileged."""
    none = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    millrace = instance(wrapper=[*none, *denied("capset")])
    for name, role in roles(millrace).items():
        about = status(role["pid"])
        assert int(about["CapEff"], 16) == int(about["CapPrm"], 16) == 0, name


@pytest.fixture(params=["/tmp", "/home"])
def everybodys(request):
    """A folder of which a stage is let in to a file alone, and what was made in it."""
    made = []
    home = os.environ.get("HOME", "")
    folder = home if request.param == "/home" and home.startswith("/home/") else request.param
    if not os.access(folder, os.W_OK):
        pytest.skip(f"{folder} is not ours to write in")
    yield folder, made
    for path in made:
        (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)


@pytest.mark.parametrize("deep", [False, True])
def test_files_that_are_read_together_are_both_let_in(instance, tmp_path, everybodys, deep):
    """The style sheet of the charts lies beside their script, wherever that is."""
    folder, made = everybodys
    name = tempfile.mktemp(prefix="millrace-test.", dir=folder)
    files = [f"{name}/share/uPlot.js", f"{name}/share/uPlot.css"] if deep else [f"{name}.js", f"{name}.css"]
    made += [name] if deep else files
    os.makedirs(os.path.dirname(files[0]), exist_ok=True)
    for file, text in zip(files, ("let one = 1;", "a{}")):
        with open(file, "w", encoding="utf-8") as out:
            out.write(text)
    one = instance(config=serve_config(tmp_path, charts=files[0]))

    def got(path):
        try:
            return ask(serve_address(one), "GET", path).body
        except (OSError, EOFError):  # between two lives
            return None

    assert got("/page/uPlot.css") == b"a{}", one.log()
    with open(files[0] + ".new", "w", encoding="utf-8") as out:
        out.write("let two = 2;")
    os.rename(files[0] + ".new", files[0])
    one.kill(signal.SIGHUP)
    wait_until(lambda: got("/page/uPlot.js") == b"let two = 2;", what="the other script")
    assert got("/page/uPlot.css") == b"a{}", one.log()
