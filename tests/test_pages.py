"""What the pages say, asked for as a browser does, without one."""

import re

import requests

from tests.conftest import alert, webhook
from tests.processes import wait_for


def shown(running, path="/"):
    answer = requests.get(running.url + path, timeout=30)
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def test_how_long_the_credits_last_is_told_of_an_account_without_a_name(files, run, phones):
    running = run(files.write(ovh={"service_name": ...}))
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    told = r"about (6993|7000) days at the rate of the last week"  # 999 or 1000 are left, one went in 7 days
    wait_for(lambda: re.search(told, shown(running)), "the days are told")


def test_messages_say_what_they_cost(files, run, phones, emulator):
    emulator.emulation.prices["+33639980001"] = 2.5
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    wait_for(lambda: "1 part, 2.5 credits" in shown(running, "/messages"), "the cost is told")
