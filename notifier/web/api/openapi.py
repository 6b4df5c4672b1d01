"""The description of all paths, as OpenAPI 3.1: ``GET /api/v1/openapi.json``.

The operations of the API are described by their models. The other paths (webhook, probes, calendars, callbacks) do not
use JSON models, and are described here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from notifier import __version__
from notifier.web.api.models import Error
from notifier.web.api.operations import Operation

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/"
_GUARDED: list[Json] = [{"bearer": []}, {"basic": []}, {}]
_ERRORS = {
    400: "the request cannot be understood",
    401: "no or wrong credentials",
    403: "the caller lacks the permission, or a page of another site asks",
    404: "not found",
    409: "not possible in the present state",
    413: "the body is too large",
    503: "the store is unavailable",
}
_NAME: Json = {"type": "string", "pattern": r"^[^\x00]*$", "minLength": 1}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE + model.__name__}


def _parameter(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _NAME, "description": description}


def _answer(description: str, schema: Json, kind: str = "application/json") -> Json:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _text(description: str) -> Json:
    return _answer(description, {"type": "string"}, "text/plain; charset=utf-8")


def _errors(statuses: Iterable[int]) -> Json:
    return {str(status): _answer(_ERRORS[status], _reference(Error)) for status in statuses}


# -- the API ------------------------------------------------------------------------------------------------


def _of_operation(operation: Operation) -> Json:
    takes, returns = operation.models
    parameters = [_parameter("id", "Its id; for an incident also its number.")] * ("{id}" in operation.path)
    described: Json = {
        "summary": operation.summary,
        "security": _GUARDED,
        "responses": {
            "200": _answer("as asked", _reference(returns)),
            **_errors((*operation.errors, 401, 503)),
        },
    }
    if operation.method == "GET":
        schema = takes.model_json_schema(ref_template=_REFERENCE + "{model}")
        for name, value in schema.get("properties", {}).items():
            if value.get("default", 0) is None:
                value.pop("default")
            parameters.append({"name": name, "in": "query", "schema": _without_null(value)})
    else:
        is_required = any(field.is_required() for field in takes.model_fields.values())
        described["requestBody"] = {
            "required": is_required,
            "content": {"application/json": {"schema": _reference(takes)}},
        }
    return {**described, "parameters": parameters}


def _without_null(schema: Json) -> Json:
    """Return *schema* without null: a parameter of a query is left out instead."""
    given = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **given[0]} if len(given) == 1 else schema


def _schemas(operations: Sequence[Operation]) -> Json:
    """Return the JSON schemas of the models of *operations*, by name."""
    modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [(Error, "serialization")]
    for operation in operations:
        takes, returns = operation.models
        modes.append((returns, "serialization"))
        if operation.method == "POST":
            modes.append((takes, "validation"))
    _, defined = models_json_schema(modes, ref_template=_REFERENCE + "{model}")
    schemas: Json = defined["$defs"]
    return schemas


# -- beside the API -----------------------------------------------------------------------------------------

_LABELS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
_STATUS: Json = {"enum": ["firing", "resolved"]}
_WEBHOOK: Json = {
    "type": "object",
    "description": "Alertmanager's webhook, version 4. Other keys are accepted.",
    "required": ["receiver", "status", "alerts"],
    "properties": {
        "receiver": {"type": "string"},
        "status": _STATUS,
        "groupKey": {"type": "string"},
        "alerts": {
            "minItems": 1,
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status", "labels", "startsAt"],
                "properties": {
                    "status": _STATUS,
                    "labels": _LABELS,
                    "startsAt": {"type": "string", "format": "date-time"},
                    "fingerprint": {"type": "string"},
                },
            },
        },
    },
}


def _webhook(summary: str, *, to_receiver: bool = False) -> Json:
    return {
        "post": {
            "summary": summary,
            "security": _GUARDED,
            "parameters": [_parameter("receiver", "The name of the receiver.")] * to_receiver,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": _REFERENCE + "Webhook"}}},
            },
            "responses": {
                "200": {"description": "stored, or stored moments ago"},
                "400": _text("not a webhook; the text says why"),
                "401": _text("no or wrong credentials"),
                "403": _text("the caller lacks the permission, or a page of another site posts"),
                **({"404": _text("there is no such receiver")} if to_receiver else {}),
                "413": _text("larger than web.max_body"),
                "503": _text("not stored: the text says what fails; post it again"),
            },
        }
    }


def _get(summary: str, answers: Json, *parameters: Json, is_guarded: bool = False) -> Json:
    security: Json = {"security": _GUARDED} if is_guarded else {}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": answers, **security}}


_CALENDAR = _answer("an iCalendar", {"type": "string"}, "text/calendar; charset=utf-8")
_SECRET = _parameter("secret", "The secret of the configuration.")
_CALENDAR_NAME = _parameter("name", "The name of the schedule or contact.")
_CALLBACK: Json = {"200": _text("received"), "404": _text("the secret is wrong")}
_RELOAD: Json = {
    "summary": "Reload the configuration",
    "security": _GUARDED,
    "responses": {
        "200": _text("the new configuration is in use"),
        "401": _text("no or wrong credentials"),
        "403": _text("the caller lacks the permission, or a page of another site asks"),
        "500": _text("refused: the text lists the errors; the old configuration stays in use"),
    },
}
_BESIDE: Json = {
    "/alert": _webhook("Receive Alertmanager's webhook"),
    "/alert/{receiver}": _webhook("Receive Alertmanager's webhook for one receiver", to_receiver=True),
    "/api/v1/openapi.json": _get("Return this document", {"200": _answer("OpenAPI 3.1", {"type": "object"})}),
    "/oncall/feeds/{secret}/{name}.ics": _get(
        "Return a calendar by web.feed_secret, for phones",
        {"200": _CALENDAR, **_errors([404])},
        _SECRET,
        _CALENDAR_NAME,
    ),
    "/oncall/{name}.ics": _get(
        "Return the calendar of a schedule, or of a contact",
        {"200": _CALENDAR, **_errors([400, 401, 404, 503])},
        _CALENDAR_NAME,
        is_guarded=True,
    ),
    "/ovh/receipt/{secret}": _get("Receive OVHcloud's hint of a delivery receipt", _CALLBACK, _SECRET),
    "/ovh/reply/{secret}": _get("Receive OVHcloud's hint of a reply", _CALLBACK, _SECRET),
    "/metrics": _get("Return the metrics", {"200": _text("in Prometheus' text format")}),
    "/-/healthy": _get("Return whether the process runs", {"200": _text("it runs")}),
    "/-/ready": _get(
        "Return whether webhooks can be stored",
        {"200": _text("ready; warnings follow"), "503": _text("not ready; the text says why")},
    ),
    "/-/reload": {"post": _RELOAD, "put": _RELOAD},
}


@functools.cache
def document(operations: tuple[Operation, ...]) -> Json:
    """Return the description of *operations*, and of the other paths; it is made at the first call."""
    paths: Json = {**_BESIDE}
    for operation in operations:
        paths[operation.path] = {operation.method.lower(): _of_operation(operation)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Notifier",
            "version": __version__,
            "description": "An on-call pager for Alertmanager that sends SMS through OVHcloud.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_schemas(operations), "Webhook": _WEBHOOK},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }
