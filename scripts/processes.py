"""Who is still alive: for the test runner and the system tests.

A process that calls become_reaper() inherits the orphans of all its descendants. So whatever its tests start is either
among its children or dead, and is found and ended by pid, never by name.
"""
import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def become_reaper():
    """See PR_SET_CHILD_SUBREAPER in prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def seen():
    """(pid, state, parent, session) of every process that can be seen."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            state, parent, _group, session = stat[stat.rindex(")") + 2 :].split()[:4]
            yield int(entry), state, int(parent), int(session)


def command_of(pid):
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def pause(pid):
    """Stops a process where it is (SIGSTOP) and waits until it stands."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while next((state for p, state, *_ in seen() if p == pid), "T") != "T" and time.monotonic() < deadline:
        time.sleep(0.005)


def resume(pid):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def children(of=None, besides=()):
    """The live children of a process (this one), {pid: command}. Buries this process's dead ones, but for `besides`."""
    of = of or os.getpid()
    found = {}
    for pid, state, parent, _session in seen():
        if parent != of or pid in besides:
            continue
        if state != "Z":
            found[pid] = command_of(pid)
        elif of == os.getpid():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
    return found


def of_session(leader):
    """The live processes of the session that this process led, {pid: command}."""
    return {pid: command_of(pid) for pid, state, _parent, session in seen() if session == leader and state != "Z"}


def end_session(leader, settle_s):
    """Waits up to settle_s seconds for all of a session to end; kills and returns those that did not, {pid: command}."""
    deadline = time.monotonic() + settle_s
    while (left := of_session(leader)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return left


def survivors(settle_s, besides=()):
    """Waits up to settle_s seconds for all children to end; kills and returns those that did not, {pid: command}."""
    deadline = time.monotonic() + settle_s
    found = children(besides=besides)
    while found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = children(besides=besides)
    left = dict(found)
    end = time.monotonic() + 5
    while found and time.monotonic() < end:
        # A killed parent hands its children over, so look again.
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
        found = children(besides=besides)
        left.update(found)
    return left
