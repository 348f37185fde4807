"""What Prometheus is given: the exposition, the rules, the dashboard; read by Debian's Prometheus itself."""
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from cli_help import send_events
from harness import ROOT, SLOW, cpu_seconds, default_config, wait_until
from http_help import JSON_TYPE, LOG_EXAMPLE, ask, http_address, http_config
from load import random_sha
from prometheus_help import need, samples, value
from serve_help import serve_address, serve_config

CONF = ROOT / "conf"
METRIC = re.compile(r"\bmillrace_[a-z0-9_]+")


def promtool(*arguments, stdin=None):
    run = subprocess.run([need("promtool"), *map(str, arguments)], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=120 * SLOW)
    assert run.returncode == 0, run.stdout
    return run.stdout


def full_config(tmp_path):
    """Each kind of stage runs once; the broker of the Kafka sink is nowhere, and nothing comes for it."""
    config = serve_config(tmp_path, base=http_config(tmp_path))
    config["deliver"] = {"processes": 1}
    config["ingest"]["udp"] = [{"listen": ["127.0.0.1:0"], "format": "ipevent"}]
    config["sinks"] = [
        {"name": "kept", "kind": "objects", "topics": ["log"], "key": "{date}", "store": {"min_free": 0}},
        {"name": "lines", "kind": "file", "topics": ["track"], "path": str(tmp_path / "lines")},
        {"name": "out", "kind": "kafka", "topics": ["metric"], "brokers": ["127.0.0.1:1"]},
    ]
    return config


def exposition(one, form="prometheus"):
    run = one.millrace("stat", f"--{form}")
    assert run.returncode == 0, run.stderr
    return run.stdout


def all_running(one):
    return wait_until(lambda: all(s["state"] == "running" for s in one.stat()["stages"]), 30, "all stages run")


# ---- the exposition ----


@pytest.mark.limit(120)
def test_promtool_and_the_python_client_find_nothing_wrong(instance, tmp_path, rng):
    one = instance(config=full_config(tmp_path))
    all_running(one)
    send_events(one, random_sha(rng), range(100))
    one.settle("ip", 100)
    text = tmp_path / "exposition"
    for written in (exposition(one), ask(serve_address(one), "GET", "/metrics").body.decode()):
        text.write_text(written)
        with text.open() as stdin:
            assert promtool("check", "metrics", stdin=stdin) == ""


def test_the_python_client_reads_both_formats_and_finds_the_same(instance, tmp_path, rng):
    parser = pytest.importorskip("prometheus_client.parser")
    openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")
    one = instance(config=full_config(tmp_path))
    all_running(one)
    text = list(parser.text_string_to_metric_families(exposition(one)))
    opened = list(openmetrics.text_string_to_metric_families(exposition(one, "openmetrics")))
    assert len(text) > 200
    assert {f.name for f in opened} == {f.name.removesuffix("_info") for f in text}
    kinds = {f.name: f.type for f in opened}
    for family in text:
        name = family.name.removesuffix("_info")
        assert family.documentation
        assert family.type == (kinds[name] if kinds[name] != "info" else "gauge")
        assert family.samples or name.startswith("millrace_stage_file_"), name
    # Counters of one moment in both: what only grows has not shrunk.
    before = {(s.name, *sorted(s.labels.items())): s.value for f in text if f.type == "counter" for s in f.samples}
    after = {(s.name, *sorted(s.labels.items())): s.value for f in opened if f.type == "counter" for s in f.samples}
    assert before.keys() == after.keys() and all(after[k] >= before[k] for k in before)


def test_every_metric_that_rules_and_dashboard_name_is_in_the_exposition(instance, tmp_path):
    one = instance(config=full_config(tmp_path))
    all_running(one)
    there = {name for name, _ in samples(exposition(one))}
    # what only a process tells that looks all the time
    there.add("millrace_group_waiting_peak_bytes")
    for name in "prometheus-rules.yml", "prometheus-rules-test.yml", "grafana-millrace.json":
        text = (CONF / name).read_text()
        wanted = set(METRIC.findall(text)) - {"millrace_instance_info"}
        assert wanted and not wanted - there - {"millrace_instance_info"}, f"{name}: {sorted(wanted - there)}"
    # ... and each family of a stage that is documented is there.
    documented = re.search(r"generated: prometheus -->\n(.*?)<!-- end", (ROOT / "docs/REFERENCE.md").read_text(), re.S)[1]
    families = re.findall(r"^\| `(millrace_\w+)` \| (\w+) \|", documented, re.M)
    for family, kind in families:
        if not family.startswith("millrace_stage_file_"):
            assert family + ("_count" if kind == "histogram" else "") in there, family
    assert {f for f, _ in families} >= {re.sub("_(bucket|sum|count)$", "", n) for n in there}


