"""Adding a command is one row, one file and its manual page."""
import re
import shutil

import pytest

from recipe_help import Tree
from cli_help import check_help, check_page, complete


@pytest.mark.limit(300)
def test_a_command_is_one_row_one_file_and_its_page(instance, tmp_path, monkeypatch):
    tree = Tree(tmp_path / "tree")
    assert tree.add("command") == ["cli/command.def.row", "cli/roles.c", "docs/man/millrace-roles.1"]
    tree.make()
    tree.use(monkeypatch)
    program = tree.build / "bin" / "millrace"
    one = instance()
    assert set(one.millrace("roles").stdout.split()) >= {"ingest-udp.0", "tally.0"}
    assert re.search(r"^tally\.0 tally$", one.millrace("roles", "--programs").stdout, re.MULTILINE)
    nobody = one.millrace("roles", "--instance", "nobody")
    assert nobody.returncode == 1 and nobody.stderr.startswith("millrace roles: "), nobody.stderr
    check_help(program, "roles", tree.path / "docs" / "man")
    if shutil.which("mandoc") is not None:
        check_page(tree.path / "docs" / "man" / "millrace-roles.1")
    assert "roles" in complete(program, tree.path, "rol")
    assert complete(program, tree.path, "roles", "--pro") == ["--programs"]
    assert "did you mean roles?" in one.millrace("rols").stderr
    installed = tmp_path / "installed"
    tree.make("install", f"DESTDIR={installed}", "PREFIX=/usr")
    assert list(installed.rglob("millrace-roles.1*"))
