"""ingest-http with the programs that people use: curl, httpie, wrk, ab, h2load, Python's own, and a browser."""
import gzip
import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
import zlib

import pytest

from browser_help import Chromium
from harness import SLOW, wait_until
from http_help import EXAMPLE, OK_BODY, check_ledger, events, http_addresses, http_config, metric, url_of

BODY = json.dumps(EXAMPLE)
JSON = "Content-Type: application/json"
BROWSER_S = 60


@pytest.fixture
def site(instance, tmp_path, backend):
    """A running instance: site.url(path), site.millrace."""

    class Site:
        millrace = instance(config=http_config(tmp_path, backend, listen=["127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/http.sock"]))
        address, address6, path = http_addresses(millrace)

        def url(self, path):
            return url_of(self.address, path)

        def events(self, topic="metric"):
            return events(self.millrace, topic)

    return Site()


def run(program, *arguments, **options):
    """Skips the test where there is no such program. No proxy is asked, no configuration of the user read."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    given = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
    return subprocess.run(
        [path, *map(str, arguments)], capture_output=True, timeout=50 * SLOW, env=environment, check=False, **given, **options)


def curl(*arguments, **options):
    told = "\n%{http_code} %{http_version} %{num_connects}"
    result = run("curl", "-q", "--silent", "--show-error", "--write-out", told, *arguments, **options)
    assert result.returncode == 0, result.stderr
    body, _, numbers = result.stdout.rpartition(b"\n")
    return body, numbers.decode()


# ---- curl ----


def test_curl_posts_and_asks_over_every_kind_of_socket(site):
    for url, more in ((site.url("/event"), []), (url_of(site.address6, "/event"), []),
                      ("http://millrace/event", ["--unix-socket", site.path])):
        assert curl("-H", JSON, "-d", BODY, url, *more) == (OK_BODY, "200 1.1 1")
    assert curl("--head", site.url("/healthz"))[1] == "200 1.1 1"
    assert curl("-G", "-d", "q=a", "--data-urlencode", "text=b c", "-A", "agent/1", site.url("/t/search"))[1] == "200 1.1 1"
    assert curl("-d", "a=1&b=2", site.url("/t/form"))[1] == "200 1.1 1"
    assert curl("-H", JSON, "-d", "{}", site.url("/event"))[1] == "400 1.1 1"
    assert [event["ip"] for event in site.events()] == ["127.0.0.1", "::1", None]
    search, form = site.events("track.raw")
    assert (search["type"], search["query"].replace("+", "%20"), search["user_agent"]) == ("search", "q=a&text=b%20c", "agent/1")
    assert (form["type"], form["query"]) == ("form", "a=1&b=2")


def test_curl_keeps_its_connection_and_closes_that_of_http_1_0(site):
    urls = [site.url(f"/t/{n}") for n in range(5)]
    body, _ = curl(*urls)
    assert body.count(b" 1.1 1") == 1 and body.count(b" 1.1 0") == 3, "one connection for all five"
    assert curl("--http1.0", "-H", JSON, "-d", BODY, site.url("/event"))[1] == "200 1.1 1"
    result = run("curl", "-q", "-si", "--http1.0", site.url("/t/old"))
    assert b"\r\nConnection: close\r\n" in result.stdout and b"chunked" not in result.stdout
    result = run("curl", "-q", "-si", "--http1.0", "-H", "Connection: keep-alive", site.url("/t/old"))
    assert b"\r\nConnection: keep-alive\r\n" in result.stdout
    assert len(site.events("track.raw")) == 7


def test_curl_sends_in_chunks_compressed_and_with_expect(site):
    def post(*arguments, **options):
        assert curl("-X", "POST", "-H", JSON, *arguments, site.url("/event"), **options)[1] == "200 1.1 1"

    post("-T", "-", input=BODY.encode())
    post("-H", "Transfer-Encoding: chunked", "-d", BODY)
    post("-H", "Content-Encoding: gzip", "--data-binary", "@-", input=gzip.compress(BODY.encode()))
    post("-H", "Content-Encoding: gzip", "-T", "-", input=gzip.compress(BODY.encode()))
    post("-H", "Content-Encoding: deflate", "--data-binary", "@-", input=zlib.compress(BODY.encode()))
    post("-H", "Expect: 100-continue", "-d", BODY)
    assert [{key: event[key] for key in EXAMPLE} for event in site.events()] == 6 * [EXAMPLE]
    patient = ["curl", "-q", "-s", "-v", "--expect100-timeout", "40", "-H", JSON, "-H", "Expect: 100-continue"]
    result = run(*patient, "-d", BODY, site.url("/event"))
    assert b"< HTTP/1.1 100 Continue" in result.stderr and result.stdout == OK_BODY
    # A body over the limit is not even sent: the answer comes instead of 100.
    result = run(*patient, "--data-binary", "@-", site.url("/event"), input=bytes(1100000))
    assert b"< HTTP/1.1 413 " in result.stderr and b"100 Continue" not in result.stderr


def test_curl_posts_a_large_batch(site):
    lines = "".join(json.dumps({"type": "many", "params": {"n": n}}) + "\n" for n in range(5000))
    body, numbers = curl("-H", "Content-Type: application/x-ndjson", "--data-binary", "@-", site.url("/batch"), input=lines.encode())
    assert numbers == "200 1.1 1" and json.loads(body) == {"accepted": 5000, "rejected": 0, "errors": []}
    assert [event["query"] for event in site.events("track.raw")] == [f"n={n}" for n in range(5000)]


# ---- httpie ----


def test_httpie(site):
    def ask(*arguments):
        result = run("http", "--ignore-stdin", "--check-status", "--print=b", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    event = ["username=kodingbot", "count:=12412414", "metric=kite_call"]
    assert json.loads(ask("POST", site.url("/event"), *event)) == {"status": "ok"}
    assert json.loads(ask("--chunked", "POST", site.url("/event"), *event)) == {"status": "ok"}
    assert json.loads(ask("--compress", "--compress", "POST", site.url("/event"), *event)) == {"status": "ok"}
    assert json.loads(ask("--form", "POST", site.url("/t/form"), "a=1", "b=x y")) == {"status": "ok"}
    assert json.loads(ask("GET", site.url("/t/get"), "q==a b")) == {"status": "ok"}
    assert [{key: event[key] for key in EXAMPLE} for event in site.events()] == 3 * [EXAMPLE]
    assert [(event["type"], event["query"]) for event in site.events("track.raw")] == [("form", "a=1&b=x+y"), ("get", "q=a+b")]
    assert run("http", "--ignore-stdin", "--check-status", "POST", site.url("/event"), "a=b").returncode == 4


# ---- load ----


def test_wrk(site, tmp_path):
    script = tmp_path / "post.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = [[{BODY}]]\nwrk.headers["Content-Type"] = "application/json"\n')
    result = run("wrk", "-t1", "-c8", "-d1s", "-s", script, site.url("/event"), text=True)
    assert result.returncode == 0 and "Non-2xx" not in result.stdout and "Socket errors" not in result.stdout, result.stdout
    requests = int(re.search(r"(\d+) requests in", result.stdout)[1])
    written = site.millrace.ledger("metric")["written"]
    assert 0 < requests <= written <= requests + 8, "wrk leaves the last answers unread"
    check_ledger(site.millrace, "metric", received=written, refused=0)


@pytest.mark.parametrize("keep_alive", [["-k"], []], ids=["kept", "closed"])
def test_ab(site, tmp_path, keep_alive):
    body = tmp_path / "body.json"
    body.write_text(BODY)
    result = run("ab", "-q", "-n", 500, "-c", 8, *keep_alive, "-p", body, "-T", "application/json", site.url("/event"), text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Complete requests: +500\n", result.stdout) and re.search(r"Failed requests: +0\n", result.stdout)
    assert "Non-2xx" not in result.stdout
    if keep_alive:
        assert re.search(r"Keep-Alive requests: +500\n", result.stdout), result.stdout
    check_ledger(site.millrace, "metric", received=500, written=500)


def test_h2load_with_http_1(site, tmp_path):
    body = tmp_path / "body.json"
    body.write_text(BODY)
    result = run("h2load", "--h1", "-n", 500, "-c", 5, "-m", 10, "-d", body, "-H", JSON, site.url("/event"), text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "500 total, 500 started, 500 done, 500 succeeded, 0 failed, 0 errored, 0 timeout" in result.stdout, result.stdout
    assert "500 2xx, 0 3xx, 0 4xx, 0 5xx" in result.stdout
    check_ledger(site.millrace, "metric", received=500, written=500)


# ---- Python ----


def test_http_client(site):
    for host, port in (site.address, site.address6):
        client = http.client.HTTPConnection(host, port, timeout=20 * SLOW)
        for encode_chunked in (False, True):
            headers = {"Content-Type": "application/json", **({"Transfer-Encoding": "chunked"} if encode_chunked else {})}
            body = iter([BODY[:9].encode(), BODY[9:].encode()]) if encode_chunked else BODY
            client.request("POST", "/event", body, headers, encode_chunked=encode_chunked)
            answer = client.getresponse()
            assert (answer.status, answer.read(), answer.will_close) == (200, OK_BODY, False)
        client.request("HEAD", "/t/x.gif")
        answer = client.getresponse()
        assert (answer.status, answer.getheader("Content-Type"), answer.read()) == (200, "image/gif", b"")
        client.request("POST", "/ingest", b"[]")
        answer = client.getresponse()
        assert answer.status == 400 and set(json.loads(answer.read())) == {"error", "where"}
        client.close()
    wait_until(lambda: metric(site.millrace, "connections_accepted") == 2, 20, "one connection each")
    check_ledger(site.millrace, "metric", received=4, written=4)


def test_urllib(site):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(site.url("/event"), BODY.encode(), {"Content-Type": "application/json"})
    with opener.open(request, timeout=20 * SLOW) as answer:
        assert json.load(answer) == {"status": "ok"} and answer.headers["Connection"] == "close"
    with opener.open(site.url("/t/pixel.gif?a=%C3%A4"), timeout=20 * SLOW) as answer:
        assert answer.headers.get_content_type() == "image/gif" and answer.read().startswith(b"GIF89a")
    with pytest.raises(urllib.error.HTTPError) as error:
        opener.open(urllib.request.Request(site.url("/event"), b"{}", {"Content-Type": "application/json"}), timeout=20 * SLOW)
    with error.value as answer:
        assert answer.code == 400 and set(json.load(answer)) == {"error", "where"}
    assert [event["query"] for event in site.events("track.raw")] == ["a=%C3%A4"]


# ---- a browser ----

PAGE = """<!DOCTYPE html><title>shop</title><script>
const told = {};
async function talk(name, what) {
    try { told[name] = await what(); } catch (error) { told[name] = String(error); }
}
function image(url) {
    return new Promise((done, failed) => {
        const one = new Image();
        one.onload = () => done(one.naturalWidth + "x" + one.naturalHeight);
        one.onerror = () => failed("no image");
        one.src = url;
    });
}
(async () => {
    const json = {"Content-Type": "application/json"};
    const calls = JSON.stringify([{type: "fetch", params: {n: 1}}, {type: "fetch", params: {n: "ä b"}}]);
    await talk("batch", async () => (await fetch("TARGET/batch", {method: "POST", headers: json, body: calls})).json());
    await talk("again", async () => (await fetch("TARGET/batch", {method: "POST", headers: json, body: "[{}]"})).status);
    await talk("get", async () => (await fetch("TARGET/t/get?a=1")).json());
    await talk("closed", async () => (await fetch("TARGET/log", {method: "POST", body: "{}"})).status);
    await talk("text", async () => navigator.sendBeacon("TARGET/t/text", "a=1&b=2"));
    await talk("form", async () => navigator.sendBeacon("TARGET/t/form", new URLSearchParams({c: "d e"})));
    await talk("blob", async () => navigator.sendBeacon("TARGET/t/blob", new Blob(['{"f": 1}'], {type: "application/json"})));
    await talk("image", () => image("TARGET/t/open.gif?from=page"));
    await fetch("/told", {method: "POST", body: JSON.stringify(told)});
})();
</script>"""


class Shop(http.server.ThreadingHTTPServer):
    """The page's own origin; what the page found out comes back to it."""

    daemon_threads = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), ShopHandler)
        self.page = PAGE.replace("TARGET", target).encode()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.told = None
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class ShopHandler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # pylint: disable=invalid-name
        if self.path == "/":
            self.answer(200, self.server.page)
        else:
            self.answer(404)

    def do_POST(self):  # pylint: disable=invalid-name
        self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(204)

    def log_message(self, *_):
        pass


@pytest.mark.limit(2 * BROWSER_S)
def test_a_page_of_another_origin_sends_from_a_browser(site, tmp_path):
    with Shop(site.url("")) as shop, Chromium(tmp_path, shop.url) as browser:
        try:
            told = wait_until(lambda: shop.told, BROWSER_S, "what the page says")
            wait_until(lambda: len(site.events("track.raw")) == 7, BROWSER_S, "what the page sent")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{browser.log.read_text()[-3000:]}\n{shop.told}\n{site.events('track.raw')}") from None
    assert told == {
        "batch": {"accepted": 2, "rejected": 0, "errors": []}, "again": 400, "get": {"status": "ok"},
        "closed": "TypeError: Failed to fetch", "text": True, "form": True, "blob": True, "image": "1x1",
    }
    calls = {(event["type"], event["query"]) for event in site.events("track.raw")}
    assert calls == {
        ("fetch", "n=1"), ("fetch", "n=%C3%A4%20b"), ("get", "a=1"), ("text", "a=1&b=2"), ("form", "c=d+e"), ("blob", "f=1"),
        ("open.gif", "from=page"),
    }
    assert all("HeadlessChrome" in event["user_agent"] for event in site.events("track.raw"))
    assert site.events("log") == [], "a route without CORS"
