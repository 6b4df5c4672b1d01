"""SIGKILL at random, again and again, under load, with OVHcloud resetting connections after it has accepted."""

import collections
import json
import random
import re
import signal
import threading
import time

import pytest
import requests

from notifier.ovh.emulator import Emulation, Emulator, Fault, FaultKind
from tests.conftest import Files, alert, webhook
from tests.faults.nursery import Nursery

KILLS = 25  # by each of two services at once


class Load:
    """Posts webhooks as Alertmanager does: the same again until it is answered 200."""

    def __init__(self, url):
        self.url = url
        self.posted = []
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def _post(self, worker):
        number = 0
        while not self.is_over.is_set():
            host = f"host-{worker}x{number}"
            body = json.dumps(webhook(alert(instance=host), key=host)).encode()
            while True:
                try:
                    if requests.post(self.url + "/alert", body, timeout=5).status_code == 200:
                        break
                except requests.RequestException:
                    time.sleep(0.02)
            self.posted.append(host)
            number += 1
            time.sleep(0.02)

    def finish(self):
        self.is_over.set()
        for thread in self._threads:
            thread.join(60)


def ready(url):
    for _ in range(2000):
        try:
            return requests.get(url + "/-/ready", timeout=5)
        except requests.RequestException:
            time.sleep(0.01)
    raise AssertionError("the service does not come up")


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def killed(nursery, directory, seed, results):
    chance = random.Random(seed)
    with Emulator(Emulation(credits=1e9)).running() as emulator:
        port = free_port()
        files = Files(directory, emulator)
        file = files.write(web={"listen_address": f"127.0.0.1:{port}"}, limits={"per_contact": None})
        load = Load(f"http://127.0.0.1:{port}")
        for _ in range(KILLS):
            process = nursery.serve(file)
            ready(load.url)
            for _ in range(chance.randrange(3)):
                emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
            time.sleep(chance.uniform(0.02, 0.6))
            process.kill()
        process = nursery.serve(file)
        load.finish()
        missing = set(load.posted)
        for _ in range(900):
            seen = collections.Counter(
                re.search(r"host-\d+x\d+", sms.message)[0] for sms in list(emulator.emulation.accepted)
            )
            missing = set(load.posted) - set(seen)
            if not missing:
                break
            time.sleep(0.1)
        time.sleep(1)
        seen = collections.Counter(
            re.search(r"host-\d+x\d+", sms.message)[0] for sms in list(emulator.emulation.accepted)
        )
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        results[seed] = (len(load.posted), missing, [host for host, times in seen.items() if times > 1], code)


@pytest.mark.timeout(280)
def test_every_alert_is_paged_and_none_twice(tmp_path):
    results, nursery = {}, Nursery()
    threads = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        threads.append(threading.Thread(target=killed, args=(nursery, tmp_path / str(seed), seed, results)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    nursery.close()
    assert sorted(results) == [1, 2]
    for posted, lost, twice, code in results.values():
        assert posted > 100
        assert (lost, twice, code) == (set(), [], 0)
