"""Where postbacks may not go: nothing of these reaches a listener that is forbidden."""
import re

import pytest

from deliver_help import Database, Receiver, accept, deliver_config, pause, post, stage_metric, wait_stage_metric
from harness import wait_until
from http_help import events

# Every form of 127.0.0.1, as it may stand in a URL.
LOOPBACK_FORMS = [
    "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "0.0.0.0", "0", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::1]", "[2001:0:7f00:1::1]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[fe80::5efe:127.0.0.1]",
]
FORBIDDEN = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "192.0.2.1", "198.51.100.1",
             "255.255.255.255", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]", "[2001:db8::1]"]


@pytest.fixture
def listener():
    """Something that nothing may reach."""
    with Receiver(host="0.0.0.0") as receiver:
        yield receiver
        assert receiver.connections == 0


def refusals(tmp_path, n):
    """The reasons of n dead letters, by URL."""
    wait_until(lambda: len(Database(tmp_path).dead()) >= n, 20, f"{n} dead letters")
    return {row["url"]: row["reason"] for row in Database(tmp_path).dead()}


def test_no_form_of_a_forbidden_address_is_connected_to(instance, tmp_path, listener):
    millrace = instance(config=deliver_config(tmp_path, allow=[]))
    for host in LOOPBACK_FORMS + FORBIDDEN:
        accept(millrace, f"http://{host}:{listener.port}/", [{}])
    reasons = refusals(tmp_path, len(LOOPBACK_FORMS + FORBIDDEN))
    for host in LOOPBACK_FORMS + FORBIDDEN:
        reason = reasons[f"http://{host}:{listener.port}/"]
        assert reason.startswith("refused: "), (host, reason)
    wait_stage_metric(millrace, "refused_by_guard", len(LOOPBACK_FORMS + FORBIDDEN))
    assert stage_metric(millrace, "started") == 0
    wait_until(lambda: len(events(millrace, "delivery")) == len(LOOPBACK_FORMS + FORBIDDEN), 10, "an event for each")
    assert {e["outcome"] for e in events(millrace, "delivery")} == {"dead"}


def test_only_http_and_https_are_sent(instance, tmp_path, listener):
    millrace = instance(config=deliver_config(tmp_path))
    accept(millrace, f"http://127.0.0.1:{listener.port}@[::1]:1/", [{}])  # the user's name is no host
    for url in (f"ftp://127.0.0.1:{listener.port}/", "file:///etc/passwd", f"gopher://127.0.0.1:{listener.port}/x",
                "http://-hooks.example.com/", "http://%2Dhooks.example.com/"):
        assert post(millrace, url, [{}]).status == 400, url


def asks(dns, **more):
    return {"servers": [dns.server], "timeout": "2s", **more}


def test_names_are_vetted_with_all_their_addresses(instance, tmp_path, listener, dns):
    names = {"private.example": ["10.1.2.3"], "loop.example": ["127.0.0.1"], "six.example": ["::1"],
             "mapped.example": ["::ffff:127.0.0.1"], "one-of-two.example": ["93.184.216.34", "127.0.0.1"],
             "one-of-two-kinds.example": ["93.184.216.34", "::1"]}
    for name, addresses in names.items():
        dns.answer(name, addresses)
    millrace = instance(config=deliver_config(tmp_path, allow=[], dns=asks(dns)))
    for name in names:
        accept(millrace, f"http://{name}:{listener.port}/", [{}])
    reasons = refusals(tmp_path, len(names))
    assert len(reasons) == len(names) and all(reason.startswith("refused: ") for reason in reasons.values()), reasons


def test_a_name_that_changes_between_two_look_ups_is_vetted_each_time(instance, tmp_path, listener, dns):
    """The first answer is an address that is allowed, the later ones one that is not."""
    with Receiver(host="127.0.0.2") as receiver:
        dns.script("rebind.example", {"addresses": ["127.0.0.2"], "ttl": 0}, {"addresses": ["127.0.0.1"], "ttl": 0})
        millrace = instance(config=deliver_config(tmp_path, allow=["127.0.0.2"], dns=asks(dns, ttl_least="100ms", stale="0")))
        url = f"http://rebind.example:{receiver.port}/"
        accept(millrace, url, [{}])
        receiver.wait(1)
        pause(0.3)
        for n in range(3):
            accept(millrace, f"http://rebind.example:{listener.port}/{n}", [{}])
            accept(millrace, f"{url}{n}", [{}])
        assert len(refusals(tmp_path, 6)) == 6
        assert len(receiver.seen()) == 1


def test_the_connection_goes_to_the_address_that_was_vetted(instance, tmp_path, listener, dns):
    """The name leads to the forbidden listener for everybody who would look it up again."""
    with Receiver(host="127.0.0.2") as receiver:
        dns.script("pin.example", {"addresses": ["127.0.0.2"], "ttl": 60}, {"addresses": ["127.0.0.1"], "ttl": 60})
        millrace = instance(config=deliver_config(tmp_path, allow=["127.0.0.2"], dns=asks(dns)))
        for n in range(5):
            accept(millrace, f"http://pin.example:{receiver.port}/{n}", [{}])
        receiver.wait(5)
        assert {request.headers["host"] for request in receiver.seen()} == {f"pin.example:{receiver.port}"}
        assert len(dns.questions("pin.example")) == 2  # A and AAAA


