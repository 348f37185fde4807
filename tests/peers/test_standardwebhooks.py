"""Signatures of postbacks: the library of Standard Webhooks (npm) verifies ours, and ours are the ones that it makes."""
import base64
import json
import subprocess
import time
from pathlib import Path

import pytest

import harness
from peers_help import CACHE, missing

TOOL = harness.BUILD / "tests" / "sign_tool"
SCRIPT = Path(__file__).resolve().parent / "standardwebhooks.js"
BODIES = [b"", b"{}", b'{"test": 2432232314}', b"title=Gopher&image=https%3A%2F%2Fblog.golang.org", "{\"n\":\"Zoë 😀\"}".encode(), b"x" * 100_000]


@pytest.fixture(autouse=True)
def library():
    if missing("standardwebhooks"):
        pytest.skip(missing("standardwebhooks"))


def make_secret(rng, size):
    return "whsec_" + base64.b64encode(rng.randbytes(size)).decode()


def ask_library(postbacks):
    """Its verdict on each (secret, id, time, body, signature)."""
    keys = ("secret", "id", "time", "body", "signature")
    lines = [json.dumps(dict(zip(keys, (one[0], one[1], one[2], base64.b64encode(one[3]).decode(), one[4])))) for one in postbacks]
    done = subprocess.run(["node", str(SCRIPT), str(CACHE / "standardwebhooks" / "node_modules" / "standardwebhooks")],
                          input="\n".join(lines), text=True, capture_output=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask_ours(path, postbacks):
    """The signatures of each (id, time, body), or the verdicts on each (id, time, body, signature)."""
    lines = ["\t".join([one[0], str(one[1]), one[2].hex(), *one[3:]]) + "\n" for one in postbacks]
    done = subprocess.run([str(TOOL), str(path)], input="".join(lines), text=True, capture_output=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.fixture
def secrets(tmp_path, rng):
    """The secrets of a file, new to old, and the file."""
    made = [make_secret(rng, size) for size in (24, 32, 64)]
    path = tmp_path / "secrets"
    path.write_text("# new to old\n" + "\n".join(made) + "\n")
    path.chmod(0o600)
    return made, path


def test_the_library_verifies_our_signatures_with_every_secret(secrets, rng):
    made, path = secrets
    now = int(time.time())
    postbacks = [(f"{rng.getrandbits(128):032x}", now, body) for body in BODIES]
    signatures = ask_ours(path, postbacks)
    for number, secret in enumerate(made):
        verdicts = ask_library([(secret, *one, signature) for one, signature in zip(postbacks, signatures)])
        assert [one["good"] for one in verdicts] == [True] * len(BODIES)
        assert [one["signature"] for one in verdicts] == [signature.split(" ")[number] for signature in signatures]


def test_the_library_does_not_verify_what_was_changed(secrets, rng):
    made, path = secrets
    now = int(time.time())
    identity, body = f"{rng.getrandbits(128):032x}", b'{"a":1}'
    signature = ask_ours(path, [(identity, now, body)])[0]
    changed = [(make_secret(rng, 32), identity, now, body, signature), (made[0], "x" + identity, now, body, signature),
               (made[0], identity, now + 1, body, signature), (made[0], identity, now, body + b" ", signature)]
    assert [one["good"] for one in ask_library(changed)] == [False] * len(changed)


def test_we_verify_the_library_s_signatures(secrets, rng):
    made, path = secrets
    now = int(time.time())
    postbacks = [(f"{rng.getrandbits(128):032x}", now, body) for body in BODIES]
    theirs = [one["signature"] for one in ask_library([(made[1], *one, "v1,x") for one in postbacks])]
    assert ask_ours(path, [(*one, signature) for one, signature in zip(postbacks, theirs)]) == ["good"] * len(BODIES)
    assert ask_ours(path, [("x" + one[0], *one[1:], signature) for one, signature in zip(postbacks, theirs)]) == ["bad"] * len(BODIES)
