"""tally under kill -9 while events come: threads that send and remember what was answered, and the kills.

    senders = [Sender(http_address(one), calls.send) for calls in ...]
    killer = Killer(one, rng)
    for _ in range(KILLS):
        allow(senders, MOST // KILLS)
        killer.kill("tally.0")
    for sender in senders:
        sender.end()
    killer.check()
"""
import collections
import contextlib
import threading
import time

from harness import SLOW, kill_pid, processes, wait_until
from http_help import Client


class Loop(threading.Thread):
    """Calls once() until it is told to end. What once() raises ends it, and is raised again by end()."""

    def __init__(self, once):
        super().__init__(daemon=True)
        self.once = once
        self.ending = threading.Event()
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.ending.is_set():
                self.once()
        except Exception as failure:  # raised by end()
            self.failure = failure

    def end(self):
        self.ending.set()
        self.join()
        if self.failure:
            raise self.failure


class Sender(Loop):
    """send(client) sends some events on a connection of the sender's own, and returns how many. No more is sent once they are `may`,
    which grows from kill to kill (allow), so that none comes when all are sent."""

    def __init__(self, address, send, may=0):
        self.client = Client(address)
        self.send = send
        self.may = may
        self.events = 0
        super().__init__(self.turn)

    def turn(self):
        if self.events >= self.may:
            time.sleep(0.002)
        else:
            self.events += self.send(self.client)

    def end(self):
        try:
            super().end()
        finally:
            self.client.socket.close()


def allow(senders, more):
    for sender in senders:
        sender.may += more


class Killer:
    """kill -9 at random moments, each of a life that was not killed before."""

    def __init__(self, one, rng):
        self.one = one
        self.rng = rng
        self.last = {}  # by role: the pid
        self.kills = collections.Counter()

    def at_work(self, role):
        stage = self.one.stage(role)
        return stage["state"] == "running" and stage["pid"] != self.last.get(role) and stage["pid"]

    def kill(self, role="tally.0"):
        """Half of the time what gathers for it comes to it just before, so that it is in the middle of that."""
        rng = self.rng
        pid = wait_until(lambda: self.at_work(role), 30, f"the next life of {role}")
        time.sleep(rng.uniform(0, 0.15))
        if rng.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                processes.pause(pid)
                time.sleep(rng.uniform(0.01, 0.05))
                processes.resume(pid)
                time.sleep(rng.uniform(0, 0.01) * SLOW)
        assert kill_pid(pid), f"{role} has ended by itself"
        self.last[role] = pid
        self.kills[role] += 1

    def check(self):
        """It died of the kills alone."""
        for role, kills in self.kills.items():
            wait_until(lambda name=role: self.at_work(name), 30, f"the last life of {role}")
            assert self.one.stage(role)["restarts"] == kills
