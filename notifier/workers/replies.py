"""Replies: read while incidents are open, parsed, and answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from notifier.alertmanager.silences import SilenceRefused
from notifier.incidents.lifecycle import Kind
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.ovh.models import Incoming, number_of
from notifier.planning.notices import own_message
from notifier.sms.phones import mask
from notifier.sms.recipient import Recipient
from notifier.store.engine import StoreUnavailable
from notifier.store.replies import REPLIES_SEEN, ReplyRead, Written
from notifier.workers.actions import Actions, Via
from notifier.workers.context import Context
from notifier.workers.reply_actions import Meaning, ReplyActions
from notifier.workers.set_aside import MAX_ATTEMPTS
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
"""How far before the last reading replies are asked for again: lists are late, and clocks differ."""
HELP_EVERY = timedelta(hours=1)
MAX_ANSWERS, ANSWERS_PER = 30, timedelta(minutes=10)
"""More than a person asks for: a machine that answers each SMS with a command is not answered for ever."""

_TURN = "turn/replies"
_MOST = 100
_GIVE_UP = timedelta(hours=6)
"""For how long a reply that cannot be read is tried."""
_ATTEMPTS = 5
_LINGER = timedelta(minutes=15)
"""For how long after the last incident is resolved replies are read as often as before."""
_IDLE_INTERVAL = timedelta(minutes=1)
"""How often they are read at least while no incident is open."""
_TOO_OLD_TO_ANSWER = timedelta(minutes=15)
_CONVERSATION = timedelta(hours=48)
"""How long a reply to a short number reaches the account that sent from it."""
_AFTER_FAILURE = 15.0  # seconds
_LONGEST_INTERVAL = timedelta(minutes=10)


class ReplyPoller(Worker):
    """Reads replies and carries them out; each once, whatever happens meanwhile."""

    name = "replies"

    def __init__(
        self,
        context: Context,
        actions: Actions,
        send: Callable[[], None],
        escalate: Callable[[], None],
    ) -> None:
        """Prepare to read replies; *actions* carries them out.

        *send* is called when there are messages to send, *escalate* when a step has come due.
        """
        super().__init__(context, idle=600.0)
        self._actions = actions
        self.reply_actions = ReplyActions(context, actions)
        self._send = send
        self._escalate = escalate
        self._is_hinted = False
        self._open_until: datetime | None = None
        self._has_more = False
        self._read_at: datetime | None = None

    def hint(self) -> None:
        """Read now: OVHcloud reports a new reply."""
        self._is_hinted = True
        self.wake()

    def work(self) -> float | None:
        """Read new replies, if there is anything to reply to."""
        taking = self._taking()
        self.keep_accounts([api.name for api in taking])
        every = min((api.settings.replies.poll_interval for api in taking), default=_LONGEST_INTERVAL)
        hinted, self._is_hinted = self._is_hinted, False
        now = self._clock()
        if self._open_until is None or self._store.incidents.any_open():
            self._open_until = now
        interval = every.total_seconds()
        is_seldom = abs(now - self._open_until) >= _LINGER and not hinted and not self._has_more
        is_read = self._read_at is not None and timedelta() <= now - self._read_at < _IDLE_INTERVAL
        if not taking or (is_seldom and is_read):
            return interval
        if not hinted and not self._is_our_turn(now, every):
            return interval / 2
        self._read_at = now
        try:
            more = self.read()
        except CallFailed:
            return max(interval, _AFTER_FAILURE)
        self._has_more = more
        return 0.0 if more else interval

    def _is_our_turn(self, now: datetime, every: timedelta) -> bool:
        """Whether no other replica reads them."""
        if not self._store.backend.is_shared or self._has_more:
            return True
        return self._store.timestamps.take_turn(_TURN, now, every * 0.9).result()

    def _taking(self) -> list[OvhClient]:
        """Return the accounts that people can reply to."""
        return [api for api in self._current.runtime.apis.values() if api.settings.takes_replies]

    def read(self) -> bool:
        """Read the new replies; return whether there are more.

        Raises:
            CallFailed: none of the accounts can be asked.
        """
        taking, failed, more = self._taking(), [], False
        for api in taking:
            try:
                more |= self._read(api)
            except CallFailed as error:  # the others are asked all the same
                self.note_answer(api.name, error)
                failed.append(error)
                if len(failed) == len(taking):
                    raise
            else:
                self.note_answer(api.name, None)
        return more

    def _read(self, api: OvhClient) -> bool:
        now = api.their_time(self._clock())  # a clock of ours that is wrong must not hide a reply
        account = api.service_name()
        seen = REPLIES_SEEN + account
        read_until = self._store.timestamps.get(seen)
        if read_until is None or read_until > now:  # the first time, or the clock was set back
            read_until = now
        new = self._store.replies.unread(account, api.incoming_ids(read_until - OVERLAP))
        failed: list[Exception] = []
        for id_ in new[:_MOST]:
            item = f"{account}/{id_}"
            try:
                self._take(api, api.incoming(id_))
                self.set_aside.discard(item)
            except StoreUnavailable:
                raise
            except CallFailed as error:  # the others are read all the same
                log.warning("reply cannot be read, will try again", reply=id_, error=str(error))
                failed.append(error)
            except Exception as error:  # whatever is wrong with one reply must not delay the others
                attempts = self.set_aside.add(item, error, self._clock())
                log.exception("reply failed", reply=id_, attempts=attempts)
                if attempts < MAX_ATTEMPTS or not self._give_up(account, id_):
                    failed.append(error)
        if failed and len(failed) == len(new) and isinstance(failed[0], CallFailed):
            raise failed[0]
        if len(new) <= _MOST and (not failed or now - read_until > _GIVE_UP):
            self._store.timestamps.set({seen: now}).result()
        return len(new) > _MOST and not failed

    def _give_up(self, account: str, id_: int) -> bool:
        """Record that a reply cannot be processed, so that it is not read again; return whether that worked."""
        now = self._clock()
        read = ReplyRead(
            account, id_, now, "", None, "", "cannot be processed because of an internal error; see the log"
        )
        try:
            self._store.replies.write(read, [], [], now, []).result()
        except StoreUnavailable:
            raise
        except Exception:  # it is tried again
            log.exception("reply cannot be set aside", reply=id_)
            return False
        self.set_aside.discard(f"{account}/{id_}")
        return True

    def _take(self, api: OvhClient, reply: Incoming) -> None:
        runtime, now = self._current.runtime, self._clock()
        phone, at = number_of(reply.sender), min(api.local_time(reply.creation_datetime), now)
        person = next((one for one in runtime.contacts.values() if one.phone == phone), None)
        account, name = api.service_name(), person.name if person else None
        silences: dict[str, str | SilenceRefused] = {}
        for _ in range(_ATTEMPTS):
            meaning = self.reply_actions.meaning_of(api, reply, person, at, now, silences)
            read = ReplyRead(account, reply.id, at, phone, name, reply.message, meaning.outcome)
            answers, timestamps = [], []
            if person is not None and meaning.answers and self._may_answer(person, meaning, at, now):
                runtime = self._current.runtime
                answers = [own_message(runtime, person, text, Kind.ANSWER, now) for text in meaning.answers]
                timestamps = [_help_sent(person)] if meaning.is_unrequested_help else []
            written = self._store.replies.write(read, meaning.changes, answers, now, timestamps).result()
            if written is Written.BEFORE:
                return  # another replica was faster
            if written is Written.NOW:
                break
        else:
            raise RuntimeError("the incident changes all the time")
        self._actions.count_acknowledgements(meaning.changes, Via.SMS)
        log.info(
            "reply read",
            reply=reply.id,
            contact=name,
            phone=mask(phone),
            outcome=meaning.outcome,
            incidents=[change.incident.number for change in meaning.changes],
        )
        self._send()
        self._escalate()

    def _may_answer(self, person: Recipient, meaning: Meaning, at: datetime, now: datetime) -> bool:
        """Whether *person* is sent an answer: always to a command that was carried out, or where help is asked for."""
        if meaning.changes:
            return True
        if now - at >= _TOO_OLD_TO_ANSWER:
            return False  # nobody waits for it
        if meaning.is_asked_for:
            return True
        if not self._store.replies.was_texted(person, now - _CONVERSATION):
            return False  # a reply to somebody else on the same account
        if meaning.is_unrequested_help:
            last = self._store.timestamps.get(_help_sent(person))
            return last is None or not timedelta() <= now - last < HELP_EVERY
        return self._store.replies.answers_since(person.phone, now - ANSWERS_PER) < MAX_ANSWERS


def _help_sent(person: Recipient) -> str:
    return f"help/{person.phone}"
