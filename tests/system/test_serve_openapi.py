"""The API against its OpenAPI document: what a client makes of the document is understood, what is outside of it is refused."""
import json
import re
import string
from urllib.parse import quote

import hypothesis
import hypothesis.configuration
import pytest
from hypothesis import strategies as st

from harness import default_config
from http_help import Client, ask
from serve_help import serve_address, serve_config

# What libwebsockets folds before we see it (// and dots) is left out of places in a path.
PLACE = st.text(alphabet=string.ascii_letters + string.digits + "-_~!$'()*,=:@%?# äß漢", min_size=1, max_size=40)
NO_INTEGERS = ["", "x", "1.5", " 1", "1e3", "0x1", "99999999999999999999"]
NO_WORDS = ["", "x", "1-", "-1", "soon", "9" * 40, "a\x01b", "\x7f"]  # for each pattern there are some that it does not have


def values(schema):
    """Of the schema's, and for their text."""
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"]).map(str)
    if schema["pattern"].startswith("^[^"):
        limit = min(schema["maxLength"] // 4, 60)  # the bytes are bounded
        text = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x7f"), min_size=1, max_size=limit)
        return text.filter(lambda one: len(one.encode()) >= schema["minLength"])
    return st.from_regex(schema["pattern"], fullmatch=True)


def outside(schema):
    """Texts that the schema does not allow."""
    if schema["type"] == "array":
        return outside(schema["items"])
    if schema["type"] == "integer":
        return NO_INTEGERS + [str(schema["minimum"] - 1), str(schema["maximum"] + 1)]
    wrong = [text for text in NO_WORDS if not re.search(schema["pattern"], text)]
    assert wrong, schema
    if "maxLength" in schema:
        wrong += ["a" * (schema["minLength"] - 1), "a" * (schema["maxLength"] + 1)]
    return wrong


@st.composite
def requests(draw, document):
    """(method, operation, target): one that the document allows."""
    path = draw(st.sampled_from(sorted(set(document["paths"]) - {"/live"})))  # that one does not end (test_live.py)
    method = draw(st.sampled_from(sorted(document["paths"][path])))
    operation = document["paths"][path][method]
    query = []
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace("{%s}" % parameter["name"], quote(draw(PLACE), safe=""))
        elif draw(st.booleans()):
            query.append(f"{parameter['name']}={quote(draw(values(parameter['schema'])), safe='')}")
    return method.upper(), operation, path + ("?" + "&".join(query) if query else "")


def check(reply, operation, target):
    """It is one that the document has."""
    responses = operation["responses"]
    declared = responses.get(str(reply.status)) or {"$ref": "#/components/responses/problem"}
    if "$ref" in declared:
        assert reply.headers["content-type"] == "application/problem+json", (target, reply)
        said = reply.json()
        assert said["status"] == reply.status and isinstance(said["title"], str) and isinstance(said["detail"], str), (target, reply)
    else:
        assert reply.headers["content-type"] in declared["content"], (target, reply)
        if "json" in reply.headers["content-type"]:
            json.loads(reply.body)


@pytest.fixture
def home(tmp_path):
    """What hypothesis keeps on disk goes with the test."""
    hypothesis.configuration.set_hypothesis_home_dir(str(tmp_path / "hypothesis"))
    yield
    hypothesis.configuration.set_hypothesis_home_dir(None)


@pytest.mark.limit(240)
@pytest.mark.usefixtures("home")
def test_what_the_document_allows_is_understood_and_what_it_does_not_is_refused(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["deliver"] = {"processes": 0}
    one = instance(config=serve_config(tmp_path, config))
    address, pid = serve_address(one), one.pid_of("serve.0")
    document = ask(address, "GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    listed = {(r["method"].lower(), r["path"]) for r in ask(address, "GET", "/").json()["routes"]}
    assert listed == {(method, path) for path, methods in document["paths"].items() for method in methods}
    settings = hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=False, print_blob=False,
                                   suppress_health_check=list(hypothesis.HealthCheck))
    connection = [Client(address)]

    def asked(method, target):
        if method != "GET":
            return ask(address, method, target)
        try:
            return connection[0].ask(method, target)
        except (EOFError, OSError):  # it ends after some answers
            connection[0].socket.close()
            connection[0] = Client(address)
            return connection[0].ask(method, target)

    @hypothesis.seed(rng.getrandbits(32))
    @settings
    @hypothesis.given(requests(document))
    def understood(request):
        method, operation, target = request
        reply = asked(method, target)
        assert reply.status not in (405, 414, 421, 500), (target, reply)
        assert reply.status != 400 or "400" in operation["responses"], (target, reply)
        check(reply, operation, target)

    understood()
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            place = path.replace("{", "").replace("}", "")
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    continue
                for value in outside(parameter["schema"]):
                    reply = asked(method.upper(), f"{place}?{parameter['name']}={quote(value, safe='')}")
                    assert reply.status == 400, (place, parameter["name"], value, reply)
                    check(reply, operation, place)
            assert asked(method.upper(), f"{place}?no_such_parameter=1").status == 400
    # What a client gets who has the answer already, and who asks for the other form.
    for path, methods in document["paths"].items():
        assert all(("304" in operation["responses"]) == (method == "get") for method, operation in methods.items()), path
    index = asked("GET", "/")
    assert ask(address, "GET", "/", None, f"If-None-Match: {index.headers['etag']}").status == 304
    opened = ask(address, "GET", "/metrics", None, "Accept: application/openmetrics-text; version=1.0.0")
    assert opened.body.endswith(b"# EOF\n")
    check(opened, document["paths"]["/metrics"]["get"], "/metrics")
    connection[0].socket.close()
    stage = one.stage("serve.0")
    assert stage["pid"] == pid and stage["restarts"] == 0
