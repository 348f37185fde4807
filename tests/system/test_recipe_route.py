"""Adding an HTTP route is one row and one handler."""
import json

import pytest

from http_help import Client, http_address, http_config, wait_metric
from recipe_help import Tree


def blocks_with(path, word):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|") and word in line]


@pytest.mark.limit(300)
def test_an_http_route_is_one_row_and_one_handler(instance, tmp_path, monkeypatch):
    tree = Tree(tmp_path / "tree")
    assert tree.add("route") == ["ingest/http/route_visit.c", "ingest/http/routes.def.row"]
    tree.make("all", "docs")
    tree.use(monkeypatch)
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef0123456789abcdef visit\n", encoding="utf-8")
    tokens.chmod(0o600)
    millrace = instance(config=http_config(tmp_path, tokens=str(tokens)))
    with Client(http_address(millrace)) as client:
        assert client.ask("POST", "/visit/kodingbot").status == 401
        bearer = "Authorization: Bearer 0123456789abcdef0123456789abcdef"
        assert client.ask("POST", "/visit/kodingbot", None, bearer).json() == {"status": "ok"}
        assert client.ask("POST", "/visit/", None, bearer).status == 400
        assert client.ask("GET", "/visit/kodingbot", None, bearer).headers["allow"] == "POST"
    for name, n in {"requests": 4, "failed_token": 1, "failed_bad": 1, "failed_method": 1}.items():
        wait_metric(millrace, f"visit_{name}", n)
    result = millrace.millrace("tap", "metric", "--format", "json", "--last", 1, "--count", 1)
    assert result.returncode == 0, result.stderr
    event = json.loads(result.stdout)
    assert (event["username"], event["metric"], event["count"]) == ("kodingbot", "visit", 1)
    ledger = millrace.ledger("metric", millrace.settle("metric", 2))
    assert ledger["written"] == 1 and ledger["rejected"]["missing_field"] == 1
    # The documents have it too.
    assert len(blocks_with(tree.path / "docs" / "ROUTES.md", "`visit`")) == 2
    assert len(blocks_with(tree.path / "docs" / "REFERENCE.md", "`visit_")) == 11
