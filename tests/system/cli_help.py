"""For tests of the millrace command: running it, and what every command must have.

    result = millrace("stat", "--json")             to its end
    process = running(one, "tap", "ip")             a fixture (conftest.py): goes on until the test ends
"""
import json
import os
import re
import signal
import subprocess
import time

from harness import MILLRACE, ROOT, SLOW, wait_until
from load import ipevent, send_paced

COMMANDS = re.findall(r'^COMMAND\("([a-z]+)"', (ROOT / "cli" / "command.def").read_text(), re.MULTILINE)
RATE = 20000 / SLOW


def millrace(*arguments, env=None, timeout=30, **options):
    """The command without an instance of its own."""
    return subprocess.run(
        [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=dict(os.environ, **(env or {})), timeout=timeout * SLOW, **options,
    )


class Running:
    """A command that goes on, its output in files."""

    def __init__(self, one, tmp_path, *arguments, stdout=None):
        self.out = tmp_path / f"{arguments[0]}-{time.monotonic_ns()}.out"
        self.err = self.out.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [str(MILLRACE), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=err,
                env=one.environment(),
            )

    def lines(self):
        """Its whole lines so far: what follows the last newline is still being written."""
        return [line for line in self.out.read_text().split("\n")[:-1] if line]

    def errors(self):
        return self.err.read_text()

    def end(self, sig=signal.SIGTERM, timeout=15):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=timeout * SLOW)


def wait_group(one, topic, group, present=True):
    """Until the reader group is there, and has a reader."""

    def found():
        entry = one.group(topic, group)
        return bool(entry and entry["reader_pid"]) if present else not entry

    wait_until(found, 10, f"group {group} {'present' if present else 'gone'}")


def wait_tap(one, process, topic="ip"):
    wait_group(one, topic, f"tap.{process.process.pid}")


def events(text):
    return [json.loads(line) for line in text.splitlines() if line]


def send_events(one, sha, ips):
    send_paced(one.address(), [ipevent(sha, ip) for ip in ips], RATE)


# ---- what a command must have ----


def _run(program, *arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * SLOW, check=False)


def check_help(program, command, pages):
    """It is in the overview, has a help, and a manual page among the pages that knows all its options and exit codes."""
    assert re.search(rf"^  {command} ", _run(program, "help").stdout, re.M)
    result = _run(program, command, "--help")
    assert result.returncode == 0 and result.stderr == ""
    assert _run(program, "help", command).stdout == result.stdout
    for part in ("Usage: millrace " + command, "Exit codes:", "Example:", "  0  ", "  1  ", "  2  "):
        assert part in result.stdout, (command, part)
    page = (pages / f"millrace-{command}.1").read_text()
    for option in re.findall(r"^ .{5}--([a-z-]+)", result.stdout, re.M):
        if option != "help":
            assert re.search(rf"Fl -?{option.replace('-', '.')}\b|Fl -{option}\b", page), f"{command} --{option}"
    for code in re.findall(r"^  (\d)  ", result.stdout, re.M):
        assert f".It {code}\n" in page, (command, code)


def check_page(page):
    result = _run("mandoc", "-Tlint", "-Wwarning", page)
    assert result.returncode == 0, result.stdout + result.stderr


def complete(program, tree, *words):
    """What the completion offers for the last word."""
    script = 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); _millrace; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(
        ["bash", "-c", script, "bash", tree / "cli" / "completion" / "millrace", program, *words], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=30 * SLOW, check=True)
    assert result.stderr == ""
    return result.stdout.split()
