"""/live: figures once a second and events as they come in, to many clients, some of which are hostile or do not read."""
import base64
import contextlib
import gzip
import json
import os
import signal
import threading
import time

import pytest

from harness import SLOW, wait_until
from http_help import Client, ask, http_address, http_config, request_bytes
from live_help import BINARY, CLOSE, PING, PONG, TEXT, Live, Socket, Stream, frame
from serve_help import HOST, problem, raw, serve_address, serve_config


def live_config(tmp_path, **serve):
    """Tracking calls in, /live out."""
    return serve_config(tmp_path, http_config(tmp_path), **serve)


def track(one, paths, refused=()):
    """Tracking calls, in their order over one connection. Returns how many were taken."""
    statuses = []
    with Client(http_address(one)) as client:
        for at in range(0, len(paths), 100):
            client.send(b"".join(request_bytes("GET", path) for path in paths[at:at + 100]))
            statuses += [client.reply().status for _ in paths[at:at + 100]]
    assert {200, *refused} >= set(statuses)
    return statuses.count(200)


def metric(one, name):
    return one.stage("serve.0")["metrics"][name]


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- figures ----


@pytest.mark.limit(120)
def test_figures_come_once_a_second_over_a_websocket_and_as_a_stream(instance, tmp_path):
    one = instance(config=serve_config(tmp_path))
    address = serve_address(one)
    with Live(address) as live, Stream(address) as stream:
        assert live.hello == {"type": "hello", "interval_ms": 1000, "topic": None, "filter": {}}
        first, second = live.until("tick"), live.until("tick")
        assert 900 <= second["now_ms"] - first["now_ms"] <= 5000
        whole = ask(address, "GET", "/api/stat").json()
        stat = second["stat"]
        assert stat["instance"] == whole["instance"] and stat["generation"] == whole["generation"]
        assert [s["name"] for s in stat["stages"]] == [s["name"] for s in whole["stages"]]
        assert [t["topic"] for t in stat["topics"]] == [t["topic"] for t in whole["topics"]]
        assert len(json.dumps(stat)) < len(json.dumps(whole)) / 2
        assert "HTTP/1.1 200" in stream.head and "content-type: text/event-stream" in stream.head
        assert stream.event() == ("hello", live.hello)
        name, tick = stream.event()
        assert name == "tick" and tick["stat"]["instance"] == whole["instance"]
        assert metric(one, "live_clients") == 2
    wait_until(lambda: metric(one, "live_clients") == 0, 20, "both to be gone")


def test_a_head_is_answered_and_who_wants_no_stream_gets_none(instance, tmp_path):
    address = serve_address(instance(config=serve_config(tmp_path)))
    with Client(address) as client:
        head = client.ask("HEAD", "/live")
        assert head.status == 200 and head.headers["content-type"] == "text/event-stream"
    assert "event-stream" in problem(ask(address, "GET", "/live", None, "Accept: application/json"), 406)
    for accept in ("*/*", "text/*", "text/event-stream, */*;q=0.1"):
        with Stream(address, "", f"Accept: {accept}") as stream:
            assert stream.event()[0] == "hello"


@pytest.mark.limit(120)
def test_a_client_that_reads_outlives_all_time_outs(instance, tmp_path):
    one = instance(config=serve_config(tmp_path, header_timeout="1s", body_timeout="1s", answer_timeout="1s", idle_timeout="1s"))
    address = serve_address(one)
    with Live(address) as live, Live(address, "ticks=0") as silent, Stream(address) as stream, Stream(address, "ticks=0") as quiet:
        assert stream.event()[0] == quiet.event()[0] == "hello"
        for _ in range(7):
            live.until("tick")
            assert stream.event()[0] == "tick"
        assert metric(one, "live_clients") == 4
        silent.socket.sendall(frame(PING, b"x"))
        assert silent.frame() == (PONG, b"x")
        assert metric(one, "connections_late") == 0


# ---- the page ----


