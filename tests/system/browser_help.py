"""Chromium without a window, driven over the DevTools protocol by a pipe.

    with Browser(tmp_path) as browser:
        page = browser.open(url)
        page.wait("document.title !== ''")
        page.run("1 + 1")
        page.screenshot(path)
"""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time

import pytest

from harness import SLOW, processes

PATIENCE_S = 60
FLAGS = [
    "--headless=new", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-breakpad", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--no-proxy-server",
    "--no-sandbox",  # which neither root nor most containers can have; the pages are ours
]


class Chromium:
    """Chromium with an argument more or two, ended with all its processes."""

    def __init__(self, tmp_path, *more, before=(), pass_fds=()):
        path = shutil.which("chromium")
        if path is None:
            pytest.skip("chromium is not installed")
        self.children = set(processes.children())
        self.log = tmp_path / "chromium.log"
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment.update(HOME=str(tmp_path), TZ="Europe/Berlin")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*before, path, *FLAGS, f"--user-data-dir={tmp_path}/profile", *more], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True, pass_fds=pass_fds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10 * SLOW)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        # Helpers that had left the group come to us as orphans.
        for pid in set(processes.children()) - self.children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def pipe():
    """Both ends, with numbers out of the way of 3 and 4."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 50) for end in low]
    for end in low:
        os.close(end)
    return high


class Browser(Chromium):
    """Messages are JSON and end with a zero byte. The browser reads them from its descriptor 3 and writes them to 4."""

    def __init__(self, tmp_path):
        theirs_in, self.out = pipe()
        self.back, theirs_out = pipe()
        script = f'exec 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-; exec "$0" "$@"'
        try:
            super().__init__(tmp_path, "--remote-debugging-pipe", "about:blank", before=["/bin/bash", "-c", script], pass_fds=(theirs_in, theirs_out))
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self.data = b""
        self.number = 0
        self.answers = {}
        self.pages = {}

    def __exit__(self, *details):
        super().__exit__(*details)
        os.close(self.out)
        os.close(self.back)

    def ask(self, method, session=None, patience_s=PATIENCE_S, **params):
        """What the browser answers; events of pages go to them meanwhile."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        deadline = time.monotonic() + patience_s * SLOW
        while message["id"] not in self.answers:
            self.listen(deadline - time.monotonic(), method)
        answer = self.answers.pop(message["id"])
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def listen(self, patience_s=0.0, what=None):
        """Takes what has come; with patience, waits for something and fails when nothing comes."""
        if not select.select([self.back], [], [], max(0, patience_s))[0]:
            assert what is None, f"{what}: no answer of the browser\n{self.log.read_text()[-3000:]}"
            return
        received = os.read(self.back, 1 << 20)
        assert received, f"the browser has ended\n{self.log.read_text()[-3000:]}"
        *messages, self.data = (self.data + received).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].take(message["method"], message["params"])

    def open(self, url, width=1280, height=900, dark=False):
        """A page in a window of this size; what it asks for and complains about is noted from the first request on."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        page.resize(width, height)
        page.colours(dark)
        page.go(url)
        return page


class Page:
    """complaints: of the console. requests: URLs asked for, sockets included. bytes: of all answers, as they came over the wire."""

    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target
        self.complaints, self.requests = [], []
        self.bytes = 0

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def take(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description") or params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Network.loadingFinished":
            self.bytes += int(params["encodedDataLength"])

    def close(self):
        self.browser.ask("Target.closeTarget", targetId=self.target)

    def go(self, url):
        """Until its document is there; modules may not have run yet."""
        self.ask("Page.navigate", url=url)
        self.wait("location.href !== 'about:blank' && document.readyState !== 'loading'")

    def resize(self, width, height, mobile=False):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def colours(self, dark):
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def run(self, script, patience_s=PATIENCE_S):
        """The value of an expression; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", patience_s=patience_s, expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (script[:200], answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, script, patience_s=PATIENCE_S):
        """The first value of an expression that is true."""
        deadline = time.monotonic() + patience_s * SLOW
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{script}: not within {patience_s * SLOW:.0f} s; the console: {self.complaints}")
            self.browser.listen(0.05)

    def key(self, name, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def screenshot(self, path, whole=False):
        """A PNG of the window, or of the whole page."""
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
