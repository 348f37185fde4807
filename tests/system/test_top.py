"""millrace top: in a terminal of tmux, and without one."""
import curses
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from cli_help import millrace
from harness import MILLRACE, SLOW, wait_until
from http_help import Client, http_address, http_config
from load import ipevent, random_sha, send_paced
from supervisor_help import alive
from test_http import end_with_postbacks
from top_help import Terminal, number, row

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

STAGES = ["supervisor", "ingest-udp.0", "ingest-http.0", "enrich.0", "tally.0"]


@pytest.fixture
def top(tmp_path):
    """top(one, "--interval", "200ms", columns=80) runs it in a terminal; both end with the test."""
    open_ones = []

    def make(one, *arguments, environment=None, command=None, **options):
        folder = tmp_path / f"terminal-{len(open_ones)}"
        folder.mkdir()
        terminal = Terminal(folder, {**one.environment(), **(environment or {})}, command or [MILLRACE, "top", *arguments], **options)
        open_ones.append(terminal)
        return terminal.begin()

    yield make
    for terminal in open_ones:
        terminal.end()


@pytest.fixture
def whole(instance, tmp_path):
    """An instance with most stages."""
    return instance(config={**http_config(tmp_path), "sinks": [{"name": "lines", "kind": "null", "topics": ["track"]}],
                            "ingest": {**http_config(tmp_path)["ingest"], "udp": [{"listen": ["127.0.0.1:0"], "format": "ipevent"}]}})


def send_events(one, rng, count, rate):
    sha = random_sha(rng)
    send_paced(one.address(), [ipevent(sha, i % 200) for i in range(count)], rate)


def test_it_shows_all_parts_and_the_rates_of_a_known_load(whole, top, rng):
    terminal = top(whole, "--interval", "500ms", columns=120, rows=50)
    screen = terminal.wait_for(r"^LEDGER")
    for name in STAGES + ["file.lines", "ip", "track.raw", "enrich", "lines", "postback"]:
        row(screen, name)
    assert "nothing lost since the start" in screen
    rate = 2000 / SLOW
    send_events(whole, rng, 16000, rate)
    # The mean of the last 10 s, of which 8 had the load, or of a little less; and what was received in all.
    screen = terminal.wait_for(r"16\.0k")
    assert 0.6 * rate < number(row(screen, "ip")[0]) < 1.3 * rate, screen
    assert 0.6 * rate < number(re.search(r"in (\S+)/s", screen)[1]) < 1.3 * rate, screen
    assert number(row(screen[screen.index("LEDGER"):], "ip")[0]) == 16000
    udp = row(screen, "ingest-udp.0")
    assert udp[0] == "running" and number(udp[1]) > 0 and 0.6 * rate < number(udp[2]) < 1.3 * rate, screen


def test_keys_sort_filter_zoom_and_show_help(whole, top):
    terminal = top(whole, "--interval", "200ms")
    screen = terminal.wait_for(r"^postback")
    assert screen.index("ingest-udp.0") < screen.index("tally.0")
    terminal.keys(">")
    screen = terminal.wait_for(r"STAGE▲")
    names = [name for name in re.findall(r"^(\S+) +running", screen, re.M)]
    assert names == sorted(names) and len(names) > 3, screen
    terminal.keys("r")
    screen = terminal.wait_for(r"STAGE▼")
    names = [name for name in re.findall(r"^(\S+) +running", screen, re.M)]
    assert names == sorted(names, reverse=True), screen
    terminal.keys("f")
    terminal.wait_for("[▲▼]", gone=True)
    terminal.keys("/")
    terminal.type("enrich")
    terminal.keys("Enter")
    screen = terminal.wait_for(r"filter: enrich .*help")
    assert "enrich.0" in screen and "└ enrich" in screen and "track.raw" in screen
    assert "tally" not in screen and "postback" not in screen
    terminal.keys("Escape")
    terminal.wait_for(r"^tally\.0")
    terminal.keys("Tab", "z")
    screen = terminal.wait_for(r"^STAGE", gone=True)
    assert "└ tally" in screen and "LEDGER" not in screen
    terminal.keys("?")
    terminal.wait_for(r"^Keys")
    terminal.keys("q")
    terminal.wait_for(r"└ tally")
    terminal.keys("p")
    terminal.wait_for("PAUSED")
    clock = re.search(r"\d\d:\d\d:\d\d", terminal.screen())[0]
    time.sleep(1.5)
    assert clock in terminal.screen()
    terminal.keys("p")
    terminal.wait_for(clock, gone=True)
    terminal.keys("a")
    terminal.wait_for("rates: 100 s")
    terminal.keys("q")
    assert terminal.wait_back() == 0


