"""The examples in conf/: each runs as it stands, but for ports and paths, and events go through it over TLS."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import harness
import processes
from harness import ROOT, SLOW, wait_until
from http_help import EXAMPLE, check_ledger, events, http_address, http_config, metric

NAME = "collect.example.com"
CLIENT = "127.0.0.5"  # where the client calls from, all of 127.0.0.0/8 being this host
LIES = ["-H", "X-Forwarded-For: 203.0.113.1", "-H", "X-Push-IP: 203.0.113.2", "-H", "X-Real-IP: 203.0.113.3"]


def need(program):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def self_signed(folder, name, alternatives):
    """A certificate that is signed by itself: (certificate, key)."""
    files = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-addext", f"subjectAltName={alternatives}", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return files


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path, NAME, f"DNS:{NAME}")


def substituted(name, replacements):
    """An example with each text replaced, which must be in it."""
    text = (ROOT / "conf" / name).read_text()
    for old, new in replacements.items():
        assert text.count(old) == 1, f"{name}: {old!r} is there {text.count(old)} times"
        text = text.replace(old, str(new))
    return text


class Proxy:
    """A proxy in the foreground that takes over listening sockets which the test has bound."""

    def __init__(self, command, log, sockets, environment=None):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                pass_fds=[s.fileno() for s in sockets], env={**os.environ, **(environment or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.process.poll() is None, f"ended by itself: {self.process.returncode}: {self.log.read_text()}"
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20 * SLOW)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise


def curl(certificate, port, path, *arguments, host="127.0.0.1"):
    """Calls the proxy over TLS; returns (status, version of HTTP, body)."""
    result = subprocess.run(
        [need("curl"), "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(int(20 * SLOW)), "--cacert", certificate[0],
         "--resolve", f"{NAME}:{port}:{host}", "--write-out", "\n%{http_code} %{http_version}", *arguments, f"https://{NAME}:{port}{path}"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0, result.stderr
    body, _, numbers = result.stdout.rpartition("\n")
    status, version = numbers.split()
    return int(status), version, body


def post(certificate, port, n, *arguments):
    body = json.dumps({**EXAMPLE, "count": n})
    return curl(certificate, port, "/event", "-H", "Content-Type: application/json", "-d", body, *arguments)


def check_events_through(certificate, port, millrace):
    """Posts by HTTP/1.1 and HTTP/2, with headers that lie about the sender; returns how many requests that were."""
    ok = '{"status":"ok"}'
    for n in range(6):
        assert post(certificate, port, n, "--http1.1", "--interface", CLIENT, *LIES) == (200, "1.1", ok)
    for n in range(6, 12):
        assert post(certificate, port, n, "--http2", "--interface", CLIENT, *LIES) == (200, "2", ok)
    assert post(certificate, port, "x")[0] == 400
    status, _, body = curl(certificate, port, "/log", "-X", "DELETE")
    assert status == 405 and set(json.loads(body)) == {"error", "where"}
    found = events(millrace, "metric")
    assert [event["count"] for event in found] == list(range(12))
    assert {event["ip"] for event in found} == {CLIENT}
    check_ledger(millrace, "metric", received=13, rejected=1, written=12)
    assert curl(certificate, port, "/t/open?a=b", "--interface", CLIENT)[0] == 200
    (call,) = events(millrace, "track.raw")
    assert (call["type"], call["query"], call["ip"], call["host"].partition(":")[0]) == ("open", "a=b", CLIENT, NAME)
    return 15


def test_nginx_ends_tls_and_keeps_its_connections(instance, tmp_path, certificate, backend):
    nginx = need("nginx")
    millrace = instance(config=http_config(tmp_path, backend))
    with socket.create_server(("127.0.0.1", 0)) as tls, socket.create_server(("::1", 0), family=socket.AF_INET6) as tls6:
        port, port6 = tls.getsockname()[1], tls6.getsockname()[1]
        (tmp_path / "nginx-tls.conf").write_text(substituted("nginx-tls.conf", {
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            "listen [::]:443 ssl http2;": f"listen [::1]:{port6} ssl http2;",
            "/etc/ssl/certs/collect.example.com.pem": certificate[0],
            "/etc/ssl/private/collect.example.com.key": certificate[1],
            "server 127.0.0.1:8080 ": "server {}:{} ".format(*http_address(millrace)),
        }))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""  # nobody could not come into tmp_path
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; {user} pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx.log;\n"
            f"events {{}}\nhttp {{\n{paths}include {tmp_path}/nginx-tls.conf;\n}}\n")
        # Sockets in the variable NGINX are inherited, as from a former nginx at an upgrade.
        with Proxy([nginx, "-p", tmp_path, "-e", tmp_path / "nginx.log", "-c", tmp_path / "nginx.conf"], tmp_path / "nginx.out",
                   [tls, tls6], {"NGINX": f"{tls.fileno()};{tls6.fileno()};"}):
            wait_until(lambda: (tmp_path / "nginx.pid").exists(), 20, "nginx")
            requests = check_events_through(certificate, port, millrace)
            assert curl(certificate, port6, "/healthz", host="[::1]")[0] == 200
            wait_until(lambda: metric(millrace, "health_requests") == 1, 20, "the last count")
            assert metric(millrace, "connections_accepted") < requests / 2, "connections are kept"
    assert "[emerg]" not in (tmp_path / "nginx.log").read_text()


def test_haproxy_ends_tls_and_names_the_client_by_the_proxy_protocol(instance, tmp_path, certificate, backend):
    haproxy = need("haproxy")
    millrace = instance(config=http_config(tmp_path, backend, proxy_protocol="on", trusted_proxies=[]))
    both = tmp_path / "both.pem"
    both.write_text(certificate[0].read_text() + certificate[1].read_text())
    with socket.create_server(("127.0.0.1", 0)) as tls:
        configuration = tmp_path / "haproxy-tls.cfg"
        configuration.write_text(substituted("haproxy-tls.cfg", {
            "maxconn 20000": "maxconn 100",  # of as many descriptors as this user may have
            "bind :::443 v4v6 ssl": f"bind fd@{tls.fileno()} ssl",
            "/etc/haproxy/collect.example.com.pem": both,
            "server millrace 127.0.0.1:8081 ": "server millrace {}:{} ".format(*http_address(millrace)),
        }))
        checked = subprocess.run([haproxy, "-c", "-f", configuration], capture_output=True, text=True, pass_fds=[tls.fileno()], check=False)
        assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked.stderr
        with Proxy([haproxy, "-db", "-f", configuration], tmp_path / "haproxy.log", [tls]):
            check_events_through(certificate, tls.getsockname()[1], millrace)


def test_what_the_examples_say_to_configure_is_valid(instance, tmp_path):
    for name in ("nginx-tls.conf", "haproxy-tls.cfg"):
        (line,) = [line.lstrip("# ") for line in (ROOT / "conf" / name).read_text().splitlines() if line.startswith("#     ingest:")]
        file = tmp_path / f"{name}.yaml"
        file.write_text(line + "\n")
        result = instance(start=False).millrace("check", "-c", file)
        assert result.returncode == 0, result.stderr


# ---- how proxies name the client in headers ----


def event_from(port, millrace, *fields):
    """One request through the proxy, with these fields; returns the address that its event has."""
    headers = [word for field in fields for word in ("-H", field)]
    status = subprocess.run(
        [need("curl"), "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(int(20 * SLOW)), "--interface", CLIENT,
         "--output", os.devnull, "--write-out", "%{http_code}", *headers, f"http://127.0.0.1:{port}/t/open"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True).stdout
    assert status == "200"
    return events(millrace, "track.raw")[-1]["ip"]


# What a client may say of itself, and which address counts when the proxy appends the one that it sees: a client can claim another, for the
# first hop is believed, but it cannot hide.
CLAIMS = [
    ((), CLIENT),
    (("X-Forwarded-For;",), CLIENT),  # how curl writes an empty field
    (("X-Forwarded-For: ,",), CLIENT),
    (("X-Forwarded-For: , ,",), CLIENT),
    (("X-Forwarded-For: unknown",), CLIENT),
    (("X-Forwarded-For: _hidden, unknown",), CLIENT),
    (("X-Forwarded-For: garbage",), CLIENT),
    (("X-Forwarded-For;", "X-Forwarded-For: unknown"), CLIENT),
    (("X-Push-IP;", "X-Forwarded-For;"), CLIENT),
    (("X-Push-IP: unknown", "X-Real-IP: _x"), CLIENT),
    (("X-Forwarded-For: 203.0.113.1",), "203.0.113.1"),
    (("X-Forwarded-For: 203.0.113.1:4711, 10.0.0.1",), "203.0.113.1"),
    (("X-Forwarded-For: [2001:db8::1]:4711",), "2001:db8::1"),
    (("X-Forwarded-For: 2001:db8::1",), "2001:db8::1"),
    (("X-Forwarded-For: , 203.0.113.1",), "203.0.113.1"),
    (("X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 203.0.113.2"), "203.0.113.1"),
    (("X-Forwarded-For: 203.0.113.1", "X-Push-IP: 203.0.113.2"), "203.0.113.2"),
    (("Forwarded: for=203.0.113.4",), CLIENT),  # after the others
]


def check_claims(port, millrace):
    found = [(fields, event_from(port, millrace, *fields)) for fields, _ in CLAIMS]
    assert found == CLAIMS


def test_no_client_hides_behind_an_nginx_that_appends_its_address(instance, tmp_path):
    nginx = need("nginx")
    millrace = instance(config=http_config(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        text = substituted("nginx-tls.conf", {
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port};",
            "\tlisten [::]:443 ssl http2;\n": "",
            "server 127.0.0.1:8080 ": "server {}:{} ".format(*http_address(millrace)),
            # As most configurations have it.
            "proxy_set_header X-Forwarded-For $remote_addr;": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "\t\tproxy_set_header X-Real-IP $remote_addr;\n": "",
            "\t\tproxy_set_header X-Push-IP \"\";\n": "",
            "\t\tproxy_set_header Forwarded \"\";\n": "",
        })
        text = "".join(line for line in text.splitlines(True) if "\tssl_" not in line)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; {user} pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx.log;\n"
            f"events {{}}\nhttp {{\n{paths}{text}\n}}\n")
        with Proxy([nginx, "-p", tmp_path, "-e", tmp_path / "nginx.log", "-c", tmp_path / "nginx.conf"], tmp_path / "nginx.out",
                   [listening], {"NGINX": f"{listening.fileno()};"}):
            check_claims(port, millrace)


# haproxy adds a line of its own after the client's; Forwarded stands last, as its option of later versions writes it.
HAPROXY = {
    "option forwardfor": CLAIMS,
    "http-request add-header X-Forwarded-For %[src]": CLAIMS,
    "http-request set-header Forwarded for=%[src]": [((), CLIENT), (("Forwarded: for=203.0.113.4",), CLIENT), (("X-Real-IP;",), CLIENT)],
    'http-request add-header Forwarded for="%[src]:%[src_port]"': [
        ((), CLIENT), (("Forwarded: for=unknown",), CLIENT), (("Forwarded;",), CLIENT), (("Forwarded: for=203.0.113.4;proto=http",), "203.0.113.4"),
        (('Forwarded: by=_x, for="[2001:db8::1]:1"',), "2001:db8::1")],
}


@pytest.mark.parametrize("how", HAPROXY)
def test_no_client_hides_behind_a_haproxy_that_adds_its_address(instance, tmp_path, how):
    haproxy = need("haproxy")
    millrace = instance(config=http_config(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(substituted("haproxy-tls.cfg", {
            "maxconn 20000": "maxconn 100",
            "bind :::443 v4v6 ssl crt /etc/haproxy/collect.example.com.pem alpn h2,http/1.1": f"bind fd@{listening.fileno()}\n\t{how}",
            "server millrace 127.0.0.1:8081 send-proxy-v2 ": "server millrace {}:{} ".format(*http_address(millrace)),
        }))
        with Proxy([haproxy, "-db", "-f", configuration], tmp_path / "haproxy.log", [listening]):
            port = listening.getsockname()[1]
            assert [(fields, event_from(port, millrace, *fields)) for fields, _ in HAPROXY[how]] == HAPROXY[how]


# ---- containers ----

REQUESTS_BYTES = 256 << 20  # ingest.http[].request_memory
OTHERS_BYTES = 64 << 20  # what processes take besides, all together


def kubernetes():
    """{kind: object} of the manifest."""
    yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")
    objects = list(yaml.safe_load_all((ROOT / "conf" / "kubernetes.yaml").read_text()))
    return {one["kind"]: one for one in objects}


def mebibytes(text):
    assert re.fullmatch(r"\d+Mi", text), text
    return int(text[:-2]) << 20


def test_the_configuration_for_kubernetes_is_good(tmp_path):
    objects = kubernetes()
    (tmp_path / "millrace.yaml").write_text(objects["ConfigMap"]["data"]["millrace.yaml"])
    checked = subprocess.run([harness.MILLRACE, "check", "-c", tmp_path / "millrace.yaml", "--set", f"data_dir={tmp_path}"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    needed = int(re.search(r"^ *(\d+)  in all$", checked.stdout, re.M)[1])
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (given,) = (mebibytes(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory")
    assert given * 0.8 < needed < given, "sizeLimit fits what is needed"
    most = sum(int(n) for n in re.findall(r"^memory of .*: at most (\d+) bytes", checked.stdout, re.M))
    assert most > 0 and mebibytes(container["resources"]["limits"]["memory"]) > given + most + REQUESTS_BYTES + OTHERS_BYTES
    drain_s = int(re.search(r"^drain_timeout: (\d+)s$", objects["ConfigMap"]["data"]["millrace.yaml"], re.M)[1])
    assert pod["terminationGracePeriodSeconds"] > drain_s + 10
    ports = {int(port) for port in re.findall(r':(\d+)"\]', objects["ConfigMap"]["data"]["millrace.yaml"])}
    assert {port["containerPort"] for port in container["ports"]} == {port["hostPort"] for port in container["ports"]} == ports - {4003}


def test_what_the_manifest_for_kubernetes_names_is_there():
    objects = kubernetes()
    daemon = objects["DaemonSet"]["spec"]
    pod = daemon["template"]["spec"]
    (container,) = pod["containers"]
    assert daemon["selector"]["matchLabels"] == daemon["template"]["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes.pop(mount["name"]) for mount in container["volumeMounts"]}
    assert not volumes, f"not mounted: {volumes}"
    assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory" and "hostPath" in mounts["/var/lib/millrace"]
    assert mounts["/etc/millrace"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    command, option, file = container["args"]
    assert (command, option, file) == ("run", "-c", "/etc/millrace/" + next(iter(objects["ConfigMap"]["data"])))
    routes = (ROOT / "ingest" / "http" / "routes.def").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = container[probe]["httpGet"]
        assert f'"{request["path"]}"' in routes and request["port"] in {port["name"] for port in container["ports"]}
    image_user = re.search(r"--uid (\d+) --gid (\d+)", (ROOT / "Dockerfile").read_text())
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (int(image_user[1]), int(image_user[2]))


def test_what_the_dockerfile_names_is_there():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    for script in re.findall(r"(?<![\w/])(?:/src/)?(scripts/[\w-]+)", text):
        assert (ROOT / script).is_file(), script
    packages = (ROOT / "scripts" / "packages").read_text()
    sections = re.findall(r"install-packages ((?:[a-z]+ )+)&&", text)
    assert len(sections) == 2
    for section in " ".join(sections).split():
        assert f"[{section}]\n" in packages, section
    assert "\nca-certificates " in packages[packages.index("[run]"):packages.index("[data]")], "TLS needs them"
    default = subprocess.run([harness.MILLRACE, "check", "--default"], capture_output=True, text=True, timeout=30, check=True).stdout
    for port in re.search(r"^EXPOSE (.*)$", text, re.M)[1].replace("/udp", "").split():
        assert f'"[::]:{port}"' in default, port
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"build*", "data"} <= set(ignored), "what was built for this machine is not for the image"


def own_processes():
    """A command that gives a program process numbers of its own, as a container does; they end with the command."""
    who = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *who, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespace of processes can be made here")
    return command


def test_the_container_that_is_started_after_a_crash_goes_on_although_its_processes_have_the_same_numbers(instance, tmp_path):
    millrace = instance(config={**http_config(tmp_path), "tally": {"commit_interval": "100ms"}}, wrapper=own_processes())
    first = {stage["pid"] for stage in millrace.stat()["stages"]}

    def send(n):
        sent = millrace.millrace("send", "http", "{}:{}".format(*http_address(millrace)), "--route", "event", "--count", n, "--connections", 4, "--json")
        assert sent.returncode == 0, sent.stderr

    send(1000)
    millrace.kill()
    wait_until(lambda: not processes.children(), 10, "the end of all")
    millrace.start()
    stat = millrace.stat()
    assert stat["supervisor"]["pid"] == 1 and first & {stage["pid"] for stage in stat["stages"]}, stat["supervisor"]
    send(500)
    wait_until(lambda: millrace.group("metric", "tally")["waiting_records"] == 0, 10, "all counted")
    check_ledger(millrace, "metric", received=1500, rejected=0, refused=0, written=1500)
    (supervisor,) = processes.children(of=millrace.process.pid)
    os.kill(supervisor, signal.SIGTERM)
    assert millrace.wait_end() == 0 and not millrace.directory.exists()
