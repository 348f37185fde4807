"""A terminal for tests of what draws on one: tmux with a server of its own.

    terminal = Terminal(tmp_path, one.environment(), [MILLRACE, "top"], columns=80, rows=24).begin()
    terminal.wait_for("STAGE")
    terminal.keys("/", "t")
    terminal.resize(40, 10)
    terminal.end()
"""
import itertools
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

from harness import SLOW, wait_until

_numbers = itertools.count(1)
PROMPT = "terminal-is-back$"


class Terminal:
    """A shell script in tmux: it runs the command, tells its exit status, and reads lines until the terminal ends."""

    def __init__(self, tmp_path, environment, command, columns=80, rows=24, utf8=True, term="screen-256color"):
        self.name = f"millrace-test-{os.getpid()}-{next(_numbers)}"
        self.environment = {k: v for k, v in environment.items() if k not in ("LANG", "LC_CTYPE", "COLUMNS", "LINES", "TMUX")}
        script = tmp_path / "terminal.sh"
        line = " ".join(shlex.quote(str(word)) for word in command)
        # The pid is told first, so that the test can send signals; job control is on, as in a shell that a person uses.
        script.write_text(
            f"set -m\nexport TERM={term} LC_ALL={'C.UTF-8' if utf8 else 'C'}\necho before-$((40 + 2))\nstty -a > {tmp_path}/stty.before\n"
            f"sh -c 'echo $$ > {tmp_path}/top.pid; exec \"$@\"' sh {line}\n"
            f"status=$?\necho status=$status\nstty -a > {tmp_path}/stty.after\necho '{PROMPT}'\n"
            "while read -r word; do eval \"$word\"; echo done=$?; done\n")
        self.tmp_path = tmp_path
        self.start = ["new-session", "-d", "-s", "top", "-x", str(columns), "-y", str(rows), f"bash {script}"]

    def tmux(self, *arguments, check=True):
        result = subprocess.run(
            ["tmux", "-u", "-L", self.name, "-f", "/dev/null", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            # that of the user may be one that lets nobody in
            env={**self.environment, "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}, timeout=20 * SLOW, check=False)
        assert not check or result.returncode == 0, (arguments, result.stderr)
        return result.stdout

    def begin(self):
        self.tmux(*self.start)
        return self

    def end(self):
        self.end_command()
        self.tmux("kill-server", check=False)
        # the server leaves its socket
        Path(os.environ.get("TMUX_TMPDIR", "/tmp"), f"tmux-{os.getuid()}", self.name).unlink(missing_ok=True)

    def end_command(self):
        """Before its terminal goes away: that is told twice, and LeakSanitizer, which looks through the memory when the process
        ends by the first time, can hang over the second."""
        file = self.tmp_path / "top.pid"
        text = file.read_text().strip() if file.exists() else ""
        try:
            if not text or b"millrace" not in Path("/proc", text, "cmdline").read_bytes():
                return  # it never began, or its number is another's by now
            for number in (signal.SIGTERM, signal.SIGCONT):
                os.kill(int(text), number)
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended
        wait_until(lambda: not Path("/proc", text).exists(), 10, "the end of the command")

    def pid(self):
        return int(wait_until(lambda: (self.tmp_path / "top.pid").exists() and (self.tmp_path / "top.pid").read_text().strip(), 10, "the pid"))

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "top")

    def styled(self):
        """The screen with its escape sequences."""
        return self.tmux("capture-pane", "-p", "-e", "-t", "top")

    def keys(self, *keys):
        self.tmux("send-keys", "-t", "top", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", "-t", "top", text)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-t", "top", "-x", str(columns), "-y", str(rows))

    def wait_for(self, pattern, timeout=20, gone=False):
        """Waits until the screen has the pattern (or no longer); returns the screen."""
        last = {}

        def seen():
            last["screen"] = self.screen()
            return bool(re.search(pattern, last["screen"], re.MULTILINE)) != gone

        def there():
            # Twice: the first look may have come while the screen was being drawn.
            return seen() and not time.sleep(0.05) and seen()

        try:
            wait_until(there, timeout, f"{'no ' if gone else ''}{pattern!r} on the screen", pause=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{last.get('screen')}") from None
        return last["screen"]

    def wait_back(self):
        """Waits until the command has given the terminal back; returns its exit status."""
        screen = self.wait_for(re.escape(PROMPT))
        assert os.path.getsize(self.tmp_path / "stty.after") > 0
        assert (self.tmp_path / "stty.before").read_text() == (self.tmp_path / "stty.after").read_text()
        assert "before-42" in screen, "the screen from before is not back"
        assert self.tmux("display-message", "-p", "-t", "top", "#{mouse_any_flag}").strip() == "0", "the mouse is still reported"
        return int(re.search(r"status=(\d+)", screen)[1])


def row(screen, name):
    """The words of the row that begins with the name, whatever stands before it."""
    line = next((line for line in screen.splitlines() if re.match(rf"\W*{re.escape(name)}( |$)", line)), None)
    assert line is not None, f"no row {name} in\n{screen}"
    return line.split(name, 1)[1].split()


def number(text):
    """12.3k as 12300."""
    match = re.fullmatch(r"([0-9.]+)([kMGTP]?)", text)
    assert match, text
    return float(match[1]) * 1000 ** " kMGTP".index(match[2] or " ")
