"""All servers of one world, in threads of this process.

    with Servers(s3=True) as servers:
        servers.ports["s3"], servers.control.fault("lose", operation="PutObject")
"""
import base64
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from store.azure import Azure
from store.control import Control, ControlService
from store.credentials import CONTAINER_PATH, Credentials, CredentialServices
from store.s3 import S3
from store.wire import Listener
from store.world import World

ACCESS_KEY = "AKIATESTTESTTESTTEST"
SECRET_KEY = "test/secret+key/with/signs/0123456789abcdef"
ACCOUNT = "testaccount"
ACCOUNT_KEY = base64.b64encode(bytes(range(64))).decode()


def make_certificate(folder, domains, hosts):
    """Its own authority, for each domain and the hosts in it, by the openssl program. OpenSSL takes no *.localhost."""
    names = ["IP:127.0.0.1"] + [f"DNS:{host}{domain}" for domain in domains for host in ("", *(f"{one}." for one in hosts))]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", f"subjectAltName={','.join(names)}", "-keyout", f"{folder}/key.pem",
               "-out", f"{folder}/certificate.pem"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return f"{folder}/certificate.pem", f"{folder}/key.pem"


class Servers:
    """tls: the stores speak TLS; the credential services and the control interface never do."""

    def __init__(self, s3=False, azure=False, credentials=False, tls=False, control_port=False, buckets=("bucket",), containers=("container",),
                 access_key=ACCESS_KEY, secret_key=SECRET_KEY, account=ACCOUNT, account_key=ACCOUNT_KEY, connections=256, **settings):
        self.world = World(**settings)
        self.folder, context = None, None
        if tls:
            self.folder = tempfile.mkdtemp(prefix="millrace-store.")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*make_certificate(self.folder, self.world.settings.domains, [*buckets, f"{account}.blob"]))
        self.book = Credentials(self.world)
        self.book.add(access_key, secret_key)
        self.services = {}
        if s3:
            self.services["s3"] = S3(self.world, self.book, buckets)
        if azure:
            self.services["azure"] = Azure(self.world, self.book, {account: account_key}, containers)
        if credentials:
            self.services["credentials"] = CredentialServices(self.world, self.book)
        self.listeners = {name: Listener(self.world, service, tls=context if name != "credentials" else None, most=connections)
                          for name, service in self.services.items()}
        self.control = Control(self)
        if control_port:
            self.listeners["control"] = Listener(self.world, ControlService(self.control))
        self.keys = {"access_key": access_key, "secret_key": secret_key, "account": account, "account_key": account_key}

    @property
    def ports(self):
        return {name: listener.port for name, listener in self.listeners.items()}

    def describe(self):
        """What a client has to know."""
        scheme = "https" if self.folder else "http"
        urls = {name: f"{scheme if name in ('s3', 'azure') else 'http'}://127.0.0.1:{port}" for name, port in self.ports.items()}
        if "azure" in urls:
            urls["azure_account"] = f"{urls['azure']}/{self.keys['account']}"
        if "credentials" in urls:
            urls["container_credentials"] = urls["credentials"] + CONTAINER_PATH
        certificate = str(Path(self.folder, "certificate.pem")) if self.folder else None
        return {"ports": self.ports, "urls": urls, **self.keys, "ca_file": certificate, "region": self.world.settings.region}

    def stop(self):
        self.world.faults.clear()
        for listener in self.listeners.values():
            listener.stop()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