@pytest.mark.limit(120)
def test_what_waits_has_an_age_that_grows_until_it_is_read(instance, tmp_path, rng):
    one = instance()
    pid = one.pid_of("tally.0")
    send_events(one, random_sha(rng), range(10))
    one.settle("ip", 10)
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    try:
        send_events(one, random_sha(rng), range(10))

        def age():
            return value(samples(exposition(one)), "millrace_group_oldest_age_seconds", topic="ip", group="tally")

        first = wait_until(age, 10, "an age")
        began = time.monotonic()
        time.sleep(0.5)
        second = age()
        assert 0.5 <= second - first <= time.monotonic() - began + 1 * SLOW
    finally:
        subprocess.run(["kill", "-CONT", str(pid)], check=True)
    wait_until(lambda: age() == 0, 10, "nothing waits")


@pytest.mark.limit(120)
def test_each_part_of_the_way_tells_how_long_it_takes(instance, tmp_path):
    one = instance(config=full_config(tmp_path))
    all_running(one)
    for n in range(5):
        assert ask(http_address(one), "GET", f"/t/open?n={n}").status == 200
        assert ask(http_address(one), "POST", "/log", LOG_EXAMPLE, JSON_TYPE).status == 200

    def read():
        found = samples(exposition(one))
        return [value(found, "millrace_group_read_records_total", topic=topic, lane="0", group=group)
                for topic, group in (("track", "lines"), ("log", "kept"))]

    wait_until(lambda: read() == [5, 5], 20, "the sinks have read all")
    assert one.millrace("flush", "kept").returncode == 0

    def told():
        found = samples(exposition(one))
        times = {"ingest_http_to_ring": "ingest-http.0", "enrich_taken_after": "enrich.0", "file_taken_after": "file.lines",
                 "file_commit": "file.lines", "objects_taken_after": "objects.kept", "objects_object": "objects.kept"}
        return all(0 < value(found, f"millrace_{name}_seconds_count", role=role) <= 10 and
                   value(found, f"millrace_{name}_seconds_sum", role=role) < 120 * SLOW for name, role in times.items())

    wait_until(told, 20, "times")


def hold_up(one, rng, n):
    """tally stands still while so many events come, for so long that the read side has looked; then it goes on and reads them."""
    pid, before = one.pid_of("tally.0"), one.ledger("ip")["written"]
    os.kill(pid, signal.SIGSTOP)
    try:
        send_events(one, random_sha(rng), range(n))
        wait_until(lambda: one.ledger("ip")["written"] == before + n, 20, "the events in the lane")
        waits = one.stage("serve.0")["metrics"]["waits"]
        wait_until(lambda: one.stage("serve.0")["metrics"]["waits"] >= waits + 5, 20, "some of its waits, each a tenth of a second at most")
    finally:
        os.kill(pid, signal.SIGCONT)
    one.settle("ip", before + n)


@pytest.mark.limit(120)
def test_what_waited_between_two_scrapes_is_told_by_the_next(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path))
    address = serve_address(one)

    def scrape():
        found = samples(ask(address, "GET", "/metrics").body.decode())
        return [sum(number for (name, labels), number in found.items() if name == f"millrace_group_{what}_bytes" and ("group", "tally") in labels)
                for what in ("waiting", "waiting_peak")]

    assert scrape() == [0, 0]
    hold_up(one, rng, 500)
    waiting, peak = scrape()
    assert waiting == 0 and peak >= 500 * 8


# ---- rules, dashboard ----


@pytest.mark.limit(180)
def test_the_rules_are_well_formed_and_each_alert_fires_when_it_should(tmp_path):
    promtool("check", "config", CONF / "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", CONF / "prometheus-rules.yml")
    assert "SUCCESS" in promtool("test", "rules", CONF / "prometheus-rules-test.yml")


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    alerts = re.findall(r"- alert: (\w+)", (CONF / "prometheus-rules.yml").read_text())
    cases = (CONF / "prometheus-rules-test.yml").read_text().split("  - name: ")[1:]
    assert len(alerts) > 20 and len(alerts) == len(set(alerts))
    for alert in alerts:
        own = [c for c in cases if f"alertname: {alert}\n" in c]
        assert any("exp_alerts: []" in c for c in own) and any("exp_labels:" in c for c in own), alert


