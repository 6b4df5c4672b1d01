"""The files that the configuration names: secrets, templates, calendars, certificates."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from notifier.config.raw import RawFile
from notifier.config.secrets import secret_keys
from notifier.config.source import Path_, kind_of

TEMPLATE_FILE = re.compile(r"(?P<name>.+?)(?:\.(?P<language>[a-z]{2}))?\.j2")
"""The names of template files, with their parts `name` and `language`."""


def read_secret_files(raw: RawFile) -> None:
    """Put the secrets in place of the keys ``x_file`` that name their files."""
    for place, secrets in secret_keys().items():
        for path, section in raw.sections(place):
            for secret in secrets:
                if f"{secret}_file" in section:
                    here = (*path, f"{secret}_file")
                    text = _secret(raw, here, section.pop(f"{secret}_file"))
                    if secret in section:
                        raw.refuse_key(here, f"give {secret} or {secret}_file, not both")
                    section[secret] = text
                    if not text:
                        raw.unread.add((*path, secret))


def _secret(raw: RawFile, path: Path_, file: Any) -> str:
    if not isinstance(file, str):
        raw.problem(path, f"must be the path of a file, is {kind_of(file)}")
        return ""
    full = raw.directory / file
    try:
        mode = full.stat().st_mode
        text = full.read_text(encoding="utf-8").strip()
    except OSError as error:
        is_to_come = path[-1] == "consumer_key_file" and isinstance(error, FileNotFoundError)
        hint = "; notifier ovh login writes it" if is_to_come else ""
        raw.problem(path, f"{full} cannot be read: {error.strerror}{hint}")
        return ""
    except UnicodeDecodeError:
        raw.problem(path, f"{full} is not a text")
        return ""
    if not text:
        raw.problem(path, f"{full} is empty")
    if mode & stat.S_IROTH:
        message = f"{full} can be read by everyone on this machine; run: chmod 600 {full}"
        raw.problem(path, message, is_warning=True)
    return text


def template_files(raw: RawFile) -> dict[str, Path]:
    """Return the files that ``templates`` names, by their names."""
    patterns = raw.value.get("templates")
    files: dict[str, Path] = {}
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else []):
        if not isinstance(pattern, str):
            continue
        path: Path_ = ("templates", number)
        base, relative = (Path("/"), pattern.lstrip("/")) if pattern[:1] == "/" else (raw.directory, pattern)
        try:
            found = sorted(file for file in base.glob(relative) if file.is_file())
        except (ValueError, OSError, NotImplementedError) as error:
            raw.problem(path, f"{pattern!r} is no pattern of files: {error}")
            continue
        if not found:
            raw.problem(path, f"{base / relative} matches no file")
        for file in found:
            if not TEMPLATE_FILE.fullmatch(file.name):
                raw.problem(path, f"{file} must be named like page.j2 or page.fr.j2")
            files[file.name] = file
    return files


def find_calendars(raw: RawFile) -> None:
    """Make the paths of calendars absolute."""
    for path, schedule in raw.items("schedules"):
        source = schedule.get("ics")
        if not isinstance(source, str) or not source:
            continue
        if "://" not in source:
            schedule["ics"] = str(raw.directory / source)
            if not os.access(schedule["ics"], os.R_OK):
                raw.problem((*path, "ics"), f"{schedule['ics']} cannot be read")
        elif not re.match(r"https?://[^/\s]+", source):
            message = f'"{source}" is no calendar; write the path of a file, or an http or https URL'
            raw.problem((*path, "ics"), message)


_TLS: dict[Path_, int] = {
    ("web", "tls_server_config"): ssl.PROTOCOL_TLS_SERVER,
    ("alertmanager", "http_config", "tls_config"): ssl.PROTOCOL_TLS_CLIENT,
}
"""The sections that name certificates, and the side of the connection that they are for."""


def find_certificates(raw: RawFile) -> None:
    """Make the paths of certificates and keys absolute, and try to load them."""
    for place, protocol in _TLS.items():
        for path, section in raw.sections(place):
            files: dict[str, str] = {}
            for key in ("cert_file", "key_file", "client_ca_file", "ca_file"):
                if not isinstance(file := section.get(key), str):
                    continue
                full = raw.directory / file
                section[key] = str(full)
                if full.is_file() and os.access(full, os.R_OK):
                    files[key] = str(full)
                else:
                    raw.problem((*path, key), f"{full} cannot be read")
            _load_certificates(raw, path, files, ssl.SSLContext(protocol))


def _load_certificates(raw: RawFile, path: Path_, files: dict[str, str], context: ssl.SSLContext) -> None:
    steps: list[tuple[str, Callable[[], object]]] = []
    if "cert_file" in files and "key_file" in files:
        steps.append(("cert_file", partial(context.load_cert_chain, files["cert_file"], files["key_file"])))
    authorities = [name for name in ("client_ca_file", "ca_file") if name in files]
    steps += [(name, partial(context.load_verify_locations, files[name])) for name in authorities]
    for name, load_ in steps:
        try:
            load_()
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raw.problem((*path, name), f"{files[name]} cannot be used: {reason}")
