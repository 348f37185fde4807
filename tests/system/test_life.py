"""Whether those who are attached to an instance know what became of it: another page, a drain, its folder gone."""
import signal
import threading
import time

from harness import default_config, wait_until
from http_help import Client, http_address, http_config


def ask_ready(address, done, found):
    """Asks again and again, every time on a connection of its own; found gets every answer that is not ready."""
    while not done.is_set():
        with Client(address) as client:
            reply = client.ask("GET", "/readyz")
            found.append((reply.status, reply.body))
        time.sleep(0.01)


def test_a_stage_that_a_reload_leaves_alone_stays_ready(instance, tmp_path):
    config = {**default_config(tmp_path), **http_config(tmp_path, "epoll")}
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    one = instance(config=config)
    pid = one.pid_of("ingest-http.0")
    done, found = threading.Event(), []
    asker = threading.Thread(target=ask_ready, args=(http_address(one), done, found))
    asker.start()
    try:
        for changes, processes in enumerate((2, 1, 3), start=2):
            config["ingest"]["udp"][0]["processes"] = processes
            one.write_config(config)
            one.kill(signal.SIGHUP)
            wait_until(lambda n=changes: one.log().count("all stages run") == n, 15, f"{processes} processes")
        asked = len(found)
        wait_until(lambda: len(found) > asked + 50, what="answers after the last change")
    finally:
        done.set()
        asker.join()
    assert one.pid_of("ingest-http.0") == pid
    assert {status for status, _ in found} == {200}, [answer for answer in found if answer[0] != 200][:3]