def test_the_mouse_sorts_by_a_header_and_scrolls(whole, top):
    terminal = top(whole, "--interval", "200ms")
    screen = terminal.wait_for(r"^postback")
    header = next(i for i, line in enumerate(screen.splitlines()) if line.startswith("STAGE"))
    column = screen.splitlines()[header].index("CPU%")
    # what a terminal sends for a press of the first button (xterm, SGR or not, tmux passes on what the program has asked for)
    for code in (f"\x1b[<0;{column + 1};{header + 1}M", f"\x1b[M{chr(32)}{chr(33 + column)}{chr(33 + header)}"):
        terminal.type(code)
        time.sleep(0.3)
    terminal.wait_for(r"[▼▲] *CPU%")


def wheel(button, column, line, term="screen-256color"):
    """What a terminal sends for a turn of the wheel (64 up, 65 down): in the form that this kind of terminal has (xterm, SGR or not)."""
    curses.setupterm(term, os.open(os.devnull, os.O_WRONLY))
    if curses.tigetstr("kmous") == b"\x1b[<":
        return f"\x1b[<{button};{column};{line}M"
    return f"\x1b[M{chr(32 + button)}{chr(32 + column)}{chr(32 + line)}"


def test_the_wheel_scrolls_the_table_under_it(whole, top):
    terminal = top(whole, "--interval", "200ms", columns=80, rows=24)
    screen = terminal.wait_for(r"^[A-Z]+ 1-\d+/\d+")
    title, last, n = re.search(r"^([A-Z]+) 1-(\d+)/(\d+)", screen, re.M).groups()
    line = 2 + next(i for i, text in enumerate(screen.splitlines()) if text.startswith(f"{title} 1-"))  # the first row, from 1
    by = min(3, int(n) - int(last))
    assert by > 0
    terminal.type(wheel(65, 5, line))
    terminal.wait_for(rf"^{title} {1 + by}-{int(last) + by}/{n}")
    terminal.type(wheel(64, 5, line))
    terminal.wait_for(rf"^{title} 1-{last}/{n}")


def test_a_resize_leaves_out_columns_and_brings_them_back(whole, top):
    terminal = top(whole, "--interval", "200ms", columns=150, rows=50)
    wide = terminal.wait_for(r"^STAGE.*PID  NOTE")
    assert re.search(r"^LEDGER.*BALANCED", wide, re.M)
    terminal.resize(80, 24)
    screen = terminal.wait_for(r"^STAGE.*PID", gone=True)
    screen = terminal.wait_for(r"^\? help")
    assert max(map(len, screen.splitlines())) <= 80 and len(screen.splitlines()) <= 24
    for title in ("STAGE", "TOPIC", "QUEUE", "LEDGER"):
        assert re.search(rf"^{title}", screen, re.M), screen
    terminal.resize(40, 10)
    screen = terminal.wait_for(r"^LEDGER", gone=True)
    screen = terminal.wait_for(r"^\? help")
    assert max(map(len, screen.splitlines())) <= 40 and len(screen.splitlines()) <= 10
    assert re.search(r"^supervisor +running", screen, re.M) and "nothing lost since the start" in screen
    terminal.resize(5, 2)
    time.sleep(0.5)
    terminal.resize(150, 50)
    screen = terminal.wait_for(r"^STAGE.*PID  NOTE")
    assert [line.split()[0] for line in screen.splitlines() if line] == [line.split()[0] for line in wide.splitlines() if line]


