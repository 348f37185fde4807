"""What tally counts while a clock of the test's own moves on: hours across midnight, days that are merged into their months, events
that come late or from the future. tests/tally_tool drives the books and the readers of their database; a reference in Python goes
through all events for each answer. Time and again the tool is killed, and goes on with what it had not committed.
"""
import collections
import contextlib
import datetime
import errno
import functools
import json
import subprocess
import time
from fractions import Fraction

import pytest

from harness import BUILD

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MINUTES, AHEAD, DAYS_KEPT = 60, 3, 30  # as in sink/tally/hour.h and days.h
NAME_BYTES = 200  # of an account or a metric that is told apart; of the key of a list

USERS = ["kodingbot", "b\u00e9rt \u2615", "\"}], [{\"_id\": \"", "a\nb\tc", "nul\0nul", "", "x" * 200, "x" * 201] + [f"user{i}" for i in range(12)]
METRICS = ["kite_call", "m\u00e9tric", "\\\"", "", "y" * 200, "z" * 201, "z" * 230] + [f"metric{i}" for i in range(8)]
COUNTS = [2**63 - 1, -(2**63), 0, 1, -1]
TYPES = ["app_open", "offr", "offr", "", "caf\u00e9"]
QUERIES = {"": (None, None), "n=1": (None, None), "action=preview&text=boots": ("preview", "boots"), "text=red+shoes&action=preview": ("preview", "red shoes"),
           "action=preview": ("preview", None), "action=buy&text=hat": ("buy", "hat")}  # action, text
ADDRESSES = {"::ffff:10.1.2.3": "10.1.2.3", "::ffff:10.1.2.4": "10.1.2.4", "2001:db8::1": "2001:db8::1"}


def ms_of(year, month, day, hour=0):
    return int(datetime.datetime(year, month, day, hour, tzinfo=datetime.timezone.utc).timestamp()) * SECOND