def test_the_page_is_for_browsers_and_the_list_for_programs(instance, tmp_path):
    address = serve_address(instance(config=serve_config(tmp_path)))
    browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
    with Client(address) as client:
        page = client.ask("GET", "/", None, browser, "Accept-Encoding: gzip, br")
        assert page.headers["content-type"].startswith("text/html") and page.headers["content-encoding"] == "gzip"
        assert "accept" in page.headers["vary"] and "script-src 'self'" in page.headers["content-security-policy"]
        assert client.ask("GET", "/", None, browser, f"If-None-Match: {page.headers['etag']}").status == 304
        for accept in ([], ["Accept: */*"], ["Accept: application/json, */*;q=0.5"], ["Accept: text/html;q=0.5, application/json"]):
            assert "routes" in client.ask("GET", "/", None, *accept).json()
        plain = client.ask("GET", "/page/index.html")
        assert plain.body.startswith(b"<!DOCTYPE html>") and "content-encoding" not in plain.headers
        for name, kind in (("app.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
            assert client.ask("GET", f"/page/{name}").headers["content-type"].startswith(kind)
        for name in ("nothing.js", "../serve.h", "README.md", "uPlot.js/x"):
            problem(client.ask("GET", f"/page/{name}"), 404)


def test_charts_are_a_file_of_the_installation_that_may_be_missing_or_foreign(instance, tmp_path):
    script, style = tmp_path / "mine.js", tmp_path / "mine.css"
    one = instance(config=serve_config(tmp_path, charts=str(script)))
    address = serve_address(one)
    assert "charts" in problem(ask(address, "GET", "/page/uPlot.js"), 404)
    style.write_text("a{}")
    script.write_text("let one = 1;" * 200)
    wait_until(lambda: ask(address, "GET", "/page/uPlot.js").status == 200, 20, "the charts")
    with Client(address) as client:
        packed = client.ask("GET", "/page/uPlot.js", None, "Accept-Encoding: gzip")
        assert packed.headers["content-type"].startswith("text/javascript") and len(packed.body) < 200
        assert client.ask("GET", "/page/uPlot.js", None, f"If-None-Match: {packed.headers['etag']}").status == 304
        assert client.ask("GET", "/page/uPlot.css").body == b"a{}"
        # Packed once, also when what that leaves could be packed again.
        script.write_text("x" * (1 << 20))
        one.kill(signal.SIGHUP)
        wait_until(lambda: len(client.ask("GET", "/page/uPlot.js").body) == 1 << 20, 20, "the longest script")
        packed = client.ask("GET", "/page/uPlot.js", None, "Accept-Encoding: gzip")
        assert len(packed.body) > 1024 and gzip.decompress(packed.body) == b"x" * (1 << 20)
        script.write_text("let one = 1;" * 200)
        one.kill(signal.SIGHUP)
        wait_until(lambda: len(client.ask("GET", "/page/uPlot.js").body) == 2400, 20, "the first script")
    script.write_text("x" * (1 << 21))  # what is in force stays
    one.kill(signal.SIGHUP)
    wait_until(lambda: "not uPlot" in one.log(), 20, "the refusal")
    assert len(ask(address, "GET", "/page/uPlot.js").body) == 2400


def test_the_flow_is_that_of_the_running_instance(instance, tmp_path):
    one = instance(config=live_config(tmp_path))
    flow = ask(serve_address(one), "GET", "/api/flow").json()
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert nodes["enrich.0"] == {"id": "enrich.0", "kind": "stage", "program": "enrich"}
    assert nodes["track"]["kind"] == "topic" and nodes["postback"]["kind"] == "queue"
    edges = {(edge["from"], edge["to"], edge.get("group")) for edge in flow["edges"]}
    assert edges >= {("ingest-http.0", "track.raw", None), ("track.raw", "enrich.0", "enrich"), ("enrich.0", "track", None),
                     ("track", "tally.0", "tally"), ("ingest-http.0", "postback", None)}
    assert all(edge["from"] in nodes and edge["to"] in nodes for edge in flow["edges"])
    assert {s["name"] for s in one.stat()["stages"]} <= set(nodes)


# ---- events ----


@pytest.mark.limit(120)
def test_events_pass_filters_and_are_counted_exactly(instance, tmp_path):
    one = instance(config=live_config(tmp_path))
    address = serve_address(one)
    with contextlib.ExitStack() as stack:
        every = stack.enter_context(Live(address, "topic=track&ticks=0"))
        opens = stack.enter_context(Live(address, "topic=track&ticks=0&filter=app_open"))
        red = stack.enter_context(Live(address, "topic=track&filter=app_open&where=color=red&where=type=app_open"))
        stream = stack.enter_context(Stream(address, "topic=track&ticks=0&filter=buy"))
        raw = stack.enter_context(Live(address, "topic=track.raw&ticks=0&where=params.color=red"))
        assert red.hello["filter"] == {"type": "app_open", "params.color": "red"}
        assert red.hello["topic"] == "track" and every.hello["filter"] == {}
        wait_until(lambda: metric(one, "live_subscriptions") == 5, 20, "all to be there")
        paths = [f"/t/{'app_open' if i % 2 else 'buy'}?color={'red' if i % 3 == 0 else 'blue'}&n={i}" for i in range(60)]
        track(one, paths)
        for live, wanted in ((every, range(60)), (opens, range(1, 60, 2)), (red, range(3, 60, 6))):
            last, events = live.events(60)
            assert (last["seen"], last["passed"], last["skipped"], last["missed"]) == (60, len(wanted), 0, 0)
            assert [int(event["params"]["n"]) for event in events] == list(wanted)
        last, events = raw.events(60)
        assert last["passed"] == 20 and {event["type"] for event in events} == {"buy", "app_open"}
        gathered = []
        assert stream.event()[0] == "hello"
        while len(gathered) < 30:
            name, message = stream.event()
            assert name == "events"
            gathered += message["events"]
        shown = [json.loads(line) for line in one.millrace("tap", "track", "--last", "60", "--no-follow").stdout.splitlines()]
        assert gathered == [event for event in shown if event["type"] == "buy"]
    wait_until(lambda: metric(one, "live_subscriptions") == 0, 20, "all to be gone")
    groups = {group["group"] for topic in one.stat()["topics"] for lane in topic["lanes"] for group in lane["groups"]}
    assert groups <= {"tally", "enrich"} # onlookers are none


@pytest.mark.limit(120)
def test_what_comes_faster_than_the_rate_is_counted_and_not_sent(instance, tmp_path):
    one = instance(config=live_config(tmp_path, live_events=10))
    address = serve_address(one)
    with Live(address, "topic=track&ticks=0") as first, Live(address, "topic=track&ticks=0") as second:
        assert wait_until(lambda: metric(one, "live_subscriptions"), 20, "it to be there") == 1
        track(one, [f"/t/x?n={i}" for i in range(1000)])
        for live in (first, second):
            last, events = live.events(1000)
            assert last["seen"] == last["passed"] == 1000 and last["missed"] == 0
            assert last["skipped"] == 1000 - len(events) and 10 <= len(events) <= 500
        track(one, ["/t/later"])  # one who comes later has counts of its own
        with Live(address, "topic=track&ticks=0") as late:
            wait_until(lambda: metric(one, "live_clients") == 3, 20, "all three")
            time.sleep(1)
            track(one, ["/t/last?n=7"])
            last, events = late.until("events", lambda message: message["events"] and message["events"][-1]["type"] == "last"), None
            assert last["seen"] <= 2 and last["passed"] - last["skipped"] >= 1 and events is None
    wait_until(lambda: metric(one, "live_events_sent") + metric(one, "live_events_skipped") >= 2000, 20, "the figures")


@pytest.mark.limit(120)
def test_a_wish_that_makes_no_sense_is_refused_before_the_upgrade(instance, tmp_path):
    one = instance(config=live_config(tmp_path, live_clients=3, live_subscriptions=1))
    address = serve_address(one)
    refused = {"topic=nothing": 404, "topic=ip": 404, "topic=": 400, "filter=x": 400, "where=a=b": 400, "ticks=2": 400, "ticks=x": 400, "x=y": 400,
               "topic=track&topic=track": 400, "topic=metric&where=color=red": 400, "topic=track&where=color": 400, "topic=track&where=": 400,
               "topic=track&" + "&".join(f"where=a{i}=b" for i in range(9)): 400, "topic=track&filter=" + "x" * 301: 400}
    for query, status in refused.items():
        with Socket(address, query) as refusal:
            assert refusal.status == status, (query, refusal.status)
            assert refusal.headers["content-type"] == "application/problem+json"
        problem(ask(address, "GET", f"/live?{query}"), status)
    with Live(address, "topic=track&where=a=b"), Live(address, "topic=track&where=a=b"):
        with Socket(address, "topic=track&where=a=c") as other:
            assert other.status == 503 and "retry-after" in other.headers
        with Live(address):
            with Socket(address) as fourth:
                assert fourth.status == 503
    assert wait_until(lambda: metric(one, "live_refused"), 20, "the count") == 2
    wait_until(lambda: metric(one, "live_clients") == 0, 20, "all to be gone")


# ---- who may ----


@pytest.mark.limit(120)
def test_tokens_come_as_a_subprotocol_and_other_origins_are_refused(instance, tmp_path):
    token = "reader-token/with+other.characters=="
    (tmp_path / "read").write_text(token + "\n")
    (tmp_path / "read").chmod(0o600)
    one = instance(config=serve_config(tmp_path, read_tokens=str(tmp_path / "read"), origins=["https://dash.example"]))
    address = serve_address(one)

    def offer(text):
        return f"Sec-WebSocket-Protocol: millrace.v1, bearer.{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}"

    def status(*fields, **how):
        with Socket(address, "", *fields, **how) as attempt:
            return attempt.status

    with Live(address, "", offer(token)) as live:
        assert live.headers["sec-websocket-protocol"] == "millrace.v1"
    with Live(address, "", f"Authorization: Bearer {token}") as live:
        assert "sec-websocket-protocol" not in live.headers
    assert status() == status("Sec-WebSocket-Protocol: millrace.v1") == status(offer("another-token-of-16")) == 401
    assert status(offer(token + "\n")) == status("Sec-WebSocket-Protocol: millrace.v1, bearer.!!") == status("Sec-WebSocket-Protocol: millrace.v1, bearer.") == 401
    assert status("Sec-WebSocket-Protocol: chat") == status(offer("x" * 300)) == 400
    assert status(offer(token), "Origin: https://evil.example") == status(offer(token), "Origin: null") == 403
    assert status(offer(token), "Origin: https://dash.example") == status(offer(token), f"Origin: http://{HOST}") == 101
    assert status(offer(token), host="evil.example") == 421
    assert status(offer(token), path="/api/stat") == 426
    assert ask(address, "GET", "/live").status == 401
    with Stream(address, "", f"Authorization: Bearer {token}") as stream:
        assert stream.event()[0] == "hello"


# ---- hostile clients ----


@pytest.mark.limit(180)
def test_hostile_frames_get_an_end_and_harm_nobody(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path))
    address, pid = serve_address(one), one.pid_of("serve.0")

    def ends(*frames):
        with Live(address, "ticks=0") as live:
            with contextlib.suppress(ConnectionError):
                for one_frame in frames:
                    live.socket.sendall(one_frame)
            return live.close_code()

    assert ends(frame(CLOSE, b"\x03\xe8bye")) == 1000
    assert ends(frame(TEXT, b"x" * 1025)) == 1009
    assert ends(frame(TEXT, b"x" * 600, final=False), frame(0, b"x" * 600)) == 1009
    assert ends(frame(BINARY, b"x" * 1500, length=1 << 40)) in (1009, None)
    assert ends(frame(TEXT, b"x" * 2000000)) in (1009, None)
    wrong = [frame(0, b"x"), frame(3, b"x"), frame(11, b"x"), frame(PING, b"x" * 126), frame(PING, b"x", final=False), bytes([0xF1, 0x81]) + b"abcdx",
             frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), frame(TEXT, b"", length=1 << 63)]
    for one_frame in wrong:
        assert ends(one_frame) in (1002, None), one_frame
    with Live(address) as live:  # what is allowed harms nothing
        for good in (frame(TEXT, b"x" * 1024), frame(TEXT, b""), frame(BINARY, b"\0" * 10), frame(TEXT, b"a", final=False) + frame(0, b"b"), frame(PONG, b"?")):
            live.socket.sendall(good)
        live.socket.sendall(frame(PING, b"are you there"))
        while (got := live.frame())[0] != PONG:
            assert got[0] == TEXT
        assert got[1] == b"are you there"
        live.until("tick")
    for _ in range(30):
        with Live(address, "ticks=0") as live, contextlib.suppress(ConnectionError):
            live.socket.sendall(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000))))
    with Stream(address, "ticks=0") as stream:  # a stream takes nothing: who sends something is gone
        assert stream.event()[0] == "hello"
        stream.client.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                stream.client.more()
    for broken in ("Sec-WebSocket-Version: 12", "Connection: close"):
        answer = raw(address, request_bytes("GET", "/live", None, "Upgrade: websocket", "Sec-WebSocket-Key: eA==", broken))
        assert answer.split()[1] in (b"400", b"426"), answer
    assert ask(address, "GET", "/healthz").status == 200
    wait_until(lambda: metric(one, "live_clients") == 0, 20, "all to be gone")
    assert one.stage("serve.0")["pid"] == pid and one.stage("serve.0")["restarts"] == 0


