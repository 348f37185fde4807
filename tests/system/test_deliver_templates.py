"""Templates of postbacks and bodies, compared with Python's urllib and json."""
import json
import re
import subprocess
from urllib.parse import quote, urlencode

import pytest

from harness import BUILD

CASES = 1000
HOSTILE = ["..", ".", "../../etc/passwd", "%2e%2e", "%2E", "?", "#", "&a=b", "a=b", "/", "//evil.example/", "@evil.example", ":80", ";", "\r\nHost: evil",
           "\x00", "\x7f", " ", "+", "~-._", "\\", "{a}", "}", "ö€😀", "‮", "\ud800", "x\udfffy", "", "<script>", "'\"", "https://a.example/b?c=d#e"]
KEYS = ["a", "b", "user", "x.y", "a b", "ö", "", "A", "k/e?y#", "q&=", "\"", "\\", "\n", "-1"]
DOTS = re.compile(r"(?:\.|%2e){1,2}(?:;.*)?", re.IGNORECASE)


def fill(cases):
    lines = "".join(f"{url}\n{unmatched}\n{text}\n" for url, unmatched, text in cases)
    done = subprocess.run([str(BUILD / "tests" / "target_tool")], input=lines.encode(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode().split("\n")[:-1]
    assert len(out) == 2 * len(cases)
    return list(zip(out[::2], out[1::2]))


def whole(text):
    """The text as UTF-8 can have it: half of a surrogate pair becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class Number:
    """A number as it is written, since Python would write it in its own way."""

    def __init__(self, text):
        self.text = text


def random_value(rng, depth=0):
    kind = rng.randrange(10 if depth < 3 else 8)
    if kind < 3:
        return rng.choice(HOSTILE)
    if kind < 5:
        return "".join(chr(rng.choice([rng.randrange(1, 0x80), rng.randrange(0x80, 0xd800), rng.randrange(0x10000, 0x110000)])) for _ in range(rng.randrange(12)))
    if kind == 5:
        return Number(rng.choice(["0", "-0", "7", "-12", "1.50", "1e5", "1E-07", "123456789012345678901234567890", "0.1000"]))
    if kind == 6:
        return rng.choice([True, False])
    if kind == 7:
        return None
    if kind == 8:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def written(rng, value):
    """JSON of the value without white space, its strings escaped at random."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5 or any("\ud800" <= c <= "\udfff" for c in value))
        return re.sub("[a-z](?![^\\\\]*u)", lambda m: f"\\u{ord(m[0]):04x}", text) if "\\" not in text and rng.random() < 0.3 else text
    if isinstance(value, list):
        return "[" + ",".join(written(rng, v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(rng, k)}:{written(rng, v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def random_data(rng):
    """JSON text, and the text of each key's value; of keys that repeat the last counts."""
    members, texts = [], {}
    for _ in range(rng.choice([0, 1, 3, 6, 20])):
        key, value = rng.choice(KEYS), random_value(rng)
        form = written(rng, value)
        members.append(f"{written(rng, key)}:{form}")
        texts[key] = whole(value) if isinstance(value, str) else "" if value is None else form
    return "{" + ",".join(members) + "}", texts


def random_template(rng):
    """A URL as pieces: text, or a key in a tuple."""
    keys = [k for k in KEYS if not re.search(r"[\s]", k)] + ["missing", "a"]
    pieces = [rng.choice(["http://h.example", "https://h.example:8443", "http://u:p@h.example", "http://[2001:db8::1]"])]
    for _ in range(rng.randrange(4)):
        pieces.append("/")
        pieces += [rng.choice([(rng.choice(keys),), rng.choice(["a", ".", "%2e", "-", ";p=1", "b%20c", "~"])]) for _ in range(rng.randrange(4))]
    if len(pieces) == 1:
        pieces.append("/")
    for i in range(rng.randrange(4)):
        pieces += ["&" if i else "?", rng.choice(["p", "q", (rng.choice(keys),)]), "=", (rng.choice(keys),)]
    return pieces


def expected_url(pieces, texts, unmatched):
    """What urllib makes of it; None when a value makes a segment that servers resolve."""
    url, marked = "", ""
    for piece in pieces:
        value = quote(texts.get(piece[0], unmatched), safe="") if isinstance(piece, tuple) else piece
        url += value
        marked += "\x01" + value if isinstance(piece, tuple) else value
    segments = marked.partition("?")[0].split("/")[3:]
    for segment in segments:
        name = segment.partition(";")[0]
        if "\x01" in name and DOTS.fullmatch(name.replace("\x01", "")):
            return None
    return url


def test_templates_and_bodies_are_what_urllib_makes_of_them(rng):
    cases, wanted = [], []
    for _ in range(CASES):
        pieces, (text, texts), unmatched = random_template(rng), random_data(rng), rng.choice(["", "", "none", "n/a", "..", "ö x"])
        cases.append(("".join("{%s}" % p if isinstance(p, tuple) else p for p in pieces), unmatched, text))
        wanted.append((expected_url(pieces, texts, unmatched), urlencode({whole(k): v for k, v in texts.items()})))
    refused = 0
    for case, (url, form), (wanted_url, wanted_form) in zip(cases, fill(cases), wanted):
        assert form == wanted_form, case
        if wanted_url is None:
            assert url == '! a value makes a segment of the path "." or ".."', case
            refused += 1
        else:
            assert url == wanted_url, case
    print(f"{CASES} templates, {refused} of them refused")
    assert CASES / 50 < refused < CASES / 2


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_in_its_place(value):
    encoded = quote(whole(value), safe="")
    text = json.dumps({"v": value})
    (url, form), (query, _) = fill([("http://h/a/{v}x/b?c={v}", "", text), ("http://h/?{v}", "", text)])
    assert url == f"http://h/a/{encoded}x/b?c={encoded}" and query == f"http://h/?{encoded}"
    assert form == urlencode({"v": whole(value)})


@pytest.mark.parametrize("text, expected", [
    ('"Gopher"', "Gopher"), ("12", "12"), ("1.50", "1.50"), ("-1E+2", "-1E+2"), ("true", "true"), ("false", "false"), ("null", ""),
    ("[]", "[]"), ('["a", {"b": 1}]', '["a",{"b":1}]'), ("{}", "{}"), ('{"a": [1, 2]}', '{"a":[1,2]}'), ('"\\ud83d\\ude00"', "😀"), ('"\\u0061"', "a")])
def test_every_type_of_value_has_the_text_that_is_documented(text, expected):
    assert fill([("http://h/?v={v}", "-", '{"v": %s}' % text)]) == [(f"http://h/?v={quote(expected, safe='')}", urlencode({"v": expected}))]
