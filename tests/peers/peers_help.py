"""Real peers as processes: moto for S3, Azurite for Azure, Apache Kafka. Each is ended by its pid.

    with Kafka(folder) as kafka:        the fixtures moto, azurite and kafka of conftest.py do this once a run
        kafka.bootstrap, kafka.kill(), kafka.start()
"""
import base64
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import harness
from harness import SLOW, wait_until

CACHE = harness.BUILD.resolve() / "peers"
START_S = 60
RUNNING = set()  # pids: they outlive a test on purpose


def missing(name):
    """Why a peer cannot be used, or "". tests/peers/install leaves the reason."""
    if (CACHE / f"{name}.installed").exists():
        return ""
    reason = CACHE / f"{name}.missing"
    return f"{name}: {reason.read_text().strip()}" if reason.exists() else f"{name} is not installed: tests/peers/install {CACHE}"


class Port:
    """A free port that stays ours: bound, but it does not listen, so that the peer may (both with SO_REUSEADDR), again and again."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.number = self.sock.getsockname()[1]

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.number), timeout=1).close()
            return True
        except OSError:
            return False


class Peer:
    """A process with a port. A peer gives its command, and says when it is ready."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_file = self.folder / "log"
        self.port = Port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def ready(self):
        return self.port.answers()

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                            env=self.environment(), start_new_session=True)
        RUNNING.add(self.process.pid)

        def started():
            assert self.process.poll() is None, f"{type(self).__name__} ended: {self.log_file.read_text(errors='replace')[-3000:]}"
            return self.ready()

        wait_until(started, START_S, f"{type(self).__name__}, see {self.log_file}", pause=0.1)
        return self

    def end(self, number=signal.SIGTERM, timeout=30):
        """Ends it by this signal, and by force when it does not."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        RUNNING.discard(self.process.pid)
        self.process = None

    def kill(self):
        self.end(signal.SIGKILL)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def __exit__(self, *_):
        self.end()
        self.port.sock.close()


class Moto(Peer):
    """S3 of moto, in memory. It checks no signatures."""

    region, access_key, secret_key = "us-east-1", "moto", "moto-secret"

    def command(self):
        return [str(CACHE / "python" / "bin" / "python3"), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port.number)]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port.number}"

    def ready(self):
        return self.port.answers() and b"" in urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).read()

    def about(self):
        """As store_help.s3_client() wants it."""
        return {"access_key": self.access_key, "secret_key": self.secret_key, "region": self.region, "urls": {"s3": self.url}}


class Azurite(Peer):
    """Azure Blob of Azurite, in memory, with signatures checked."""

    account, key = "testaccount", base64.b64encode(bytes(range(64))).decode()

    def command(self):
        program = CACHE / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        return ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(self.port.number), "--inMemoryPersistence", "--disableTelemetry",
                "--skipApiVersionCheck", "--silent"]

    def environment(self):
        return dict(os.environ, AZURITE_ACCOUNTS=f"{self.account}:{self.key}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port.number}/{self.account}"

    def service(self, **more):
        """Azure's own library."""
        from azure.storage.blob import BlobServiceClient  # pylint: disable=import-outside-toplevel

        return BlobServiceClient(self.url, credential={"account_name": self.account, "account_key": self.key}, **more)


SERVER_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions=1
auto.create.topics.enable=true
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
log.segment.bytes=67108864
"""
LOG4J = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c - %m%n
"""


class Kafka(Peer):
    """One broker that is its own controller (KRaft). Its data stays in its folder from one start to the next."""

    def __init__(self, folder):
        super().__init__(folder)
        self.controller = Port()
        (self.folder / "log4j.properties").write_text(LOG4J)
        self.properties = self.folder / "server.properties"
        self.properties.write_text(SERVER_PROPERTIES.format(broker=self.port.number, controller=self.controller.number, folder=self.folder))
        cluster = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "a")
        self.tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self.properties))

    def java(self, main, *arguments, memory="128m"):
        return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1" if memory == "128m" else "-XX:-UsePerfData",
                "-cp", f"{CACHE / 'kafka'}/*", f"-Dlog4j.configuration=file:{self.folder}/log4j.properties", main, *arguments]

    def tool(self, main, *arguments, text=None):
        """One of Kafka's own programs. Returns what it printed."""
        run = subprocess.run(self.java(main, *arguments), input=text, capture_output=True, text=True, timeout=START_S * SLOW, check=False)
        assert run.returncode == 0, f"{main}: {run.stdout[-1000:]}{run.stderr[-2000:]}"
        return run.stdout

    def command(self):
        return self.java("kafka.Kafka", str(self.properties), memory="768m")

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port.number}"

    def ready(self):
        """Its port is open before it can be asked."""
        if not self.port.answers():
            return False
        from confluent_kafka import KafkaException  # pylint: disable=import-outside-toplevel

        try:
            return self.admin().list_topics(timeout=2).brokers
        except KafkaException:
            return False

    def admin(self):
        from confluent_kafka.admin import AdminClient  # pylint: disable=import-outside-toplevel

        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create(self, topic, partitions=1, **config):
        from confluent_kafka.admin import NewTopic  # pylint: disable=import-outside-toplevel

        settings = {name.replace("_", "."): str(value) for name, value in config.items()}
        admin = self.admin()  # what it promises ends with it
        admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result(timeout=START_S * SLOW)

    def delete(self, topic):
        """A broker that was killed reads all that it has when it starts again."""
        admin = self.admin()
        admin.delete_topics([topic])[topic].result(timeout=START_S * SLOW)

    def consume(self, topic, isolation="read_committed", timeout=30.0):
        """All messages of a topic, up to the ends that it has now: (partition, offset, key, value), each partition in order."""
        from confluent_kafka import Consumer, TopicPartition  # pylint: disable=import-outside-toplevel

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "tests", "enable.auto.commit": False, "isolation.level": isolation,
                             "enable.partition.eof": False, "auto.offset.reset": "earliest"})
        try:
            partitions = consumer.list_topics(topic, timeout=10 * SLOW).topics[topic].partitions
            ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10 * SLOW)[1] for number in partitions}
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            found, deadline = [], time.monotonic() + timeout * SLOW
            while not self.at_end(consumer, topic, ends):
                assert time.monotonic() < deadline, f"{topic}: {len(found)} messages, not at the end after {timeout} s"
                for message in consumer.consume(10000, timeout=0.2):
                    if message.error() is None:
                        found.append((message.partition(), message.offset(), message.key(), message.value()))
            return sorted(found, key=lambda one: one[:2])
        finally:
            consumer.close()

    @staticmethod
    def at_end(consumer, topic, ends):
        """The position goes over markers of transactions too; before the first fetch there is none."""
        from confluent_kafka import TopicPartition  # pylint: disable=import-outside-toplevel

        places = consumer.position([TopicPartition(topic, number) for number in ends])
        return all(place.offset >= ends[place.partition] or ends[place.partition] == 0 for place in places)

    def __exit__(self, *_):
        super().__exit__()
        self.controller.sock.close()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
