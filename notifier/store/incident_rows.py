"""Incidents as rows of their table."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from notifier.clock import is_known
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.store.schema import incidents, sql_literal

COLUMNS = tuple(incidents.c)
UNRESOLVED = incidents.c.state != sql_literal(IncidentState.RESOLVED)
_SETS = ("alerts", "firing", "listed", "listed_by")
"""The columns that hold sets, as words."""
MAX_ALERTS = 200
"""The number of its alerts by which an incident can be found."""


def to_row(incident: Incident) -> dict[str, Any]:
    """Return the values of the row of *incident*, by column."""
    row: dict[str, Any] = {column.name: getattr(incident, column.name) for column in incidents.c}
    keys = {name: " ".join(sorted(getattr(incident, name))) for name in _SETS}
    return row | keys | {"labels": json.dumps(dict(incident.labels))}


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of *row*; a value that was damaged is replaced."""
    values = dict(row._mapping)
    try:  # a row that was damaged must not hide the incident, nor any other
        labels = dict(json.loads(values["labels"]))
    except (ValueError, TypeError):
        labels = {}
    values["labels"] = {name: value for name, value in labels.items() if isinstance(value, str)}
    states = set(IncidentState)
    values["state"] = IncidentState(values["state"]) if values["state"] in states else IncidentState.OPEN
    if values["began_at"] is not None and not is_known(values["began_at"]):
        values["began_at"] = None
    values |= {name: frozenset(values[name].split()) for name in _SETS}
    return Incident(**values)
