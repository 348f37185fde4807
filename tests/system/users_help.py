"""Users for the kinds of stages that exist for one instance alone: its supervisor gets a mount namespace of its own, in which
the databases of users and groups have them, so nothing of the machine is changed and nothing is left.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import BUILD, MILLRACE, Instance, namespace, wait_until

KINDS = ("ingest", "enrich", "deliver", "tally", "sink", "serve")
FIRST = 63100  # numbers that no distribution gives
OWNER = FIRST
QUEUES, DATA = FIRST + 20, FIRST + 21
UID = {kind: FIRST + 1 + i for i, kind in enumerate(KINDS)}
KIND_OF = {
    "ingest-udp": "ingest", "ingest-http": "ingest", "enrich": "enrich", "deliver": "deliver", "tally": "tally", "objects": "sink",
    "file": "sink", "kafka": "sink", "serve": "serve",
}
USE_QUEUES = {"ingest", "deliver"}
USE_DATA = {"deliver", "tally", "sink", "serve"}
# $0: a folder with passwd, group and nsswitch.conf; $1: where the programs are to be seen, $2: where they are
SCRIPT = """
for file in passwd group nsswitch.conf; do [ ! -e /etc/$file ] || mount --bind "$0/$file" /etc/$file || exit; done
mount --bind "$2" "$1" && shift 2 && exec "$@"
"""


def groups_of(kind):
    return {OWNER, UID[kind]} | ({QUEUES} if kind in USE_QUEUES else set()) | ({DATA} if kind in USE_DATA else set())


def unable():
    """Why users cannot be tried here; None: they can."""
    if os.geteuid() != 0:
        return "only root can start stages as other users"
    if namespace() != ["unshare", "-m"]:
        return "no mount namespace of one's own can be made here, so there is no place for users"
    return None


def write_databases(folder):
    """What systemd-sysusers makes of conf/systemd/millrace.sysusers."""
    users = [("millrace", OWNER), *((f"millrace-{kind}", UID[kind]) for kind in KINDS)]
    passwd = Path("/etc/passwd").read_text() + "".join(f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin\n" for name, uid in users)
    members = {"millrace": [f"millrace-{kind}" for kind in KINDS], **{f"millrace-{kind}": ["millrace"] for kind in KINDS}}
    group = Path("/etc/group").read_text() + "".join(f"{name}:x:{gid}:{','.join(members[name])}\n" for name, gid in users)
    for name, gid, use in (("millrace-queues", QUEUES, USE_QUEUES), ("millrace-data", DATA, USE_DATA)):
        group += f"{name}:x:{gid}:{','.join(['millrace', *(f'millrace-{kind}' for kind in sorted(use))])}\n"
    (folder / "passwd").write_text(passwd)
    (folder / "group").write_text(group)
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


class World:
    """Folders that every user may enter, and instances in them: with the users, or, users=False, without."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-test.", dir="/tmp"))
        self.shm_root = Path(tempfile.mkdtemp(prefix="millrace-test.", dir="/dev/shm"))
        self.programs = self.folder / "build"
        self.databases = self.folder / "etc"
        for folder in (self.folder, self.shm_root):
            folder.chmod(0o755)
        self.programs.mkdir()
        self.databases.mkdir()
        write_databases(self.databases)
        self.made = []

    def wrapper(self):
        return ["unshare", "-m", "sh", "-c", SCRIPT, str(self.databases), str(self.programs), str(BUILD)]

    def instance(self, config, users=True):
        one = Instance(self.folder, self.shm_root, config={"users": "auto", **config})
        self.made.append(one)
        command = one.command

        def wrapped():
            plain = command()
            return self.wrapper() + [str(self.programs / MILLRACE.relative_to(BUILD)), *plain[1:]] if one.users else plain

        one.users = users
        one.command = wrapped
        return one

    def millrace(self, *arguments, **more):
        """A command by root where the users are."""
        return subprocess.run(
            [*self.wrapper(), str(self.programs / "bin/millrace"), *map(str, arguments)], capture_output=True, text=True, timeout=60,
            check=False, **more,
        )

    def discard(self):
        for one in self.made:
            if one.process is not None and one.process.poll() is None:
                one.discard()
        shutil.rmtree(self.folder)
        left = sorted(str(p) for p in self.shm_root.iterdir())
        shutil.rmtree(self.shm_root)
        assert not left, f"left in shared memory: {left}"


def run_as(uid, groups, script, *arguments):
    """What a process of the user prints."""
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], user=uid, group=uid, extra_groups=sorted(groups), capture_output=True,
        text=True, timeout=30, check=False, cwd="/",
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def credentials(pid):
    """Users, groups and further groups of a process: three sets, one number each when it cannot go back."""
    lines = dict(line.split(":", 1) for line in Path("/proc", str(pid), "status").read_text().splitlines())
    return tuple(set(map(int, lines[key].split())) for key in ("Uid", "Gid", "Groups"))


def kind_of(role):
    return KIND_OF[role.rpartition(".")[0]]


def wait_files(folder, predicate):
    """Waits until it holds for {name: (uid, gid, mode)} of the files in the folder, and returns them."""
    def look():
        files = {}
        for path in folder.iterdir():
            status = path.lstat()
            files[path.name] = (status.st_uid, status.st_gid, status.st_mode & 0o7777)
        return files if predicate(files) else None

    return wait_until(look, what="the files")
