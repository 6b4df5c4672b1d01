"""The description of everything that is answered over HTTP, as OpenAPI 3.1: ``GET /api/v1/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from notifier import __version__
from notifier.config.types import LONGEST_NAME
from notifier.delivery.message import MessageState
from notifier.incidents.lifecycle import IncidentState, Kind
from notifier.store.schema import JobState
from notifier.workers.actions import Via

MOST = 500
"""How many items a list holds at most."""
LONGEST_TEXT = 1000
"""How many characters a text to be sent has at most."""

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_ASKED: Json = {"type": "string", "pattern": r"^[^\x00]*$"}  # by which something is looked for
_NAME: Json = {**_ASKED, "minLength": 1}
_TIME: Json = {"type": "string", "format": "date-time", "description": "RFC 3339 in UTC."}
_COUNT: Json = {"type": "integer", "minimum": 0}
_NUMBER: Json = {
    "type": "integer",
    "minimum": 1,
    "maximum": 2**31 - 1,
    "description": "Goes round after 999, and higher while more are open.",
}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Json, **more: Any) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> Json:
    return _object({"items": {"type": "array", "items": _ref(name)}, "next": _or_null(_TEXT)})


_INCIDENT: Json = {
    "id": _TEXT,
    "number": _NUMBER,
    "receiver": _TEXT,
    "group_key": _TEXT,
    "state": {"enum": [state.value for state in IncidentState]},
    "title": _TEXT,
    "labels": {"type": "object", "additionalProperties": _TEXT, "description": "Those its alerts share."},
    "opened_at": _TIME,
    "began_at": _or_null(_TIME),
    "acknowledged_by": _or_null(_TEXT),
    "acknowledged_via": _or_null({"enum": [via.value for via in Via]}),
    "acknowledged_at": _or_null(_TIME),
    "next_step_at": _or_null(_TIME),
    "muted_by": _or_null({"type": "string", "description": "The time intervals that mute it."}),
    "muted_until": _or_null(
        {**_TIME, "description": "Null where it is not muted, or the end is more than 14 days away."}
    ),
    "resolved_at": _or_null(_TIME),
}
_MESSAGE: Json = {
    "id": _TEXT,
    "incident": _or_null(_TEXT),
    "receiver": _TEXT,
    "kind": {"enum": [kind.value for kind in Kind]},
    "to": _or_null(_TEXT),
    "phone": {"type": "string", "description": "Masked."},
    "text": _TEXT,
    "parts": _COUNT,
    "credits": _or_null(
        {"type": "number", "minimum": 0, "description": "What it has cost; null until OVHcloud has told."}
    ),
    "state": {"enum": [state.value for state in MessageState]},
    "error": _or_null(_TEXT),
    "attempts": _COUNT,
    "ovh_id": _or_null(_COUNT),
    "ptt": _or_null(_COUNT),
    "merged_into": _or_null(_TEXT),
    "author": _or_null(_TEXT),
    "created_at": _TIME,
    "sent_at": _or_null(_TIME),
    "accepted_at": _or_null(_TIME),
    "delivered_at": _or_null(_TIME),
}
_TRY: Json = {
    "tag": _TEXT,
    "at": _TIME,
    "answered_at": _or_null(_TIME),
    "state": {"enum": [state.value for state in JobState]},
    "text": _TEXT,
    "error": _or_null(_TEXT),
    "query_id": _or_null(_TEXT),
    "account": _or_null(_TEXT),
}
_EVENT: Json = {
    "at": _TIME,
    "kind": _TEXT,
    "by": _or_null(_TEXT),
    "via": _or_null(_TEXT),
    "detail": _or_null(_TEXT),
}
_LINE: Json = {"at": _TIME, "what": _TEXT, "detail": _TEXT}
_SHIFT: Json = {"schedule": _TEXT, "contact": _or_null(_TEXT), "start": _TEXT, "end": _TEXT}

_SCHEMAS: Json = {
    "Error": _object({"error": _TEXT}),
    "Incident": _object(_INCIDENT),
    "IncidentDetails": _object(
        {
            **_INCIDENT,
            "events": {"type": "array", "items": _object(_EVENT)},
            "messages": {"type": "array", "items": _ref("Message")},
        }
    ),
    "Message": _object(_MESSAGE),
    "MessageDetails": _object(
        {
            **_MESSAGE,
            "webhook": _or_null(_TEXT),
            "tries": {"type": "array", "items": _object(_TRY)},
            "merged": {"type": "array", "items": _ref("Message")},
            "timeline": {"type": "array", "items": _object(_LINE)},
        }
    ),
    "Shift": _object(_SHIFT, description="Who is on call from when until when; contact null is nobody."),
    "Webhook": {
        "type": "object",
        "description": "Alertmanager's webhook, version 4; what else it holds is let through.",
        "required": ["receiver", "status", "alerts"],
        "properties": {
            "receiver": _TEXT,
            "status": {"enum": ["firing", "resolved"]},
            "groupKey": _TEXT,
            "alerts": {
                "minItems": 1,
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["status", "labels", "startsAt"],
                    "properties": {
                        "status": {"enum": ["firing", "resolved"]},
                        "labels": {"type": "object", "additionalProperties": _TEXT},
                        "startsAt": {"type": "string", "format": "date-time"},
                        "fingerprint": _TEXT,
                    },
                },
            },
        },
    },
}


def _answer(description: str, schema: Json | None = None, kind: str = "application/json") -> Json:
    return {"description": description, **({"content": {kind: {"schema": schema}}} if schema else {})}


def _plain(description: str) -> Json:
    return _answer(description, _TEXT, "text/plain; charset=utf-8")


def _operation(summary: str, answers: Mapping[str, Json], **more: Any) -> Json:
    return {"summary": summary, "responses": dict(answers), **more}


def _api(summary: str, schema: Json, errors: Sequence[str] = (), **more: Any) -> Json:
    words = {
        "400": "what is asked cannot be understood",
        "403": "asked by a page of another site",
        "404": "there is none such",
        "409": "it cannot be done as things are",
        "413": "the body is too large",
    }
    answers = {"200": _answer("as asked", schema)}
    answers |= {code: _answer(words[code], _ref("Error")) for code in errors}
    answers["401"] = _answer("no or wrong credentials", _ref("Error"))
    answers["503"] = _answer("the store is unavailable", _ref("Error"))
    return _operation(summary, answers, security=_GUARDED, **more)


_GUARDED: list[Json] = [{"bearer": []}, {"basic": []}, {}]


def _parameter(name: str, schema: Json, description: str, *, place: str = "query") -> Json:
    return {
        "name": name,
        "in": place,
        "schema": schema,
        "description": description,
        **({"required": True} if place == "path" else {}),
    }


def _body(schema: Json, *, is_required: bool) -> Json:
    return {"required": is_required, "content": {"application/json": {"schema": schema}}}


def _states(values: Sequence[str]) -> Json:
    return _parameter(
        "state", {"type": "array", "items": {"enum": list(values)}}, "Only those; may be repeated."
    )


_PAGED = [
    _parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100}, "How many at most."
    ),
    _parameter("cursor", _ASKED, "The next of the page before."),
]
_ID = _parameter("id", _NAME, "The id, or for an incident its number.", place="path")
_STORED = {
    "200": _answer("stored, or stored moments ago"),
    "400": _plain("it is no webhook; the text says why"),
    "401": _plain("no or wrong credentials"),
    "403": _plain("posted by a page of another site"),
    "413": _plain("larger than web.max_body"),
    "503": _plain(
        "not taken: the database, the planner or the sender fails, the text says why; post it again"
    ),
}
_BY: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_NAME,
    "pattern": r"\S",
    "description": "A contact; the authenticated user if it is left out.",
}
_ACK: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "by": _BY,
        "take": {"type": "boolean", "description": "Take it over from whoever has it."},
    },
}
_CLOSE: Json = {"type": "object", "additionalProperties": False, "properties": {"by": _BY}}
_SEND: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["to", "text"],
    "properties": {
        "to": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_NAME,
            "pattern": r"\S",
            "description": "A contact, a schedule, or a mobile number.",
        },
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_TEXT,
            "pattern": r"\S",
            "description": "Sent in GSM letters; line breaks become spaces.",
        },
    },
}
_MOMENT = {
    "type": "string",
    "pattern": r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?(Z|[+-]\d\d:\d\d)?$",
    "description": "RFC 3339, or a local time in the schedule's zone.",
}

_RELOAD = _operation(
    "Read the configuration again",
    {
        "200": _plain("it is in force"),
        "401": _plain("no or wrong credentials"),
        "403": _plain("asked by a page of another site"),
        "500": _plain("what is wrong with it; the one before stays in force"),
    },
    security=_GUARDED,
)

_PATHS: Json = {
    "/alert": {
        "post": _operation(
            "Take Alertmanager's webhook",
            _STORED,
            requestBody=_body(_ref("Webhook"), is_required=True),
            security=_GUARDED,
        )
    },
    "/alert/{receiver}": {
        "post": _operation(
            "Take Alertmanager's webhook for a receiver, past the routing tree",
            {**_STORED, "404": _plain("there is no such receiver")},
            parameters=[_parameter("receiver", _NAME, "Its name.", place="path")],
            requestBody=_body(_ref("Webhook"), is_required=True),
            security=_GUARDED,
        )
    },
    "/api/v1/incidents": {
        "get": _api(
            "List incidents, newest first",
            _list_of("Incident"),
            ["400"],
            parameters=[_states([state.value for state in IncidentState]), *_PAGED],
        )
    },
    "/api/v1/incidents/{id}": {
        "get": _api(
            "Tell all of an incident",
            _ref("IncidentDetails"),
            ["400", "404"],
            parameters=[_ID],
        )
    },
    "/api/v1/incidents/{id}/ack": {
        "post": _api(
            "Acknowledge an incident",
            _ref("Incident"),
            ["400", "403", "404", "409", "413"],
            parameters=[_ID],
            requestBody=_body(_ACK, is_required=False),
        )
    },
    "/api/v1/incidents/{id}/close": {
        "post": _api(
            "Close an incident that Alertmanager does not resolve",
            _ref("Incident"),
            ["400", "403", "404", "409", "413"],
            parameters=[_ID],
            requestBody=_body(_CLOSE, is_required=False),
        )
    },
    "/api/v1/messages": {
        "get": _api(
            "List messages, newest first",
            _list_of("Message"),
            ["400"],
            parameters=[
                _states([state.value for state in MessageState]),
                _parameter("receiver", _ASKED, "Only of this receiver."),
                *_PAGED,
            ],
        )
    },
    "/api/v1/messages/{id}": {
        "get": _api(
            "Return a message with its timeline", _ref("MessageDetails"), ["400", "404"], parameters=[_ID]
        )
    },
    "/api/v1/oncall": {
        "get": _api(
            "Tell who is on call",
            _list_of("Shift"),
            ["400", "404"],
            parameters=[
                _parameter("schedule", _ASKED, "Only this one."),
                _parameter("at", _MOMENT, "When; now if left out."),
                _parameter("until", _MOMENT, "Every shift up to then."),
            ],
        )
    },
    "/api/v1/send": {
        "post": _api(
            "Send somebody a message; it is answered once that is stored",
            _ref("Message"),
            ["400", "403", "404", "409", "413"],
            requestBody=_body(_SEND, is_required=True),
        )
    },
    "/api/v1/openapi.json": {
        "get": _operation("Describe all this", {"200": _answer("this document", {"type": "object"})})
    },
    "/oncall/feeds/{secret}/{name}.ics": {
        "get": _operation(
            "Give the calendar of a schedule, or of a contact's shifts, to a phone",
            {
                "200": _answer("an iCalendar", _TEXT, "text/calendar; charset=utf-8"),
                "404": _answer("the secret is wrong, or there is no such schedule or contact", _ref("Error")),
            },
            parameters=[
                _parameter("secret", _TEXT, "web.feed_secret", place="path"),
                _parameter("name", _NAME, "Its name.", place="path"),
            ],
        )
    },
    "/oncall/{name}.ics": {
        "get": _operation(
            "Give the calendar of a schedule, or of a contact's shifts",
            {
                "200": _answer("an iCalendar", _TEXT, "text/calendar; charset=utf-8"),
                "401": _answer("no or wrong credentials", _ref("Error")),
                "400": _answer("the name cannot be one", _ref("Error")),
                "404": _answer("there is no such schedule or contact", _ref("Error")),
                "503": _answer("the store is unavailable", _ref("Error")),
            },
            parameters=[_parameter("name", _NAME, "Its name.", place="path")],
            security=_GUARDED,
        )
    },
    "/ovh/receipt/{secret}": {
        "get": _operation(
            "Hear from OVHcloud that something was delivered",
            {"200": _plain("heard"), "404": _plain("the secret is wrong")},
            parameters=[_parameter("secret", _TEXT, "ovh.callback_secret", place="path")],
        )
    },
    "/ovh/reply/{secret}": {
        "get": _operation(
            "Hear from OVHcloud that somebody replied",
            {"200": _plain("heard"), "404": _plain("the secret is wrong")},
            parameters=[_parameter("secret", _TEXT, "ovh.callback_secret", place="path")],
        )
    },
    "/metrics": {"get": _operation("Tell Prometheus", {"200": _answer("metrics in its text format")})},
    "/-/healthy": {"get": _operation("Tell that the process lives", {"200": _plain("it does")})},
    "/-/ready": {
        "get": _operation(
            "Tell whether webhooks can be stored",
            {"200": _plain("they can; warnings follow"), "503": _plain("they cannot")},
        )
    },
    "/-/reload": {"post": _RELOAD, "put": _RELOAD},
}


def document() -> Json:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Notifier",
            "version": __version__,
            "description": "An on-call pager for Alertmanager that sends SMS through OVHcloud.",
        },
        "paths": _PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }
