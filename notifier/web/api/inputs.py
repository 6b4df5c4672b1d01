"""The input of the API, in the query or in the body; the OpenAPI document is generated from these models.

The first error that pydantic reports becomes a sentence for the author of the request.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from starlette.datastructures import QueryParams

from notifier.config.types import LONGEST_NAME
from notifier.delivery.message import MessageState
from notifier.incidents.lifecycle import ShownState

MOST = 500
"""The maximum number of items in a list."""
_LONGEST_TEXT = 1000

Model = TypeVar("Model", bound=BaseModel)


class InputError(Exception):
    """A query or a body that cannot be understood; the text gives the reason."""


def _decimal(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("is not a number")
    return value


_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
_Moment = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
            r"T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?(Z|[+-]\d\d:\d\d)?$",
        }
    ),
]


class NoInput(BaseModel):
    """No parameters."""


class ListQuery(BaseModel):
    """Which items of a list to return."""

    limit: Annotated[int, BeforeValidator(_decimal)] = Field(
        100, ge=1, le=MOST, description="The maximum number of items."
    )
    cursor: _Text | None = Field(None, description='The "next" of the previous answer.')


class ListedState(StrEnum):
    """A state of incidents, or all of them."""

    OPEN = "open"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    ALL = "all"


class IncidentQuery(ListQuery):
    """Which incidents to list."""

    state: list[ListedState] = Field(
        [], description="Only those in this state; may be repeated. Without it, all are listed."
    )

    @property
    def states(self) -> list[ShownState] | None:
        """The states to list; None for all."""
        is_all = ListedState.ALL in self.state or not self.state
        return None if is_all else [ShownState(one.value) for one in self.state]


class MessageQuery(ListQuery):
    """Which messages to list."""

    state: list[MessageState] = Field([], description="Only those in this state; may be repeated.")
    receiver: _Text | None = Field(None, description="Only those of this receiver.")


class OnCallQuery(BaseModel):
    """Which shifts to list."""

    schedule: _Text | None = Field(None, description="Only this schedule.")
    at: _Moment | None = Field(
        None, description="RFC 3339, or a local time in the schedule's zone; now if left out."
    )
    until: _Moment | None = Field(
        None, description="Every shift from at to then, at most 400 days; one shift if left out."
    )


def _one_line(text: str) -> str:
    if "\0" in text or not (line := " ".join(text.split())):
        raise ValueError("is empty or contains NUL")
    return line


_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S"), AfterValidator(_one_line)]


def _given(value: object) -> object:
    if value is None:
        raise ValueError("is null")
    return value


_OptionalName = Annotated[
    _Name | None,
    BeforeValidator(_given),
    WithJsonSchema(TypeAdapter(_Name).json_schema()),
]


class CloseInput(BaseModel):
    """Who closes an incident."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": {"by": "alice"}})

    by: _OptionalName = Field(
        default_factory=lambda: None, description="A contact; the authenticated user if left out."
    )


class AcknowledgeInput(CloseInput):
    """Who acknowledges an incident."""

    take: bool = Field(default=False, description="Take it over from whoever has it.")


class SendInput(BaseModel):
    """A text to somebody."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"to": "alice", "text": "hello"}}
    )

    to: _Name = Field(description="A contact, a schedule, or a mobile number.")
    text: Annotated[
        str, Field(min_length=1, max_length=_LONGEST_TEXT, pattern=r"\S"), AfterValidator(_one_line)
    ] = Field(description="Sent in letters of the GSM alphabet; line breaks become spaces.")


# -- reading them -------------------------------------------------------------------------------------------


def parse_query(model: type[Model], query: QueryParams) -> Model:
    """Return *query* as a *model*; fields that the model does not name are left out.

    Raises:
        InputError: a parameter has a wrong value.
    """
    given: dict[str, Any] = {
        name: query.getlist(name) if get_origin(field.annotation) is list else query[name]
        for name, field in model.model_fields.items()
        if name in query
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InputError(_explained(model, error)) from None


def parse_body(model: type[Model], body: bytes) -> Model:
    """Return *body*, a JSON object, as a *model*; an empty body is an empty object.

    Raises:
        InputError: it is no JSON object, a key is missing or not known, or a value is wrong.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise InputError(_explained(model, error)) from None


def _explained(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    key = str(first["loc"][0]) if first["loc"] else ""
    known = ", ".join(model.model_fields)
    match kind:
        case "json_invalid":
            return f"the body cannot be read as JSON: {context['error']}"
        case "model_type":
            return f"the body must be an object with {known}"
        case "extra_forbidden":
            return f'"{_shown(key)}" is not known; known are {known}'
        case "missing":
            return f'the body lacks "{key}"; write {_example(model)}'
        case "enum":
            choices = ", ".join(get_args(model.model_fields[key].annotation)[0])
            return f'"{_shown(str(first["input"]))}" is not a {key}; known are {choices}'
        case "bool_type":
            return f"{key} must be true or false"
    if key == "limit":
        return f"limit must be a number from 1 to {MOST}"
    longest = _LONGEST_TEXT if key == "text" else LONGEST_NAME
    return f"{key} must be a text of 1 to {longest} characters, without NUL"


def _example(model: type[BaseModel]) -> str:
    extra = model.model_config.get("json_schema_extra")
    return json.dumps(extra["example"]) if isinstance(extra, dict) else "a JSON object"


def _shown(text: str) -> str:
    """Return the beginning of *text* without what cannot be written in an answer."""
    return text[:40].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
