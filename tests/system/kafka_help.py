"""librdkafka's mock cluster (tests/tool/kafka_tool.c) and sinks that send to it.

    with MockKafka() as kafka:
        millrace = instance(config=kafka_config(tmp_path, kafka.brokers, topics=["log"]))
        kafka.read("log")                 [(partition, key, value), ...]
"""
import os
import subprocess

from harness import BUILD
from http_help import http_config

ROLE = "kafka.bus"
TOOL = BUILD / "tests" / "kafka_tool"


class MockKafka:
    """Ends with its standard input, and with the test."""

    def __init__(self, brokers=1):
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        self.process = subprocess.Popen([TOOL, str(brokers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.brokers = self.line().split(",")

    def line(self):
        line = self.process.stdout.readline()
        assert line, "the mock cluster has ended"
        return line.decode().rstrip("\n")

    def do(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()
        answer = self.line()
        assert answer == "ok", answer

    def read(self, topic, partitions=1):
        self.process.stdin.write(f"read {topic} {partitions}\n".encode())
        self.process.stdin.flush()
        found = []
        while not (line := self.line()).startswith("end "):
            partition, key, value = line.split("\t", 2)
            found.append((int(partition), key, value))
        assert line == f"end {len(found)}", line
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()


def kafka_sink(brokers, **more):
    return {"name": "bus", "kind": "kafka", "brokers": brokers, "topics": ["log"], "rebuild": {"least": "50ms"}, **more}


def kafka_config(tmp_path, brokers, lane=None, **more):
    topics = {"log": {"size": lane}} if lane else None
    return {**http_config(tmp_path, topics=topics), "sinks": [kafka_sink(brokers, **more)]}


def metric(millrace, name):
    return millrace.stage(ROLE)["metrics"][name]


def note(millrace):
    return millrace.stage(ROLE)["note"]