def test_the_dashboard_can_be_imported():
    board = json.loads((CONF / "grafana-millrace.json").read_text())
    assert board["title"] == "millrace" and {v["name"] for v in board["templating"]["list"]} == {"datasource", "instance"}
    panels = [p for p in board["panels"] if p["type"] != "row"]
    assert len(panels) > 20 and len({p["id"] for p in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert METRIC.search(target["expr"]) and "$instance" in target["expr"], target


# ---- Prometheus ----


class Prometheus:
    """Debian's, scraping one address each second, with the rules of conf/."""

    def __init__(self, tmp_path, target):
        config = (CONF / "prometheus.yml").read_text()
        for old, new in (("127.0.0.1:4003", target), ("scrape_interval: 15s", "scrape_interval: 1s"),
                         ("evaluation_interval: 15s", "evaluation_interval: 1s"),
                         ("- prometheus-rules.yml", f"- {CONF}/prometheus-rules.yml")):
            assert config.count(old) == 1, old
            config = config.replace(old, new)
        (tmp_path / "prometheus.yml").write_text(config)
        self.log = tmp_path / "prometheus.log"
        # It takes no port 0: one that was free a moment ago, tried again when somebody was quicker.
        for _ in range(5):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.url = "http://127.0.0.1:%d" % free.getsockname()[1]
            with open(self.log, "ab") as out:
                self.process = subprocess.Popen(
                    [need("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
                     f"--web.listen-address={self.url[7:]}"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            wait_until(lambda: self.process.poll() is not None or self.ready(), 60, "Prometheus is ready")
            if self.process.poll() is None:
                return
        raise AssertionError(self.log.read_text()[-3000:])

    def ready(self):
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=5 * SLOW) as reply:
                return reply.status == 200
        except OSError:
            return False

    def ask(self, path, **query):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=20 * SLOW) as reply:
            return json.load(reply)["data"]

    def value(self, expression):
        """Of the one series that it gives; None while there is none."""
        found = self.ask("query", query=expression)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def prometheus(tmp_path, started):
    made = []

    def make(target):
        made.append(started(Prometheus(tmp_path, target)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.limit(180)
def test_prometheus_scrapes_the_running_instance_and_its_rules_see_a_dead_stage(instance, tmp_path, rng, prometheus):
    one = instance(config=serve_config(tmp_path, base=default_config(tmp_path)))
    host, port = serve_address(one)
    send_events(one, random_sha(rng), range(500))
    one.settle("ip", 500)
    prom = prometheus(f"{host}:{port}")
    wait_until(lambda: prom.value('up{job="millrace"}') == 1, 30, "a scrape")
    assert prom.value("scrape_samples_scraped") > 100
    wait_until(lambda: prom.value('millrace_topic_events_total{outcome="written"}') == 500, 20, "the events")
    assert prom.value("millrace_tally_events_total") == 500
    hold_up(one, rng, 300)
    wait_until(lambda: prom.value('millrace_group_waiting_peak_bytes{group="tally"} > 0 and millrace_group_waiting_bytes{group="tally"} == 0'), 20,
               "the mark of what waited for a while")
    assert prom.value('count(millrace_tally_commit_seconds_bucket{le="+Inf"})') == 1
    types = prom.ask("metadata", metric="millrace_tally_commit_seconds")
    assert types["millrace_tally_commit_seconds"][0]["type"] == "histogram"
    targets = prom.ask("targets", state="active")["activeTargets"]
    assert [t["health"] for t in targets] == ["up"] and targets[0]["lastError"] == ""
    wait_until(lambda: not prom.ask("alerts")["alerts"], 30, "no alert, once it has been scraped")
    # A process that is stopped says nothing: that is seen from outside.
    pid = one.pid_of("tally.0")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: any(a["labels"]["alertname"] == "MillraceStageStuck" for a in prom.ask("alerts")["alerts"]), 60,
                   "an alert that waits its time")
    finally:
        os.kill(pid, signal.SIGCONT)


# ---- cost ----


def crowded_config(tmp_path):
    """Seven topics and a queue, and sinks that read them under as many groups as a configuration may have: eight a topic."""
    config = http_config(tmp_path, topics={name: {"size": "1MiB"} for name in ("ip", "raw", "delivery")})
    config["deliver"] = {"processes": 1}
    config["ingest"]["udp"] = [{"listen": ["127.0.0.1:0"], "format": "ipevent"}, {"listen": ["127.0.0.1:0"], "format": "raw"}]
    topics = ["ip", "raw", "metric", "log", "track", "delivery"]
    config["sinks"] = [{"name": f"s{i}", "kind": "file", "topics": topics, "path": str(tmp_path / f"lines{i}")} for i in range(7)]
    return config


@pytest.mark.limit(180)
def test_a_scrape_of_fifty_topics_and_groups_takes_less_than_five_milliseconds(instance, tmp_path):
    """Of CPU, asked as Prometheus asks: in OpenMetrics and compressed."""
    config = crowded_config(tmp_path)
    one = instance(config=serve_config(tmp_path, base=config))
    all_running(one)
    address = serve_address(one)
    found = samples(exposition(one))
    topics = {dict(labels)["topic"] for name, labels in found if name == "millrace_topic_kept"}
    groups = {(dict(labels)["topic"], dict(labels)["group"]) for name, labels in found if name == "millrace_group_required"}
    assert len(topics) + len(groups) >= 50, (topics, groups)
    fields = ["Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "Accept-Encoding: gzip"]
    pid, n = one.pid_of("serve.0"), 50

    def cost(*asked):
        began = cpu_seconds(pid)
        for _ in range(n):
            reply = ask(address, "GET", "/metrics", None, *asked)
            assert reply.status == 200 and ("content-encoding" in reply.headers) == bool(asked)
            time.sleep(0.06)  # the next one takes a snapshot of its own
        return (cpu_seconds(pid) - began) / n, len(reply.body)

    cost()
    (plain, size), (asked, packed) = cost(), cost(*fields)
    print(f"{len(topics)} topics, {len(groups)} groups, {len(found)} samples: {1000 * plain:.2f} ms a scrape of {size} bytes, "
          f"{1000 * asked:.2f} ms one of {packed}, compressed")
    assert asked < 0.005 * SLOW
