"""What goes wrong, when, and for which requests.

    faults.add("lose", operation="CompleteMultipartUpload")             the first one: it acts, and its answer is lost
    faults.add("slow_down", operation="UploadPart", nth=3, count=5)     the third to the seventh are answered 503
    faults.add("lose", probability=0.1, seed=7)                         one in ten of all, the same ones in each run
    faults.add("hold", when="after", key="log/*")                       acts, and waits for release()

README.md has the table of all actions.
"""
import fnmatch
import itertools
import random
import threading
import time

ACTIONS = {"lose", "hold", "hang", "drop", "cut", "cut_answer", "slow", "error"}
HOLD_S = 120.0
POLL_S = 0.05
# Errors that each service knows under these names; what each is there stands in the service's `FAULTS`.
ERRORS = ("internal", "unavailable", "slow_down", "conflict", "precondition", "body_error", "no_upload", "no_bucket", "denied", "expired",
          "skewed", "custom")
MATCHES = ("service", "operation", "bucket", "key")


class Rule:
    """Which requests, which of them, and what happens to them."""

    def __init__(self, number, action, service=None, operation=None, bucket=None, key=None, nth=1, count=None, probability=None, seed=0,
                 when="after", acted=False, early=False, reset=False, rate=0, above=0, seconds=HOLD_S, **answer):
        if action in ERRORS:
            action, self.error = "error", action
        else:
            self.error = answer.pop("error", "internal")
        if action not in ACTIONS:
            raise ValueError(f"no such action: {action}; there are {sorted(ACTIONS | set(ERRORS))}")
        if when not in ("before", "after"):
            raise ValueError("when is before or after")
        if action == "slow" and not rate > 0:
            raise ValueError("slow needs rate, in bytes/s")
        unknown = set(answer) - {"status", "code", "message", "retry_after", "headers", "body"}
        if unknown:
            raise ValueError(f"unknown: {sorted(unknown)}")
        self.number, self.action = number, action
        self.matches = dict(service=service, operation=operation, bucket=bucket, key=key)
        self.nth = nth
        self.count = count if count is not None else 1 if probability is None and not above else 0
        self.probability, self.random = probability, random.Random(seed)
        self.when, self.acted, self.early, self.reset, self.rate, self.seconds = when, acted, early, reset, rate, seconds
        self.above, self.passed = above, []
        self.answer = answer
        self.seen = self.fired = 0

    def match(self, label):
        for name, pattern in self.matches.items():
            if pattern is not None and not fnmatch.fnmatchcase(str(getattr(label, name)), pattern):
                return False
        return True

    def fires(self):
        """Counts a request that matches, and tells whether this one is meant."""
        self.seen += 1
        if self.seen < self.nth or (self.count and self.fired >= self.count):
            return False
        if self.probability is not None and self.random.random() >= self.probability:
            return False
        if self.above and not self.over_rate():
            return False
        self.fired += 1
        return True

    def over_rate(self):
        """More than `above` requests within the last second; the one that is refused does not count."""
        now = time.monotonic()
        self.passed = [at for at in self.passed if now - at < 1]
        if len(self.passed) >= self.above:
            return True
        self.passed.append(now)
        return False

    def describe(self):
        return {"id": self.number, "action": self.error if self.action == "error" else self.action, "seen": self.seen, "fired": self.fired,
                **{name: value for name, value in self.matches.items() if value is not None}}


class Faults:
    """All rules, and the requests that they hold. Any thread may call anything."""

    def __init__(self):
        self.changed = threading.Condition()
        self.numbers = itertools.count(1)
        self.rules = []
        self.held = {}  # number of the log line: (rule, how it ends: None, "answer" or "close")

    def add(self, action, **how):
        with self.changed:
            rule = Rule(next(self.numbers), action, **how)
            self.rules.append(rule)
            return rule.number

    def take(self, label):
        """The rule that this request runs into, or None. Each rule counts what it matches, the first that fires has it."""
        with self.changed:
            firing = None
            for rule in self.rules:
                if firing is None and rule.match(label) and rule.fires():
                    firing = rule
            return firing

    def clear(self, number=None):
        """Forgets one rule or all, and lets go what they hold, with its answer."""
        with self.changed:
            self.rules = [rule for rule in self.rules if number is not None and rule.number != number]
        self.release(number)

    def release(self, number=None, close=False):
        """What the rule (or any) holds now goes on; with close its connection ends without an answer. Returns how many."""
        with self.changed:
            chosen = [at for at, (rule, _) in self.held.items() if number is None or rule.number == number]
            for at in chosen:
                self.held[at] = (self.held[at][0], "close" if close else "answer")
            self.changed.notify_all()
            return len(chosen)

    def wait_release(self, rule, entry, until=None):
        """By the connection's thread. True: go on; False: close. Ends by itself after the rule's seconds, as if lost."""
        deadline = time.monotonic() + rule.seconds
        with self.changed:
            self.held[entry["n"]] = (rule, None)
            self.changed.notify_all()
            while self.held[entry["n"]][1] is None and time.monotonic() < deadline and not (until and until()):
                self.changed.wait(POLL_S if until else min(1.0, max(0.0, deadline - time.monotonic())))
            return self.held.pop(entry["n"])[1] == "answer"

    def wait_held(self, number=None, timeout=20.0):
        """Waits until the rule (or any) holds a request. True when it does."""
        with self.changed:
            return self.changed.wait_for(lambda: self.holding(number), timeout)

    def holding(self, number=None):
        return any(end is None and number in (None, rule.number) for rule, end in self.held.values())

    def describe(self):
        with self.changed:
            return [rule.describe() for rule in self.rules]