def test_redirects_are_vetted_as_urls_are(instance, tmp_path, listener, dns):
    dns.answer("inside.example", ["127.0.0.1"])
    with Receiver(host="127.0.0.2") as receiver:
        targets = [f"http://127.0.0.1:{listener.port}/", f"http://inside.example:{listener.port}/", f"//[::ffff:127.0.0.1]:{listener.port}/",
                   f"http://2130706433:{listener.port}/", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"]
        receiver.answer = lambda request: (302, {"Location": targets[int(request.path[1:])]}, b"")
        millrace = instance(config=deliver_config(
            tmp_path, allow=["127.0.0.2"], redirects=5, dns=asks(dns)))
        for i in range(len(targets)):
            accept(millrace, receiver.url(f"/{i}"), [{}])
        reasons = refusals(tmp_path, len(targets))
        assert len(reasons) == len(targets), reasons
        for i in range(len(targets) - 1):
            assert re.match("refused: ", reasons[receiver.url(f"/{i}")]), reasons
        assert reasons[receiver.url(f"/{len(targets) - 1}")] == "answered 302"


def test_a_redirect_goes_to_the_host_that_was_judged_however_it_is_written(instance, tmp_path, listener, dns):
    dns.answer("xn--bcher-kva.example", ["127.0.0.2"])
    with Receiver(host="127.0.0.2") as receiver:
        hosts = ["b\u00fccher.example", "B%C3%9CCHER.example.", "127.2", "0x7f000002", "%31%32%37.0.0.2", "127.0.0.2.",
                 "\uff11\uff12\uff17.0.0.2", "127.0.0.1@127.0.0.2", "[::ffff:127.0.0.2]"]

        def answer(request):
            i = int(request.path[1:])
            return (200, {}, b"") if i < 0 else (307, {"Location": f"http://{hosts[i]}:{receiver.port}/{i - 100}"}, b"")

        receiver.answer = answer
        millrace = instance(config=deliver_config(tmp_path, allow=["127.0.0.2", "*.example"], redirects=1, dns=asks(dns)))
        for i in range(len(hosts)):
            accept(millrace, receiver.url(f"/{i}"), [{}])
        receiver.wait(2 * len(hosts))
        arrived = {request.path: request.headers["host"] for request in receiver.seen()}
        assert {path for path in arrived if path.startswith("/-")} == {f"/{i - 100}" for i in range(len(hosts))}, arrived
        assert arrived["/-100"] == arrived["/-99"] == f"xn--bcher-kva.example:{receiver.port}"
        wait_stage_metric(millrace, "delivered", len(hosts))


def test_a_kept_connection_is_judged_by_its_own_address(instance, tmp_path, dns):
    """One after the other, so that each request has the handle that was at another server before."""
    with Receiver(host="127.0.0.2") as one, Receiver(host="127.0.0.3") as two:
        dns.answer("one.example", ["127.0.0.2"], ttl=60)
        dns.answer("two.example", ["127.0.0.3"], ttl=60)
        millrace = instance(config=deliver_config(tmp_path, allow=["127.0.0.2", "127.0.0.3"], dns=asks(dns)))
        for n in range(3):
            accept(millrace, one.url(f"/{n}", "one.example"), [{}])
            one.wait(n + 1)
            accept(millrace, two.url(f"/{n}", "two.example"), [{}])
            two.wait(n + 1)
        wait_stage_metric(millrace, "delivered", 6)
        wait_until(lambda: len(events(millrace, "delivery")) == 6, 10, "an event for each")
        assert [e["ip"] for e in events(millrace, "delivery")] == ["127.0.0.2", "127.0.0.3"] * 3
        assert one.connections == two.connections == 1


def test_what_is_denied_is_denied_although_it_is_allowed(instance, tmp_path, listener):
    millrace = instance(config=deliver_config(tmp_path, guard={"allow": ["127.0.0.0/8"], "deny": [f":{listener.port}"]}))
    with Receiver() as receiver:
        accept(millrace, receiver.url(), [{}])
        accept(millrace, f"http://127.0.0.1:{listener.port}/", [{}])
        receiver.wait(1)
        assert "deny" in refusals(tmp_path, 1)[f"http://127.0.0.1:{listener.port}/"]


def test_nothing_of_the_environment_is_used(instance, tmp_path, listener, monkeypatch):
    """Neither a proxy nor a password for the host."""
    (tmp_path / ".netrc").write_text("default login somebody password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    with Receiver() as receiver:
        millrace = instance(config=deliver_config(tmp_path))
        accept(millrace, receiver.url("/direct"), [{}])
        request = receiver.wait(1)[0]
        assert request.path == "/direct" and "authorization" not in request.headers
