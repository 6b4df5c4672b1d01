"""The regular check: Alertmanager is asked about the incidents that are not resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import Incident
from notifier.incidents.suppression import Verdict
from notifier.workers.alert_states import AlertStates
from notifier.workers.context import Context
from notifier.workers.worker import Worker

TURN = "alertmanager-check"
"""The name of the timestamp of the last check, by any replica."""
_BATCH = 200


class AlertmanagerCheck(Worker):
    """Asks Alertmanager every ``check_interval``; replicas take turns."""

    name = "alertmanager"

    def __init__(
        self, context: Context, states: AlertStates, send: Callable[[], None], escalate: Callable[[], None]
    ) -> None:
        """Prepare to check incidents by *states*.

        *send* is called when there are messages to send, *escalate* when a step has come due.
        """
        super().__init__(context, idle=5.0)
        self._states = states
        self._may_be_silenced = True
        """Whether incidents may be silenced: until none is, after Alertmanager was removed from the configuration."""
        self._send = send
        self._escalate = escalate

    def work(self) -> float | None:
        """Ask about all incidents, if it is time; without Alertmanager, none stays silenced."""
        settings, now = self._current.runtime.configuration.alertmanager, self._clock()
        if settings is None:
            # Another replica may have silenced one by the configuration of before.
            if self._may_be_silenced or self._store.backend.is_shared:
                found = self._store.incidents.silenced()
                self._follow(found)
                self._may_be_silenced = bool(found)
            return None
        self._may_be_silenced = True
        if not self._store.incidents.any_open():
            self._states.forget()
            return None
        if not self._store.timestamps.take_turn(TURN, now, settings.check_interval).result():
            return None
        found = [
            one for one in self._store.incidents.unresolved() if not one.group_key.startswith(HEARTBEATS)
        ]
        self._states.keep(found)
        self._follow(found)
        return None

    def _follow(self, incidents: Sequence[Incident]) -> None:
        for start in range(0, len(incidents), _BATCH):
            now = self._clock()
            effects = self._states.effects(incidents[start : start + _BATCH], now)
            self._states.write(effects, now)
            if any(effect.change is not None and effect.change.messages for effect in effects):
                self._send()
            if any(effect.verdict in (Verdict.RELEASED, Verdict.LOST) for effect in effects):
                self._escalate()
