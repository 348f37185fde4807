"""A copy of the tree to which a recipe is applied (tests/recipe/README.md).

    tree = Tree(tmp_path / "tree")
    assert tree.add("format") == [...]             the files and rows that the recipe has
    tree.make()
    tree.use(monkeypatch)                          Instance and all that uses harness.MILLRACE runs the copy's programs
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import harness
from harness import BUILD, ROOT, SLOW

RECIPES = ROOT / "tests" / "recipe"
# What the build folder has and programs do not need.
NOT_PROGRAMS = shutil.ignore_patterns("tests", "fuzz", "test-logs")


def _left_out(folder, names):
    """Of the tree's own folder everything but sources."""
    if Path(folder) != ROOT:
        return [n for n in names if n == "__pycache__"]
    return [n for n in names if n.startswith((".", "data", "millrace-data")) or re.fullmatch(r"build(-.*)?", n)]


class Tree:
    """Files keep their times, so that make builds only what a recipe changes."""

    def __init__(self, path):
        self.path = path
        self.build = path / BUILD.name
        shutil.copytree(ROOT, path, ignore=_left_out, symlinks=True)
        shutil.copytree(BUILD, self.build, ignore=NOT_PROGRAMS, symlinks=True)

    def add(self, recipe):
        """Copies the recipe's files into the tree; NAME.row is appended to NAME. Returns what there was."""
        added = []
        for source in sorted(p for p in (RECIPES / recipe).rglob("*") if p.is_file()):
            name = source.relative_to(RECIPES / recipe)
            target = self.path / name
            if name.suffix == ".row":
                with open(target.with_suffix(""), "a", encoding="utf-8") as table:
                    table.write(source.read_text(encoding="utf-8"))
            else:
                assert not target.exists(), f"{name} exists already"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
            added.append(str(name))
        return added

    def make(self, *targets):
        """Builds with the variables (CC, SANITIZE ...) that the tests were started with."""
        _, dashes, variables = os.environ.get("MAKEFLAGS", "").partition("-- ")
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
        environment["MAKEFLAGS"] = f" -- {variables}" if dashes else ""
        done = subprocess.run(
            ["make", "-s", "-j2", "NO_DEPS=1", f"BUILD={self.build.name}", *targets], cwd=self.path, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300 * SLOW,
        )
        assert done.returncode == 0, f"make: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def use(self, monkeypatch):
        monkeypatch.setattr(harness, "MILLRACE", self.build / "bin" / "millrace")
