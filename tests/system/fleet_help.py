"""Several boxes on one machine: each an instance with an address of its own in 127.0.0.0/8.

    a, b = boxes(2)
    a.start(peers=[b.url])
    a.get("/events/SHA")
"""
import socket

from deliver_help import deliver_config
from harness import default_config, wait_until
from http_help import Client, Reply, http_address
from serve_help import serve_config

ANSWER = "/healthz"


def free_address(host):
    """A port of this host that is free. Nobody else uses the host, so it stays free."""
    with socket.socket() as taken:
        taken.bind((host, 0))
        return taken.getsockname()


class Box:
    """An instance that takes everything in, and its API."""

    def __init__(self, instance, tmp_path, host):
        self.address = free_address(host)
        self.url = "http://%s:%d" % self.address
        self.make = instance
        self.tmp_path = tmp_path / host
        self.tmp_path.mkdir()
        self.one = None

    def config(self, peers, **serve):
        config = deliver_config(self.tmp_path)
        config["ingest"]["udp"] = default_config(self.tmp_path)["ingest"]["udp"]
        config["topics"]["ip"] = {"size": "1MiB"}
        config["tally"] = {"commit_interval": "50ms"}
        serve = {"peer_fresh": "50ms", "peers": peers, **serve}
        return serve_config(self.tmp_path, config, **{"listen": ["%s:%d" % self.address], **serve})

    def start(self, peers, **serve):
        self.one = self.make(config=self.config(peers, **serve))
        wait_until(lambda: self.reply(ANSWER).status == 200, 20, "an answer")
        return self

    def reply(self, path, *fields):
        try:
            with Client(self.address) as client:
                return client.ask("GET", path, None, *fields)
        except OSError as error:
            return Reply(0, {}, str(error).encode())

    def get(self, path, *fields):
        reply = self.reply(path, *fields)
        assert reply.status == 200, (path, reply)
        return reply.json()

    def alone(self, path):
        """What this box says for itself; None while it has counted nothing."""
        reply = self.reply(path + ("&" if "?" in path else "?") + "peers=0")
        return reply.json() if reply.status == 200 else None

    def count(self, sha):
        """What it has counted itself of an application."""
        return (self.alone(f"/events/{sha}") or {"count": 0})["count"]

    def missing(self, path):
        return self.reply(path).headers.get("millrace-missing-peers", "")

    def peers(self):
        return {peer["url"]: peer for peer in self.get("/fleet")["peers"]}

    def metric(self, name):
        return self.one.stage("serve.0")["metrics"][name]

    # ---- what comes in ----

    def post(self, path, body):
        with Client(http_address(self.one)) as client:
            reply = client.ask("POST", path, body)
        assert reply.status == 200, reply

    def track(self, kind):
        with Client(http_address(self.one)) as client:
            assert client.ask("GET", f"/t/{kind}").status == 200
