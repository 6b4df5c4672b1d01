"""Several replicas on one PostgreSQL: whatever happens to them, each page goes once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from sqlalchemy import URL

from notifier.delivery.message import Job
from notifier.delivery.retry import LISTING_DELAY
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.ids import new_id
from notifier.workers.replicas import LEASE, Replicas
from tests.support.files import Files
from tests.support.pager import ONE, Pager, claim, due_in, texts
from tests.support.service import Phones, Running
from tests.support.team import firing, over, storm, team, told
from tests.support.webhooks import alert, webhook


@pytest.fixture
def engine_name() -> Any:
    return "postgresql"


class Monotonic:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> Any:
        return self.now


@pytest.fixture
def pair(make: Callable[..., Pager]) -> Any:
    """Two replicas, made to work by hand, and what keeps the list of replicas for the second."""
    first, second = make(**team()), make(**team())
    instant = Monotonic()
    watch = Replicas(second.context, second.sender.wake, instant)
    watch.work()
    return first, second, watch, instant


def unplanned(pager: Pager) -> Any:
    return [stored.id for stored in pager.store.webhooks.unplanned(16, 10**6)]


# -- work is taken once ------------------------------------------------------------------------------------


def test_a_cluster_of_alertmanagers_may_post_to_any_replica(pair: Any, emulator: Emulator) -> None:
    first, second, *_ = pair
    barrier, repeated = threading.Barrier(2), []

    def post(pager: Pager) -> None:
        barrier.wait()
        repeated.append(len(pager.post(ONE)))

    threads = [threading.Thread(target=post, args=(pager,)) for pager in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pager in (first, second):
        pager.turn(2)
    assert sorted(repeated) == [0, 1]
    assert len(texts(emulator)) == 1


def test_webhooks_are_shared_out_but_those_of_a_group_keep_their_order(pair: Any) -> None:
    first, second, *_ = pair
    first.post(firing("A", key="a"))
    first.post(firing("B", key="b"))
    ours = unplanned(first)
    assert len(ours) == 2
    second.hand.move(seconds=1)
    second.post(over("A", key="a"))  # which must not be planned before what it ends
    second.post(firing("C", key="c"))
    theirs = unplanned(second)
    assert len(theirs) == 1
    assert not set(ours) & set(theirs)
    second.turn(2)
    assert [one.title for one in second.store.incidents.latest(9)] == ["C db-1"]
    first.turn(2)
    second.turn(2)
    states = {one.title: one.state.value for one in second.store.incidents.latest(9)}
    assert states == {"A db-1": "resolved", "B db-1": "open", "C db-1": "open"}


def test_a_step_is_taken_by_one(make: Callable[..., Pager], emulator: Emulator) -> None:
    pagers = [make(**team(("10m", ["bob"]))) for _ in range(3)]
    pagers[0].post(firing("A"))
    pagers[0].turn()
    pagers[0].hand.move(minutes=11)
    threads = [threading.Thread(target=pager.turn, args=(3,)) for pager in pagers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]


def test_a_limit_holds_for_all_replicas_together(make: Callable[..., Pager], emulator: Emulator) -> None:
    pagers = [make(**team()) for _ in range(3)]
    storm(pagers[0], [f"A{n}" for n in range(60)])
    threads = [threading.Thread(target=pager.turn, args=(12,)) for pager in pagers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told(emulator)) == 10
    assert len(pagers[0].rows()) == 60


def test_two_that_open_incidents_at_once_take_two_numbers(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pagers = [make(**team()) for _ in range(2)]
    for n in range(8):
        pagers[n % 2].post(firing(f"A{n}", key=str(n)))
    threads = [threading.Thread(target=pager.turn, args=(6,)) for pager in pagers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pager in pagers:
        pager.turn(2)
    assert sorted(one.number for one in pagers[0].store.incidents.latest(20)) == list(range(1, 9))
    assert len(texts(emulator)) == 8


# -- a replica that is gone --------------------------------------------------------------------------------


def claimed(pager: Pager) -> Any:
    """Have *pager* claim the one message there is, and go no further."""
    pager.post(ONE)
    pager.planner.work()
    now = pager.hand()
    (message,) = due_in(pager.store, now, 1)
    job = Job(new_id(now), message.text, now, (message,))
    assert claim(pager.store, job)
    return job


def pass_away(pair: Any) -> None:
    _, second, watch, instant = pair
    watch.work()
    instant.now += LEASE - 0.1
    second.hand.move(hours=-1)  # clocks do not matter
    watch.work()
    assert second.states() == ["sending"]
    second.hand.move(hours=1)
    instant.now += 0.2
    watch.work()
    assert second.states() == ["unsettled"]


def test_a_job_of_one_that_is_gone_is_asked_for_and_sent_if_it_was_not_taken(
    pair: Any, emulator: Emulator
) -> None:
    claimed(pair[0])
    pass_away(pair)
    second = pair[1]
    second.turn()
    assert texts(emulator) == []  # it may show up in the lists yet, or be under way
    second.run(20)
    assert texts(emulator) == []  # a call that was signed at the claim is good yet
    second.run(35)
    assert len(texts(emulator)) == 1


def test_a_call_that_is_made_at_the_last_moment_and_is_listed_late_is_not_sent_again(
    pair: Any, emulator: Emulator
) -> None:
    job = claimed(pair[0])
    pass_away(pair)
    pair[1].run(26)
    emulator.emulation.listing_delay = 3600.0
    pair[0].current.runtime.api.send(job.text, [job.messages[0].phone], job.tag)
    pair[1].run(18)
    emulator.emulation.accepted[0].listed_at = 0.0
    pair[1].run(40)
    assert len(texts(emulator)) == 1
    assert pair[1].states() == ["accepted"]


def test_a_job_of_one_that_is_gone_is_not_sent_again_if_it_was_taken(pair: Any, emulator: Emulator) -> None:
    job = claimed(pair[0])
    pair[0].current.runtime.api.send(job.text, [job.messages[0].phone], job.tag)
    pass_away(pair)
    pair[1].run(60)
    assert len(texts(emulator)) == 1
    assert pair[1].states() == ["accepted"]


def test_one_that_was_only_cut_off_writes_its_answer_all_the_same(pair: Any, emulator: Emulator) -> None:
    first, second, *_ = pair
    job = claimed(first)
    pass_away(pair)
    outcome = first.current.runtime.api.send(job.text, [job.messages[0].phone], job.tag)
    from notifier.workers.delivery import endings

    first.store.jobs.finish(job, endings(job, outcome), first.hand()).result(10)
    second.run(60)
    assert second.states() == ["accepted"]
    assert len(texts(emulator)) == 1


def test_what_it_had_taken_to_plan_is_planned_by_others(pair: Any, emulator: Emulator) -> None:
    first, second, watch, instant = pair
    first.post(ONE)
    assert len(unplanned(first)) == 1
    assert unplanned(second) == []
    watch.work()
    instant.now += LEASE
    watch.work()
    second.turn(2)
    assert len(texts(emulator)) == 1


def test_one_that_ends_in_order_frees_its_work_at_once(pair: Any) -> None:
    first, second, *_ = pair
    first.post(ONE)
    assert len(unplanned(first)) == 1
    first.store.replicas.leave(first.store.replica, first.hand(), LISTING_DELAY).result(10)
    assert len(unplanned(second)) == 1


def test_one_that_ends_in_order_frees_its_jobs_at_once(pair: Any, emulator: Emulator) -> None:
    first, second, *_ = pair
    claimed(first)
    assert first.store.replicas.leave(first.store.replica, first.hand(), LISTING_DELAY).result(10) == 1
    second.run(30, step=5)
    assert len(texts(emulator)) == 1


def test_a_sign_of_life_in_time_keeps_its_work(pair: Any) -> None:
    first, second, watch, instant = pair
    claimed(first)
    for _ in range(10):
        instant.now += LEASE - 1
        first.store.replicas.heartbeat(first.store.replica, first.hand()).result(10)
        watch.work()
    assert second.states() == ["sending"]


# -- services ----------------------------------------------------------------------------------------------


def test_replicas_wake_each_other(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    first, second = run(files.write()), run(files.write())
    for worker in (first.service.workers.planner, first.service.workers.dispatcher):
        worker.stop()  # so that all of the work is the other's
    first.post(webhook(alert("A")))
    assert len(phones.wait(1)) == 1
    assert second.metric("notifier_replicas") == 2


def test_a_listener_hears_what_is_rung(make: Callable[..., Pager]) -> None:
    first, second = make(**team()), make(**team())
    heard = threading.Event()
    listener = second.store.listen(lambda name: heard.set() if name == "planner" else None)
    listener.start()
    try:
        for n in range(100):
            first.post(firing("A", key=str(n)))
            if heard.wait(0.2):
                break
        assert heard.is_set()
    finally:
        listener.stop()


def test_connections_that_are_dropped_are_made_anew(
    files: Files, run: Callable[..., Running], phones: Phones, postgres_server: Any, postgres: URL
) -> None:
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    postgres_server.run(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{postgres.database}'"
    )
    post_until_stored(running, webhook(alert("B"), key="b"))
    assert len(phones.wait(2)) == 2


def post_until_stored(running: Running, body: Any) -> Any:
    """Post as Alertmanager does."""
    answers = []
    for _ in range(200):
        answers.append(running.post(body))
        if answers[-1].status_code == 200:
            return answers
        assert answers[-1].status_code == 503
        time.sleep(0.1)
    raise AssertionError(answers[-1].text)


def test_a_server_that_is_read_only_for_a_while_is_ridden_out(
    files: Files, run: Callable[..., Running], phones: Phones, postgres_server: Any, postgres: URL
) -> None:
    running = run(files.write())

    def switch(value: Any) -> None:
        postgres_server.run(f"ALTER DATABASE {postgres.database} SET default_transaction_read_only = {value}")
        postgres_server.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{postgres.database}'"
        )

    switch("on")
    running.post(webhook(alert("A"), key="a"))
    answer = running.post(webhook(alert("A"), key="a"))
    assert answer.status_code == 503
    assert "read-only" in answer.text
    assert requests.get(running.url + "/-/ready", timeout=10).status_code == 503
    switch("off")
    post_until_stored(running, webhook(alert("A"), key="a"))
    assert len(phones.wait(1)) == 1


def test_a_lost_answer_is_settled_by_one_replica(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    runs = [run(files.write()) for _ in range(3)]
    runs[0].post(webhook(alert("A")))
    deadline = time.monotonic() + 20
    while runs[1].metric('notifier_queue_messages{state="unsettled"}') or not phones.all():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert len(phones.all()) == 1


def test_a_password_is_shown_nowhere(
    files: Files, run: Callable[..., Running], postgres: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.set(password="s3cret-pass").render_as_string(hide_password=False)
    running = run(files.write(storage={"url": url}))
    assert running.service.store.name
    assert "s3cret-pass" not in running.service.store.name
    assert "s3cret-pass" not in json.dumps(list(running.get("/metrics")))
    assert "s3cret-pass" not in capsys.readouterr().err
