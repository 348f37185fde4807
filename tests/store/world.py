"""What the services share: settings, the clock, the log of operations, the bound of the memory."""
import dataclasses
import threading
import time
from dataclasses import dataclass

from store.faults import Faults
from store.wire import Answer, Refusal

MIB = 1 << 20
GIB = 1 << 30


@dataclass
class Settings:
    """All can be changed while the server runs; control.set(name=value)."""

    mode: str = "aws"  # or minio: a repeated CompleteMultipartUpload is answered NoSuchUpload
    checksums: str = "check"  # x-amz-checksum-*: check, ignore, or refuse with 501
    clock_skew: float = 0.0  # seconds that the server's clock is ahead
    region: str = "us-east-1"
    domains: tuple = ("localhost",)  # BUCKET.DOMAIN is the virtual-host style; ACCOUNT.blob.DOMAIN for Azure
    min_part: int = 5 * MIB  # S3, all parts but the last
    max_part: int = 5 * GIB  # S3, a part or a single PUT
    max_block: int = 4000 * MIB  # Azure
    max_blob: int = 5000 * MIB  # Azure, Put Blob
    page: int = 1000  # the most entries of a list in one answer, whatever was asked for
    discard: bool = False  # keep sizes and digests of bodies, not the bytes
    packed: bool = False  # keep bodies compressed: for long runs, whose lines repeat
    max_memory: int = 4 * GIB  # of all bodies; more is answered 500
    max_log: int = 1_000_000  # operations; the oldest are forgotten
    credential_seconds: float = 3600.0  # how long issued credentials last
    role: str = "test-role"
    role_arn: str = "arn:aws:iam::123456789012:role/test-role"
    container_token: str = "container-token"  # Authorization of the container credentials; "" none
    web_identity_token: str = "web-identity-token"


class Log:
    """Operations in the order of their arrival."""

    def __init__(self, world):
        self.world = world
        self.changed = threading.Condition()
        self.entries = []
        self.next = 1

    def begin(self, request, fault, connection):
        label = request.label
        entry = {"service": label.service, "operation": label.operation, "bucket": label.bucket, "key": label.key, "upload": label.upload,
                 "part": label.part, "length": None, "md5": None, "status": None, "code": "", "acted": False, "outcome": "",
                 "fault": fault.number if fault else None, "connection": connection, "method": request.method, "target": request.target,
                 "time": self.world.now(), "headers": kept_headers(request)}
        with self.changed:
            entry["n"] = self.next
            self.next += 1
            self.entries.append(entry)
            del self.entries[: max(0, len(self.entries) - self.world.settings.max_log)]
            self.changed.notify_all()
        return entry

    def update(self, entry, **what):
        with self.changed:
            entry.update(what)
            self.changed.notify_all()

    def find(self, **match):
        """Copies of those whose fields are equal to these."""
        with self.changed:
            return [dict(one) for one in self.entries if all(one.get(name) == value for name, value in match.items())]

    def wait(self, count=1, timeout=20.0, **match):
        """Waits until so many match. Returns those that do, fewer after timeout."""
        with self.changed:
            self.changed.wait_for(lambda: sum(all(e.get(k) == v for k, v in match.items()) for e in self.entries) >= count, timeout)
        return self.find(**match)

    def clear(self):
        with self.changed:
            self.entries.clear()


SECRET_HEADERS = {"authorization", "x-amz-security-token"}


def kept_headers(request):
    return {name: ("***" if name in SECRET_HEADERS else value) for name, value in request.headers.items()}


class World:
    def __init__(self, **settings):
        self.settings = Settings(**settings)
        self.faults = Faults()
        self.log = Log(self)
        self.lock = threading.RLock()  # of what the services hold
        self.memory = 0

    def now(self):
        return time.time() + self.settings.clock_skew

    def set(self, **settings):
        known = {one.name: one for one in dataclasses.fields(Settings)}
        for name, value in settings.items():
            if name not in known:
                raise ValueError(f"no such setting: {name}; there are {sorted(known)}")
            setattr(self.settings, name, tuple(value) if isinstance(value, list) else value)
        return dataclasses.asdict(self.settings)

    def check_room(self, request, n_bytes):
        """The bound of the memory, while a body is read."""
        if request.body.keep and self.memory + request.body.length + n_bytes > self.settings.max_memory:
            raise Refusal(Answer(500, {}, b"the test server's max_memory is reached\n", close=True))

    def keep(self, body):
        """Counts a body that stays; under the lock."""
        if self.settings.packed and body.keep:
            body.pack()
        self.memory += body.memory()

    def forget(self, *bodies):
        """What was overwritten or given up; under the lock."""
        self.memory -= sum(body.memory() for body in bodies)