def text_of(ms, form):
    return datetime.datetime.fromtimestamp(ms // SECOND, datetime.timezone.utc).strftime(form)


@functools.cache
def date_of_day(day):
    return text_of(day * DAY, "%Y-%m-%d")


def date_of(ms):
    return date_of_day(ms // DAY)


def month_of(ms):
    return date_of(ms)[:len("2028-02")]


# ---- the tool ----


class Tool:
    """tests/tally_tool, a life after the other on the same database."""

    def __init__(self, path, **tally):
        self.config = path / "tally.json"
        self.config.write_text(json.dumps({"data_dir": str(path / "data"), "tally": tally}))
        self.process = None

    def start(self):
        """Returns how many events of each topic the database has."""
        self.process = subprocess.Popen([BUILD / "tests" / "tally_tool", self.config], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self.read()

    def send(self, *commands):
        self.process.stdin.write(b"".join(json.dumps(command).encode() + b"\n" for command in commands))
        self.process.stdin.flush()

    def read(self):
        line = self.process.stdout.readline()
        assert line, f"the tool has ended: {self.process.wait()}"
        return json.loads(line)

    def ask(self, *command):
        """The answer, or the errno."""
        self.send(command)
        reply = self.read()
        return reply.get("answer", reply.get("error"))

    def end(self):
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.end()


@pytest.fixture
def tool(tmp_path):
    made = []

    def make(**tally):
        made.append(Tool(tmp_path, **tally))
        return made[-1]

    yield make
    for one in made:
        assert one.end() == 0


# ---- the reference ----

Metric = collections.namedtuple("Metric", "ms user metric count")
Track = collections.namedtuple("Track", "ms type query address country pod klag_ms")


class Topic(list):
    """Events that were given to the tool, each with the time at which it was to count it: (event, now_ms)."""

    def in_window(self, now):
        """Those of the last hour. What came too early for its time is in no minute."""
        last = now // MINUTE
        return [event for event, counted in self if last - MINUTES < event.ms // MINUTE <= min(last, counted // MINUTE + AHEAD)]


def fits(name):
    return len(name.encode()) <= NAME_BYTES


def statistics(values):
    return {"minimum": min(values), "maximum": max(values), "average": float(Fraction(sum(values), len(values))), "count": len(values),
            "sum": str(sum(values))}


def grouped(pairs, order):
    """[(key, value)] as {key: statistics}, by the order of the keys."""
    values = collections.defaultdict(list)
    for key, value in pairs:
        values[key].append(value)
    return [{"_id": key, **statistics(values[key])} for key in sorted(values, key=order)]


def ranks(names):
    """The order in which they first came; what is not told apart comes last."""
    first = list(dict.fromkeys(names))
    return {**{name: i for i, name in enumerate(first)}, None: len(first)}


def expected_hours(topic, now):
    """What hour and user_hour answer."""
    users, metrics = ranks(event.user for event, _ in topic), ranks(event.metric for event, _ in topic)
    window = [event._replace(metric=event.metric if fits(event.metric) else None) for event in topic.in_window(now)]
    total = grouped([(event.metric, event.count) for event in window], metrics.get)
    pairs = [((event.user, event.metric), event.count) for event in window if fits(event.user)]
    per_user = grouped(pairs, lambda pair: (users[pair[0]], metrics[pair[1]]))
    for entry in total:
        entry["_id"] = {"other": True} if entry["_id"] is None else entry["_id"]
    for entry in per_user:
        user, metric = entry["_id"]
        entry["_id"] = {"username": user, **({"other": True} if metric is None else {"metric": metric})}
    return total, per_user, len(window) - len(pairs)


def counted(topic, form, text):
    """How often each metric came on a day or in a month. Of a long name a list has the beginning."""
    return collections.Counter(event.metric[:NAME_BYTES] for event, _ in topic if form(event.ms) == text)


def ranking(counts, name):
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    return [{name: key, "count": count, "error": 0} for key, count in order]


def is_exact(answer, counts, name="_id", member="metrics"):
    assert (answer["total"], answer["keys"], answer["forgotten"]) == (sum(counts.values()), len(counts), 0)
    assert answer[member] == ranking(counts, name)


def is_within_its_error(answer, counts, name="_id", member="metrics"):
    assert answer["total"] == sum(counts.values()) and answer["keys"] == len(answer[member])
    listed = set()
    for entry in answer[member]:
        assert entry["count"] - entry["error"] <= counts[entry[name]] <= entry["count"], entry
        listed.add(entry[name])
    assert len(listed) == answer["keys"]
    assert all(count <= answer["forgotten"] for key, count in counts.items() if key not in listed)


# ---- a world: the tool, the reference and their clock ----


class World:
    """check: is_exact or is_within_its_error, for lists."""

    def __init__(self, tool, rng, now, check=is_exact):
        self.tool, self.rng, self.now, self.check = tool, rng, now, check
        self.metric, self.track = Topic(), Topic()
        self.committed = (0, 0)
        self.first_kept = self.oldest()  # day; those before it are merged
        self.kills = self.merged = self.again = 0
        assert tool.start() == {"metric": 0, "track": 0}
        tool.send(("turn", now))

    def oldest(self):
        return self.now // DAY - DAYS_KEPT

    def feed(self, *events):
        for event in events:
            topic = self.track if isinstance(event, Track) else self.metric
            topic.append((event, self.now))
        self.tool.send(*((type(event).__name__.lower(), *event) for event in events))

    def turn(self, now):
        self.now = now
        self.tool.send(("turn", now))

    def commit(self):
        self.tool.send(("commit",))

    def merge(self):
        """Turns and commits for all days that have become old: one each, and one more for a list that is in memory."""
        for _ in range(2 * (self.oldest() - self.first_kept) + 2):
            self.tool.send(("turn", self.now), ("commit",))

    def kill(self):
        """At a random moment of what was sent. The next life is given what has not been committed, later."""
        time.sleep(self.rng.choice([0, 0, self.rng.uniform(0, 0.002), self.rng.uniform(0, 0.02)]))
        self.tool.kill()
        self.kills += 1
        there = self.tool.start()
        there = (there["metric"], there["track"])
        assert all(least <= n <= len(topic) for least, n, topic in zip(self.committed, there, (self.metric, self.track)))
        rest = [event for topic, n in zip((self.metric, self.track), there) for event, _ in topic[n:]]
        del self.metric[there[0]:], self.track[there[1]:]
        self.again += len(rest)
        self.turn(self.now + self.rng.choice([0, self.rng.randrange(90 * MINUTE)]))
        self.feed(*rest)
        self.commit()

    # ---- answers, when all has been committed ----

    def check_hour(self, now):
        total, per_user, beyond = expected_hours(self.metric, now)
        assert self.tool.ask("hour", now) == total
        self.tool.send(("user_hour", now))
        assert self.tool.read() == {"answer": per_user, "beyond": beyond}

    def check_month(self, month):
        answer = self.tool.ask("month", month)
        assert answer["date"] == month
        self.check(answer, counted(self.metric, month_of, month))

    def check_day(self, day):
        """An old day has its list until it is merged."""
        date = date_of(day * DAY)
        answer = self.tool.ask("day", date, self.now)
        if answer == errno.ENOENT:
            assert day < self.oldest()
        elif day >= self.oldest():
            assert answer["date"] == date
            self.check(answer, counted(self.metric, date_of, date))
        else:
            assert day >= self.first_kept

    def check_account(self, user):
        times = [event.ms for event, _ in self.metric if event.user == user]
        if not times or not fits(user):
            assert self.tool.ask("account", user) == errno.ENOENT
            return
        first = min(times)
        seen = text_of(first, "%Y-%m-%dT%H:%M:%S.") + f"{first % SECOND:03d}Z"
        assert self.tool.ask("account", user) == {"username": user, "first_seen": seen, "first_seen_ms": first}

    def check_consumers(self):
        events = [event for event, _ in self.track]
        asked = [QUERIES[event.query] for event in events]
        expected = {
            "type": collections.Counter((event.type or "/") + (f"[{action}]" if action else "") for event, (action, _) in zip(events, asked)),
            "search": collections.Counter(text for event, (action, text) in zip(events, asked) if event.type == "offr" and action == "preview" and text),
            "addresses": collections.Counter(ADDRESSES[event.address] for event in events),
            "countries": collections.Counter(event.country for event in events),
            "pods": collections.Counter(event.pod for event in events),
        }
        for name, counts in expected.items():
            self.check(self.tool.ask("consumer", name), counts, "key", "list")
        timing = self.tool.ask("consumer", "timing")
        assert (timing["total"], timing["klag_sum_ns"]) == (len(events), str(sum(event.klag_ms for event in events) * 1_000_000))

    def check_some(self):
        rng, today = self.rng, self.now // DAY
        self.committed = (len(self.metric), len(self.track))
        for now in {self.now, self.now + rng.randrange(2 * HOUR)}:
            self.check_hour(now)
        for day in {today, today - 1, self.oldest(), self.oldest() - 1, today - rng.randrange(60)}:
            self.check_day(day)
        for month in {month_of(self.now), month_of(self.now - rng.randrange(80 * DAY))}:
            self.check_month(month)
        self.check_account(rng.choice([user for user in USERS if "\0" not in user]))

    def check_merged(self):
        """Days that have become old are with their months alone, which say what they said before."""
        self.merge()
        for day in range(self.first_kept, self.oldest()):
            assert self.tool.ask("day", date_of(day * DAY), self.now) == errno.ENOENT
            self.merged += 1
        for month in sorted({month_of(day * DAY) for day in range(self.first_kept - 1, self.oldest() + 1)}):
            self.check_month(month)
        self.first_kept = self.oldest()

    def check_all(self):
        self.check_some()
        self.check_merged()
        for day in range(self.oldest() - 5, self.now // DAY + 2):
            self.check_day(day)
        for month in sorted({month_of(event.ms) for event, _ in self.metric}):
            self.check_month(month)
        for user in USERS:
            if "\0" not in user:
                self.check_account(user)
        self.check_consumers()


# ---- random events, and moments at which they come ----


def draw_arrival(rng, now):
    return now + rng.choices([
        -rng.randrange(90 * SECOND),
        -rng.randrange(70 * MINUTE),
        rng.randrange(MINUTE + 1),
        rng.randrange(6 * MINUTE),  # partly further ahead than is taken for the hour
        -rng.randrange(2 * DAY),
        -(DAYS_KEPT - 1) * DAY - rng.randrange(3 * DAY),  # of a day that is about to be merged, or has been
        -rng.randrange(90 * DAY),
    ], weights=[50, 15, 10, 3, 6, 8, 8])[0]


def draw_events(rng, now):
    events = []
    for _ in range(rng.choice([0, 3, rng.randrange(60)])):
        count = rng.choice(COUNTS) if rng.random() < 0.3 else rng.randrange(-1000, 1000)
        events.append(Metric(draw_arrival(rng, now), rng.choice(USERS), METRICS[min(rng.randrange(len(METRICS)), rng.randrange(len(METRICS)))], count))
    for _ in range(rng.randrange(8)):
        events.append(Track(draw_arrival(rng, now), rng.choice(TYPES), rng.choice(list(QUERIES)), rng.choice(list(ADDRESSES)), rng.choice(["XX", "DE", "US"]),
                            f"10.0.0.{rng.randrange(7, 9)}", rng.randrange(2000)))
    rng.shuffle(events)
    return events


def draw_moments(rng, first, last, midnights):
    """Hours and days apart, but minutes about these midnights; the last millisecond of the day and the first are among them."""
    dense = {moment for midnight in midnights for moment in range(midnight - 70 * MINUTE, midnight + 70 * MINUTE, 10 * MINUTE)}
    moments = {moment + rng.randrange(10 * MINUTE) for moment in dense} | {midnight - 1 for midnight in midnights} | set(midnights)
    now = first
    while now < last:
        moments.add(now)
        now += rng.choice([rng.randrange(HOUR), rng.randrange(DAY), rng.randrange(3 * DAY)])
    return sorted(moments)


def run(world, moments):
    rng, committed = world.rng, True
    for moment in moments:
        if moment < world.now:
            continue  # a kill took longer
        world.turn(moment)
        if committed and rng.random() < 0.3:  # the database is as of the last moment, but the reader's time is now
            world.check_some()
        world.feed(*draw_events(rng, moment))
        committed = rng.random() < 0.8
        if not committed:
            continue
        world.commit()
        if rng.random() < 0.1:
            world.feed(*draw_events(rng, moment))
            rng.choice([world.commit, world.merge, lambda: None])()
            world.kill()
        world.check_some()
        if rng.random() < 0.1:
            world.check_consumers()
        if rng.random() < 0.5:
            world.check_merged()
    world.commit()
    world.check_all()
    print(f"{len(world.metric)} + {len(world.track)} events, {len(moments)} moments, {world.merged} days merged, {world.kills} kills, {world.again} again")


@pytest.mark.limit(120)
@pytest.mark.parametrize("year", [2024, 2100])
def test_hours_days_and_months_equal_a_reference_while_the_clock_moves_on(tool, rng, year):
    leap = year == 2024
    first, last = ms_of(year - 1, 12, 24), ms_of(year, 4, 8)
    assert date_of(ms_of(year, 3, 1) - 1) == f"{year}-02-{29 if leap else 28}"
    world = World(tool(), rng, first)
    run(world, draw_moments(rng, first, last, [ms_of(year, 1, 1), ms_of(year, 3, 1)]))
    assert len(world.metric) > 1000 and world.kills > 3 and world.again > 0
    assert world.merged >= (last - first) // DAY - 4


@pytest.mark.limit(120)
def test_counts_stay_within_their_error_when_more_metrics_than_fit_are_merged(tool, rng):
    first, last = ms_of(2027, 12, 24), ms_of(2028, 3, 10)
    world = World(tool(names=5, tops=4), rng, first, is_within_its_error)
    run(world, draw_moments(rng, first, last, [ms_of(2028, 1, 1)]))
    answer = world.tool.ask("month", "2028-01")
    assert answer["forgotten"] > 0 and answer["keys"] < len(counted(world.metric, month_of, "2028-01"))


def test_the_hour_slides_across_midnight_and_the_end_of_the_year_a_minute_at_a_time(tool, rng):
    midnight = ms_of(2028, 1, 1)
    world = World(tool(), rng, midnight - 90 * MINUTE)
    for i in range(180):
        world.turn(midnight + (i - 90) * MINUTE + rng.randrange(MINUTE))
        world.feed(Metric(world.now, "kodingbot", "kite_call", i))
        world.commit()
        least, n = max(0, i - 59), min(60, i + 1)
        statistic = {"minimum": least, "maximum": i, "average": (least + i) / 2, "count": n, "sum": str((least + i) * n // 2)}
        assert world.tool.ask("hour", world.now) == [{"_id": "kite_call", **statistic}]
        assert world.tool.ask("user_hour", world.now) == [{"_id": {"username": "kodingbot", "metric": "kite_call"}, **statistic}]
    for date, n in (("2027-12-31", 90), ("2028-01-01", 90)):
        is_exact(world.tool.ask("day", date, world.now), {"kite_call": n})
        is_exact(world.tool.ask("month", date[:7]), {"kite_call": n})
    assert [len(world.tool.ask("hour", world.now + after * MINUTE)) for after in (58, 59, 60)] == [1, 1, 0]


def test_a_day_is_merged_when_thirty_days_have_gone_by_since_it_ended(tool, rng):
    first = ms_of(2028, 2, 29)
    world = World(tool(), rng, first + 12 * HOUR)
    world.feed(*(Metric(world.now, "anna", f"metric{i % 3}", i) for i in range(10)))
    world.commit()
    before = world.tool.ask("month", "2028-02")
    assert before["total"] == 10
    world.turn(first + (DAYS_KEPT + 1) * DAY - 1)
    world.merge()
    assert {**world.tool.ask("day", "2028-02-29", world.now), "date": "2028-02"} == before == world.tool.ask("month", "2028-02")
    world.turn(world.now + 1)
    world.merge()
    assert world.tool.ask("day", "2028-02-29", world.now) == errno.ENOENT
    assert world.tool.ask("month", "2028-02") == before
    world.feed(Metric(first, "anna", "metric0", 1))  # late: for its month
    world.commit()
    assert world.tool.ask("month", "2028-02")["metrics"][0] == {"_id": "metric0", "count": 5, "error": 0}
    assert world.tool.ask("day", "2028-02-29", world.now) == errno.ENOENT


def test_a_day_whose_events_are_not_committed_when_it_becomes_old_is_merged_too(tool, rng):
    first = ms_of(2028, 2, 29)
    world = World(tool(), rng, first + (DAYS_KEPT + 1) * DAY - 1)
    world.feed(Metric(first, "anna", "metric0", 1))
    world.turn(world.now + 1)
    world.check_merged()
    assert world.merged == 1 and world.tool.ask("month", "2028-02")["total"] == 1
