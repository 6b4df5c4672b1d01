"""Loading ``notifier.yml``: every error is reported at once, with file, line and column."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from notifier.config.checks import check_references, check_sections
from notifier.config.files import find_calendars, find_certificates, read_secret_files, template_files
from notifier.config.invalid import report_invalid
from notifier.config.model import Configuration
from notifier.config.ovh import Ovh, as_list
from notifier.config.raw import RawFile
from notifier.config.secrets import hide_secrets
from notifier.config.source import Path_, Position, Problem, read_source
from notifier.config.unknown_keys import refuse_unknown_keys


class ConfigurationError(Exception):
    """A file cannot be used. *problems* are all that is wrong with it; the text is one a line."""

    def __init__(self, file: Path, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(problem.render(str(file)) for problem in problems))


@dataclass(slots=True)
class Loading:
    """A configuration file that was read. *configuration* is None if a problem is more than a warning."""

    file: Path
    configuration: Configuration | None = None
    problems: list[Problem] = field(default_factory=list)
    template_files: dict[str, Path] = field(default_factory=dict)
    """The files that ``templates`` names, by their names (``page.fr.j2``)."""
    written: dict[str, Any] = field(default_factory=dict)
    """The file as plain values, its secrets hidden."""
    position: Callable[[Path_], Position] = lambda path: Position(1, 1)
    """Where the value at a path of the file is written."""

    @property
    def errors(self) -> list[Problem]:
        """The problems that are more than warnings."""
        return [problem for problem in self.problems if not problem.is_warning]


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Loading:
    """Read *file* with the variables of *environment*; everything wrong with it is in the result.

    Secrets given as ``x_file`` are read too, from paths relative to the file's directory.
    """
    source = read_source(file, environment)
    loading = Loading(file, problems=source.problems, position=source.position)
    if not isinstance(source.value, dict):
        return loading
    raw = RawFile(source, file.parent, source.value)
    refuse_unknown_keys(raw, source.value, Configuration, ())
    read_secret_files(raw)
    loading.written = hide_secrets(raw)
    find_certificates(raw)
    find_calendars(raw)
    loading.template_files = template_files(raw)
    try:
        configuration = Configuration.model_validate(source.value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            report_invalid(raw, detail)
        configuration = None
    check_references(raw, loading.template_files)
    check_sections(raw)
    source.problems.sort(key=lambda problem: problem.position)
    if not loading.errors:
        loading.configuration = configuration
    return loading


def ovh_for_login(
    file: Path, name: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[Ovh, Path | None]:
    """Return the settings of an account in *file* without a consumer key, and the file for that key.

    It is the account whose service name is *name*; or the first one without a name.

    Raises:
        ConfigurationError: there is no such account, or the application's key or secret is missing, or
            cannot be read.
    """
    source = read_source(file, environment)
    if not isinstance(source.value, dict):
        raise ConfigurationError(file, source.problems)
    sections = as_list(source.value.get("ovh"))
    sections = [one for one in sections if isinstance(one, dict)] if isinstance(sections, list) else []
    if name is not None:
        known = ", ".join(str(one.get("service_name")) for one in sections)
        sections = [one for one in sections if one.get("service_name") == name]
        if not sections:
            message = f'there is no account "{name}"; known are {known or "none"}'
            raise ConfigurationError(file, [Problem(source.position(("ovh",)), ("ovh",), message)])
    section = dict(sections[0]) if sections else {}
    key_file = section.pop("consumer_key_file", None)
    section.pop("consumer_key", None)
    source.value["ovh"] = section
    raw = RawFile(source, file.parent, source.value)
    read_secret_files(raw)
    for key in ("application_key", "application_secret"):
        if not section.get(key) and not section.get("client_id"):
            message = f'the key "{key}" is missing; make an application at https://eu.api.ovh.com/createApp/'
            source.problems.append(Problem(source.position(("ovh",)), ("ovh",), message))
    try:
        settings = Ovh.model_validate(section)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            report_invalid(raw, {**detail, "loc": ("ovh", 0, *detail["loc"])})
    errors = [
        problem
        for problem in source.problems
        if not problem.is_warning
        and problem.path[:1] == ("ovh",)
        and problem.path[1:] not in (("consumer_key",), ("consumer_key_file",))  # which login obtains
    ]
    if errors:
        raise ConfigurationError(file, errors)
    return settings, file.parent / key_file if isinstance(key_file, str) else None
