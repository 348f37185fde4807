"""Whatever is asked, an answer stays within its memory and nobody else's request is touched."""

from http_help import EXAMPLE, Client, check_ledger, events, http_address, http_config, request_bytes

ORIGIN_MAX = 320  # answer.h
HEADERS_MAX = 1024
HEAD_MOST = 15000  # a little less than max_head
EDGES = (0, 1, ORIGIN_MAX, ORIGIN_MAX + 1, HEADERS_MAX, HEADERS_MAX + 1, 7800, 8000)
CORS = ("access-control-allow-origin", "access-control-allow-headers", "vary")


class Holder:
    """A connection that holds half a request."""

    def __init__(self, address, name, cut=0.5):
        self.name = name
        whole = request_bytes("POST", "/event", {**EXAMPLE, "username": name})
        at = max(whole.index(b"\r\n\r\n") + 5, int(cut * len(whole)))
        self.client = Client(address)
        self.client.send(whole[:at])
        self.rest = whole[at:]

    def finish(self):
        with self.client:
            self.client.send(self.rest)
            assert self.client.reply().status == 200


def check_nothing_was_touched(millrace, names):
    assert [stage["restarts"] for stage in millrace.stat()["stages"]] == [0] * len(millrace.stat()["stages"])
    check_ledger(millrace, "metric", written=len(names), rejected=0)
    assert [event["username"] for event in events(millrace, "metric")] == names


def test_long_fields_of_cors_leave_held_requests_alone(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    address = http_address(millrace)
    preflight = ("Access-Control-Request-Method: POST", f"Access-Control-Request-Headers: {8000 * 'h'}")
    names, holders = [], []
    for i in range(10):
        names.append(f"{i}" * 3000)
        holders.append(Holder(address, names[-1]))
        with Client(address) as client:
            for method, fields in (("OPTIONS", preflight), ("GET", ())):
                reply = client.ask(method, "/t/x", None, f"Origin: {7800 * 'o'}", *fields)
                assert reply.status == (204 if method == "OPTIONS" else 200)
                assert not set(CORS) & set(reply.headers), reply.headers
    for holder in holders:
        holder.finish()
    check_nothing_was_touched(millrace, names)


def random_fields(rng):
    room = HEAD_MOST
    fields = []
    names = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers", "Authorization", "User-Agent", "Content-Type"]
    for name in rng.sample(names, rng.randrange(len(names) + 1)):
        length = min(room, rng.choice((rng.choice(EDGES), rng.randrange(HEAD_MOST))))
        begin = rng.choice(("", "https://a.example", "Bearer ", "application/json;"))
        fields.append(f"{name}: {(begin + length * 'x')[:length]}")
        room -= length + 40
        if room < 0:
            fields.pop()
    return fields


def length_of(fields, name):
    return next((len(f) - len(name) - 2 for f in fields if f.startswith(f"{name}: ")), 0)


def test_random_requests_get_whole_answers_and_leave_held_requests_alone(instance, tmp_path, backend, rng):
    """The seed is printed (MILLRACE_SEED). Some origins are fixed, some routes want a token: what is refused is an answer, too."""
    tokens = tmp_path / "tokens"
    tokens.write_text("correct-horse-battery batch\n")
    cors = rng.choice((["*"], ["https://a.example", "https://" + (ORIGIN_MAX - 8) * "x"]))
    millrace = instance(config=http_config(tmp_path, backend, cors=cors, tokens=str(tokens), topics={"track.raw": {"size": "8MiB"}}))
    address = http_address(millrace)
    names, held = [], []
    client = Client(address)
    for i in range(150):
        if rng.random() < 0.4:
            held.append(Holder(address, f"{i}-" + rng.randrange(1, 9000) * "n", rng.random()))
        elif held and rng.random() < 0.3:
            holder = held.pop(rng.randrange(len(held)))
            holder.finish()
            names.append(holder.name)
        asked = []
        for _ in range(rng.choice((1, 1, 1, 3, 20))):
            method = rng.choice(("GET", "OPTIONS", "OPTIONS", "HEAD", "POST", "PUT"))
            path = rng.choice(("/t/x", "/t/x.gif", "/batch", "/debug/vars", "/readyz", "/nothing", "/ingest"))
            asked.append((method, random_fields(rng), path))
        client.send(b"".join(request_bytes(method, path, b"" if method == "POST" else None, *fields) for method, fields, path in asked))
        for method, fields, path in asked:
            reply = client.reply(method)
            too_long = length_of(fields, "Origin") > ORIGIN_MAX or (
                method == "OPTIONS" and length_of(fields, "Access-Control-Request-Headers") > HEADERS_MAX)
            if too_long and "Access-Control-Request-Method" in str(fields):
                assert not set(CORS) & set(reply.headers), (method, path, reply)
            if reply.headers.get("connection") == "close":
                client.socket.close()
                client = Client(address)
                break
    client.socket.close()
    for holder in held:
        holder.finish()
        names.append(holder.name)
    check_nothing_was_touched(millrace, names)