@pytest.mark.limit(180)
def test_clients_that_do_not_read_are_skipped_and_then_ended(instance, tmp_path):
    one = instance(config=live_config(tmp_path, answer_timeout="4s", live_events=10000, live_message="1MiB"))
    address, pid = serve_address(one), one.pid_of("serve.0")
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Live(address, "topic=track"))
        for _ in range(20):
            stack.enter_context(Live(address, "topic=track", receive_buffer=4096))
        stream = stack.enter_context(Stream(address, "topic=track"))
        before, long = resident(pid), "x" * 2000
        sent, over, events, last = 0, threading.Event(), [], {}

        def read():
            while not over.is_set() or last["seen"] + last["missed"] < sent:
                message = reader.message()
                if message["type"] == "events":
                    events.extend(message["events"])
                    last.update(message)

        thread = threading.Thread(target=read)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)

        def overwhelm():
            nonlocal sent
            sent += track(one, [f"/t/x?n={i}&long={long}" for i in range(500)], refused=[503])  # where its topic is full
            return metric(one, "live_events_skipped") > 0 and metric(one, "live_ticks_skipped") > 0

        wait_until(overwhelm, 60, "some to be skipped")
        over.set()
        thread.join()
        assert last["seen"] == last["passed"] == sent - last["missed"] and last["skipped"] == last["passed"] - len(events)
        wait_until(lambda: metric(one, "connections_late") >= 20, 60, "those that do not read to be ended")
        wait_until(lambda: metric(one, "live_clients") <= 2, 20, "them to be gone")
        wait_until(lambda: metric(one, "live_memory_bytes") < 4 << 20, 20, "their messages to be gone")
        assert resident(pid) - before < 48 << 20 or SLOW > 1  # sanitizers keep what was freed
        assert stream is not None
    assert ask(address, "GET", "/healthz").status == 200


