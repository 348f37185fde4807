"""Postbacks over TLS: HTTP/2 and HTTP/1.1 by endpoint, a CA file, gzip answers, IPv6."""
import contextlib
import gzip
import os
import socket

import pytest

from deliver_help import Database, Receiver, accept, deliver_config, wait_stage_metric
from harness import wait_until
from http_help import events
from test_conf import Proxy, need, self_signed


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path, "localhost", "DNS:localhost,IP:127.0.0.1")


@contextlib.contextmanager
def nginx(tmp_path, certificate):
    """A server of HTTP/2 and HTTP/1.1 over TLS, in IPv4 and IPv6. Gives its port, and what it has logged: (version, connection, path)."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as tls:
        port = tls.getsockname()[1]
        paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""  # nobody could not come into tmp_path
        (folder / "nginx.conf").write_text(f"""daemon off; worker_processes 1; {user} pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
{paths}log_format seen "$server_protocol $connection $request_uri"; access_log {folder}/seen seen;
server {{
listen [::]:{port} ssl http2 ipv6only=off; ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};
location / {{ return 200 "fine"; }}
}}
}}
""")
        # a socket in the variable NGINX is inherited, as from a former nginx at an upgrade
        with Proxy([need("nginx"), "-p", folder, "-e", folder / "log", "-c", folder / "nginx.conf"], folder / "out", [tls],
                   {"NGINX": f"{tls.fileno()};"}):
            wait_until((folder / "pid").exists, 20, "nginx")
            yield port, lambda: [tuple(line.split()) for line in (folder / "seen").read_text().splitlines()]


def test_http2_is_spoken_where_an_endpoint_wants_it(instance, tmp_path, certificate):
    with nginx(tmp_path, certificate) as (port, seen):
        millrace = instance(config=deliver_config(tmp_path, ca_file=str(certificate[0]), endpoints=[
            {"match": f"https://localhost:{port}/two", "http2": True}]))
        for url in (f"https://localhost:{port}/two/{{n}}", f"https://127.0.0.1:{port}/one/{{n}}"):
            accept(millrace, url, [{"n": n} for n in range(50)], "POST")
        wait_stage_metric(millrace, "delivered", 100)
        wait_until(lambda: len(seen()) == 100, 20, "nginx's log")
        for version, name in (("HTTP/2.0", "two"), ("HTTP/1.1", "one")):
            of_this = [line for line in seen() if line[0] == version]
            assert sorted(path for _, _, path in of_this) == sorted(f"/{name}/{n}" for n in range(50))
        found = events(millrace, "delivery")
        assert {(e["status"], e["body"]) for e in found} == {(200, "fine")}


def test_a_certificate_that_nobody_trusts_is_no_delivery(instance, tmp_path, certificate):
    with nginx(tmp_path, certificate) as (port, seen):
        millrace = instance(config=deliver_config(tmp_path, retry={"schedule": ["10ms"]}))
        accept(millrace, f"https://localhost:{port}/secret", [{}], "POST")
        wait_until(lambda: Database(tmp_path).dead(), 20, "a dead letter")
        assert "certificate" in Database(tmp_path).dead()[0]["reason"]
        assert seen() == []


def test_a_gzip_answer_and_an_ipv6_receiver(instance, tmp_path):
    def answer(request):
        return 200, {"Content-Encoding": "gzip"}, gzip.compress(b"unpacked " * 3)

    with Receiver(answer, host="::1") as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url("/six"), [{}])
        request = receiver.wait(1)[0]
        assert request.headers["host"] == f"[::1]:{receiver.port}" and "gzip" in request.headers["accept-encoding"]
        wait_until(lambda: events(millrace, "delivery"), 10, "an event")
        event = events(millrace, "delivery")[0]
        assert (event["ip"], event["body"]) == ("::1", "unpacked " * 3)
