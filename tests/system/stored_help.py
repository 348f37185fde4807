"""HTTP events under load against what is stored of them: the load remembers the number of every event that was answered 2xx, a required
group reads all that is in the topic.

    with StoredLoad(one, address, tmp_path, "-c", 8, "-p", 4, "--rate", 30000) as load:
        ...                  kills, restarts
    load.taken, load.account, load.stored
"""
import json
import signal
import subprocess

from harness import MILLRACE, SLOW, wait_until
from http_help import Load


class Collector:
    """`millrace consume` into a file: all that comes, as a required group. It may end with a supervisor, and goes on with the next."""

    def __init__(self, millrace, topic, tmp_path):
        self.millrace = millrace
        self.topic = topic
        self.file = tmp_path / f"{topic}.collected"
        self.process = None
        self.start()

    def start(self):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [str(MILLRACE), "consume", self.topic, "--group", "all", "--from", "oldest", "--linger", "20ms", "--", "sh", "-c",
                 f"cat >> {self.file}"],
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.millrace.environment())

    def stop(self):
        """Ends the reader, then reads what it left. Returns all events, each once: consume may give one twice, by the same id."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30 * SLOW)
        result = self.millrace.millrace("consume", self.topic, "--group", "all", "--no-follow", "--", "sh", "-c", f"cat >> {self.file}")
        assert result.returncode == 0, result.stderr
        return list({event["id"]: event for event in map(json.loads, self.file.read_text().splitlines())}.values())

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def check_account(account, load, stored):
    """What the sender knows against what is there."""
    taken = load.acknowledged()
    assert account["connections"]["refused"] == 0, account
    assert account["unexpected"] == account["unasked"] == account["connections"]["bad_answers"] == 0, account
    assert len(stored) == len(set(stored)), "stored twice"
    assert len(taken) == len(set(taken))
    missing = set(taken) - set(stored)
    assert not missing, f"{len(missing)} of {len(taken)} that were acknowledged are missing: {sorted(missing)[:10]}"
    # Beyond those there is only what was sent and got no answer.
    assert len(stored) <= len(taken) + account["unanswered"] * account.get("events_each", 1), account
    return len(taken)


def check_nothing_lost(millrace, topic, stored):
    ledger = wait_until(lambda: (e := millrace.ledger(topic)) and e["balanced"] and e, 20, f"the ledger of {topic} to add up")
    assert (ledger["written"], ledger["dropped"], ledger["refused"]) == (stored, 0, 0), ledger
    assert ledger["received"] == stored and sum(ledger["rejected"].values()) == 0, ledger


class StoredLoad(Load):
    """Load on topic metric while the block runs. After it `account` is the sender's, `stored` the numbers that are in the topic, `taken`
    how many were acknowledged, which are all there, once."""

    def __init__(self, one, address, tmp_path, *arguments):
        self.collector = Collector(one, "metric", tmp_path)
        super().__init__(address, tmp_path, *arguments, "--duration", 3600)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.account = self.end()
                self.stored = [event["count"] for event in self.collector.stop()]
        finally:
            self.discard()
            self.collector.discard()
        if kind is None:
            self.taken = check_account(self.account, self, self.stored)
