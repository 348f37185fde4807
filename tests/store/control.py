"""How a test drives the server: the same calls on Control in this process, and on RemoteControl from another.

    POST /call {"call": "fault", "arguments": ["lose"], "named": {"operation": "PutObject"}}   ->  {"result": 1} or {"error": "..."}
    GET /data?service=s3&bucket=bucket&key=log%2Fa                                             ->  the bytes of the object
"""
import http.client
import json
import urllib.parse

from store.wire import Answer, Body, Label, Refusal

CALLS = ("fault", "faults", "clear", "release", "held", "wait_held", "log", "wait_log", "clear_log", "objects", "uploads", "aborts", "refuse", "cut",
         "set", "expire", "reset", "connections", "add_credential")


class Control:
    def __init__(self, servers):
        self.servers = servers
        self.world = servers.world

    # ---- faults ----

    def fault(self, action, **how):
        """See faults.Rule. Returns the rule's number."""
        return self.world.faults.add(action, **how)

    def faults(self):
        """All rules, with how many requests they have seen, and hit."""
        return self.world.faults.describe()

    def clear(self, rule=None):
        self.world.faults.clear(rule)

    def release(self, rule=None, close=False):
        return self.world.faults.release(rule, close)

    def held(self, rule=None):
        return self.world.faults.holding(rule)

    def wait_held(self, rule=None, timeout=20.0):
        return self.world.faults.wait_held(rule, timeout)

    def refuse(self, service, refused=True):
        """The port refuses connections, and those that are open are cut; or it listens again."""
        listener = self.servers.listeners[service]
        if refused:
            listener.refuse()
        else:
            listener.listen()

    def cut(self, service):
        """Closes all connections as they are."""
        self.servers.listeners[service].cut_all()

    def connections(self, service):
        """(accepted since the start, open now)"""
        listener = self.servers.listeners[service]
        return [listener.accepted, len(listener.connections)]

    # ---- settings and credentials ----

    def set(self, **settings):
        """world.Settings; returns them all."""
        return self.world.set(**settings)

    def expire(self):
        """All credentials that were issued are over, now."""
        return self.servers.book.expire_issued()

    def add_credential(self, access_key, secret, token=None, expires=None):
        self.servers.book.add(access_key, secret, token, expires)

    # ---- what happened ----

    def log(self, **match):
        """Operations in the order of their arrival, those whose fields have these values."""
        return self.world.log.find(**match)

    def wait_log(self, count=1, timeout=20.0, **match):
        """Waits until so many operations match. Returns those that do: fewer when the time is over."""
        return self.world.log.wait(count, timeout, **match)

    def clear_log(self):
        self.world.log.clear()

    def objects(self, bucket=None):
        return [one for store in self.stores() for one in store.dump() if bucket in (None, one["bucket"])]

    def data(self, key, bucket=None, service=None):
        """The bytes of an object; the first bucket and store that have it."""
        for one in self.objects(bucket):
            if one["key"] == key and service in (None, one["service"]):
                return self.servers.services[one["service"]].data(one["bucket"], key)
        raise KeyError(key)

    def uploads(self):
        """S3: what was begun and not completed. Azure: blobs with uncommitted blocks."""
        return [one for store in self.stores() for one in store.open_uploads()]

    def aborts(self):
        """How many uploads were aborted."""
        return len(self.log(operation="AbortMultipartUpload"))

    def reset(self):
        """Forgets objects, uploads, faults, and the log."""
        self.clear()
        self.clear_log()
        with self.world.lock:
            for store in self.stores():
                store.reset()
            self.world.memory = 0

    def stores(self):
        return [service for name, service in self.servers.services.items() if name in ("s3", "azure")]


class ControlService:
    """Control over HTTP; only its own port speaks it."""

    name = "control"
    server = "control"
    watched = False

    def __init__(self, control):
        self.control = control

    def label(self, request):
        return Label("control", f"{request.method} {request.raw_path}")

    def begin(self, request):
        request.body = Body()
        if request.length > 16 << 20:
            raise Refusal(Answer(413))

    def error(self, *_arguments, **_named):
        return Answer(500)

    def act(self, request):
        try:
            if request.raw_path == "/data":
                return Answer(200, {"Content-Type": "application/octet-stream"}, self.control.data(**request.query))
            asked = json.loads(request.body.bytes())
            if request.raw_path != "/call" or asked["call"] not in CALLS:
                return Answer(404)
            result = getattr(self.control, asked["call"])(*asked.get("arguments", []), **asked.get("named", {}))
        except (ValueError, TypeError, KeyError) as error:
            return Answer(400, {"Content-Type": "application/json"}, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return Answer(200, {"Content-Type": "application/json"}, json.dumps({"result": result}).encode())


class RemoteControl:
    """Control of a server in another process: every call of CALLS, and data()."""

    def __init__(self, port, timeout=60.0):
        self.port = port
        self.timeout = timeout

    def request(self, method, target, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def __getattr__(self, name):
        if name not in CALLS:
            raise AttributeError(name)

        def call(*arguments, **named):
            status, body = self.request("POST", "/call", json.dumps({"call": name, "arguments": arguments, "named": named}))
            if status != 200:
                raise ValueError(body.decode())
            return json.loads(body)["result"]

        return call

    def data(self, key, bucket=None, service=None):
        named = {name: value for name, value in (("key", key), ("bucket", bucket), ("service", service)) if value is not None}
        status, body = self.request("GET", f"/data?{urllib.parse.urlencode(named)}")
        if status != 200:
            raise KeyError(f"{key}: {body.decode()}")
        return body