def test_a_drop_stays_in_sight_whatever_is_filtered(instance, top, rng):
    one = instance(sets=["topics.ip.size=64KiB"])
    terminal = top(one, "--interval", "200ms")
    terminal.wait_for("nothing lost since the start")
    pid = one.pid_of("tally.0")
    os.kill(pid, signal.SIGSTOP)
    try:
        send_events(one, rng, 3000, 3000)
        terminal.wait_for(r"lost since the start: +dropped [0-9.]+k?, now")
        terminal.wait_for(r"^ip .*100%")
        terminal.wait_for(r"└ tally .*100% +\S+ +([2-9]\.\ds|\d\ds)")
    finally:
        os.kill(pid, signal.SIGCONT)
    terminal.wait_for(r"dropped [0-9.]+k?, now 0/s \(ip\)")
    terminal.keys("Tab", "z", "/")
    terminal.type("nothing")
    terminal.keys("Enter")
    terminal.wait_for("no name has the filter")
    terminal.resize(40, 10)
    terminal.wait_for(r"lost since the start:\s+dropped")
    assert one.ledger("ip")["dropped"] > 0


def test_refusals_of_a_full_queue_stay_in_sight(instance, top, tmp_path):
    one = instance(config=http_config(tmp_path, queue={"slots": 16, "slot_size": 512}))  # and nobody delivers
    terminal = top(one, "--interval", "200ms")
    terminal.wait_for("nothing lost since the start")
    body = {"endpoint": {"method": "GET", "url": "http://h/{n}"}, "data": [{"n": n} for n in range(5)]}
    with Client(http_address(one)) as client:
        assert [client.ask("POST", "/ingest", body).status for _ in range(5)] == [202] * 3 + [503] * 2
    terminal.wait_for(r"lost since the start: +refused 10, now \S+/s \(postback\)")
    terminal.wait_for(r"refused 10, now 0/s \(postback\)")
    terminal.keys("/")
    terminal.type("nothing")
    terminal.keys("Enter")
    terminal.wait_for("no name has the filter")
    terminal.wait_for(r"lost since the start: +refused 10")
    end_with_postbacks(one)


def test_a_stage_that_dies_is_shown_and_its_restart_too(instance, top):
    one = instance()
    terminal = top(one, "--interval", "200ms")
    terminal.wait_for(r"^tally\.0 +running")
    os.kill(one.process.pid, signal.SIGSTOP)
    os.kill(one.pid_of("tally.0"), signal.SIGKILL)
    terminal.wait_for(r"^tally\.0 +dead")
    terminal.wait_for(r"1 stage dead")
    os.kill(one.process.pid, signal.SIGCONT)
    terminal.wait_for(r"^tally\.0 +running .* 1 ")
    terminal.wait_for(r"1 stage dead", gone=True)


def test_it_waits_for_an_instance_that_ends_and_comes_back(instance, top):
    one = instance(start=False)
    terminal = top(one, "--interval", "200ms")
    terminal.wait_for(r"not running; waiting for it")
    one.start()
    terminal.wait_for(r"^tally\.0 +running")
    assert one.stop() == 0
    screen = terminal.wait_for(r"has ended; waiting for it")
    assert f"millrace run --instance {one.name}" in " ".join(screen.split()) and "tally" not in screen
    one.start()
    terminal.wait_for(r"^tally\.0 +running")
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    terminal.wait_for(r"no supervisor runs it")
    one.start()
    terminal.wait_for(r"no supervisor runs it", gone=True)
    terminal.keys("q")
    assert terminal.wait_back() == 0


def test_any_signal_gives_the_terminal_back(instance, top):
    one = instance()
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV):
        terminal = top(one)
        terminal.wait_for(r"^tally\.0")
        os.kill(terminal.pid(), sig)
        assert terminal.wait_back() == (128 + sig if sig in (signal.SIGABRT, signal.SIGSEGV) else 0)
        terminal.end()


def test_it_ends_in_the_background_too(instance, top):
    one = instance()
    terminal = top(one)
    terminal.wait_for(r"^tally\.0")
    pid = terminal.pid()
    terminal.keys("C-z")
    terminal.wait_for("terminal-is-back")
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not alive(pid), 10, "its end")