# ---- lives ----


@pytest.mark.limit(120)
def test_clients_come_back_after_a_kill_and_are_told_of_a_stop(instance, tmp_path):
    one = instance(config=live_config(tmp_path, listen=[f"unix:{tmp_path}/serve.sock"]))
    address = serve_address(one)
    with Live(address, "topic=track") as live:
        track(one, ["/t/before"])
        assert live.events(1)[1][0]["type"] == "before"
        pid = one.pid_of("serve.0")
        os.kill(pid, signal.SIGKILL)
        assert live.close_code() is None

    def again():
        with contextlib.suppress(OSError, EOFError):
            return Live(address, "topic=track")
        return None

    with wait_until(again, 20, "the next life") as live, Stream(address, "topic=track&ticks=0") as stream:
        assert stream.event()[0] == "hello"
        track(one, ["/t/after"])
        assert live.events(1)[1][0]["type"] == "after"
        assert stream.event()[1]["events"][0]["type"] == "after"
        one.process.send_signal(signal.SIGTERM)
        assert live.close_code() == 1001
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                stream.client.more()
    assert one.wait_end() == 0


@pytest.mark.limit(120)
def test_events_go_on_over_a_reload_that_brings_another_lane(instance, tmp_path):
    config = live_config(tmp_path)
    one = instance(config=config)
    with Live(serve_address(one), "topic=metric&ticks=0&filter=kites") as live:
        def tell(count):
            for address in {http_address(one)}:
                assert ask(address, "POST", "/event", {"username": "a", "count": count, "metric": "kites"}).status == 200

        tell(1)
        assert live.events(1)[1][0]["count"] == 1
        config["ingest"]["http"][0]["processes"] = 2
        one.write_config(config)
        one.kill(signal.SIGHUP)
        wait_until(lambda: any(s["name"] == "ingest-http.1" and s["state"] == "running" for s in one.stat()["stages"]), 30, "the second process")
        tell(2)
        last, events = live.events(2)
        assert [event["count"] for event in events] == [2] and (last["seen"], last["skipped"], last["missed"]) == (2, 0, 0)
