"""The name server of tests/dns, as the fixture `dns` (conftest.py) gives it.

    def test_x(dns):
        dns.script("a.test", ["192.0.2.1"], ["127.0.0.1"])      see tests/dns/README.md
        ... instance(sets=dns.sets()) ...
"""
import sys

from harness import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from dns.server import NameServer  # noqa: E402


class Dns(NameServer):
    def sets(self):
        """--set of an instance that asks this server and no hosts file."""
        return [f'deliver.dns.servers=["{self.server}"]', 'deliver.dns.hosts_file=""']
