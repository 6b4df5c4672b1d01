"""The keys of the configuration's models, and where each belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from notifier.config.source import Path_


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of *model* by their keys in the file."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, type | None]:
    """Return the section that an annotation holds, if any, and in what: None, a tuple or a dict by names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    origin = getattr(annotation, "__origin__", None)
    for argument in getattr(annotation, "__args__", ()):
        section, holder = section_of(argument)
        if section is not None:
            return section, origin if origin in (tuple, dict) else holder
    return None, None


def sections_of(
    model: type[BaseModel], path: Path_ = (), place: str = ""
) -> Iterator[tuple[Path_, str, type[BaseModel]]]:
    """Yield every section below *model*, outer ones first: its path without the numbers of lists, and its model.

    Between them its place, as people write it: ``web.tokens[]``, ``web.users.NAME``.
    """
    yield path, place, model
    for key, annotation in fields_of(model).items():
        section, holder = section_of(annotation)
        if section is not None and section is not model:
            mark = "[]" if holder is tuple else ".NAME" if holder is dict else ""
            mark = "" if key == "ovh" else mark  # one account is written without a list
            yield from sections_of(section, (*path, key), f"{place}.{key}".lstrip(".") + mark)