def test_it_stops_and_goes_on(instance, top):
    one = instance()
    terminal = top(one, "--interval", "200ms")
    terminal.wait_for(r"^tally\.0")
    terminal.keys("C-z")
    terminal.wait_for("terminal-is-back")
    assert alive(terminal.pid())
    terminal.resize(60, 20)
    terminal.type("fg")
    terminal.keys("Enter")
    screen = terminal.wait_for(r"^tally\.0 +running")
    assert max(map(len, screen.splitlines())) <= 60
    # stopped by somebody else, who may have changed the terminal
    os.kill(terminal.pid(), signal.SIGSTOP)
    terminal.wait_for(r"=147")
    terminal.type("stty sane; clear; fg")
    terminal.keys("Enter")
    terminal.wait_for(r"^tally\.0 +running")
    terminal.keys("q")
    terminal.wait_for(r"done=0")


def test_it_has_colours_only_where_they_are_wanted(instance, top):
    one = instance()
    red_green_or_cyan = re.compile(r"\x1b\[[0-9;]*3[1-6]")
    coloured = top(one)
    coloured.wait_for(r"^tally\.0")
    assert red_green_or_cyan.search(coloured.styled())
    for environment, term in (({"NO_COLOR": "1"}, "screen-256color"), ({}, "vt100")):
        plain = top(one, environment=environment, term=term)
        plain.wait_for(r"^tally\.0")
        assert not red_green_or_cyan.search(plain.styled())


def test_a_locale_without_utf8_gets_plain_characters(instance, top):
    one = instance()
    terminal = top(one, utf8=False)
    screen = terminal.wait_for(r"^ +tally .*\.\.\.\.")
    assert screen.isascii(), screen


def test_without_a_terminal_it_prints_one_screen_without_escapes(whole):
    result = whole.millrace("top", "--interval", "200ms")
    assert result.returncode == 0 and result.stderr == ""
    assert "\x1b" not in result.stdout and not re.search(r" $", result.stdout, re.M)
    for name in STAGES + ["ip", "postback"]:
        row(result.stdout, name)
    for title in ("STAGE", "TOPIC", "QUEUE", "LEDGER"):
        assert re.search(rf"^{title}", result.stdout, re.M)
    narrow = subprocess.run([MILLRACE, "top", "--once", "--interval", "100ms"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            env={**whole.environment(), "COLUMNS": "60"}, timeout=30 * SLOW, check=True).stdout
    assert max(map(len, narrow.splitlines())) <= 60
    # a reader that has gone is no fault
    quiet = subprocess.run(["bash", "-c", f"{MILLRACE} top --once --interval 100ms | true; exit ${{PIPESTATUS[0]}}"], capture_output=True,
                           text=True, env=whole.environment(), timeout=30 * SLOW, check=False)
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_once_on_a_terminal_has_no_escapes_either(instance):
    one = instance()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MILLRACE, ["millrace", "top", "--once", "--interval", "100ms"], {**one.environment(), "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    text = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        text += data
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert b"tally.0" in text and b"\x1b" not in text


def test_keys_come_from_the_terminal_when_standard_input_is_none(instance, top):
    one = instance()
    terminal = top(one, command=["bash", "-c", f"exec {MILLRACE} top </dev/null"])
    terminal.wait_for(r"^tally\.0")
    terminal.keys("?")
    terminal.wait_for(r"^Keys")
    terminal.keys("q", "q")
    assert terminal.wait_back() == 0


def test_a_terminal_that_goes_away_ends_it(instance):
    one = instance()
    # SIGHUP is ignored, as under nohup: the end of the terminal itself must be noticed.
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execve("/bin/sh", ["sh", "-c", f"exec {MILLRACE} top"], {**one.environment(), "TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = b""
    while b"tally" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 20, "its end")


def test_what_cannot_be_shown_is_said(instance, shm_root):
    result = millrace("top", "--once", "--instance", "nobody", env={"MILLRACE_SHM": str(shm_root)})
    assert result.returncode == 1 and 'instance "nobody" is not running' in result.stderr and result.stdout == ""
    assert millrace("top", "--instance", "../up").returncode == 1
    assert millrace("top", "--interval", "1ms").returncode == 2
    one = instance()
    for term in ("dumb", "no-such-terminal"):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(MILLRACE, ["millrace", "top"], {**one.environment(), "TERM": term})
        text = b""
        while True:
            try:
                text += os.read(terminal, 4096)
            except OSError:
                break
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        os.close(terminal)
        assert b"use --once" in text, text
