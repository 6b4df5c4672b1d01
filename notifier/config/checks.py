"""Checks of relations between values, made where the positions of the values are known."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from notifier.alertmanager.durations import format_duration, parse_duration
from notifier.assets import TEMPLATES
from notifier.config.files import TEMPLATE_FILE
from notifier.config.model import Global, OverrideConfig
from notifier.config.raw import RawFile, names_of, nearest
from notifier.config.secrets import secret_keys
from notifier.config.source import Path_
from notifier.config.types import mask_password
from notifier.sms.phones import looks_like_number, parse_mobile

_NUMBER = re.compile(r"(\+|00)\d{6,15}")


def check_references(raw: RawFile, template_files: Mapping[str, Path]) -> None:
    """Report names that do not exist, and values that contradict each other."""
    contacts, receivers = names_of(raw.value.get("contacts")), names_of(raw.value.get("receivers"))
    schedules = names_of(raw.value.get("schedules"))
    _unique(raw, "contacts", "schedules")
    _unique(raw, "receivers")
    for path, schedule in raw.items("schedules"):
        _schedule(raw, path, schedule, contacts)
    region = raw.section("global").get("default_region")
    region = region if isinstance(region, str) and re.fullmatch("[A-Z]{2}", region) else None
    for path, contact in raw.items("contacts"):
        if isinstance(contact.get("phone"), str):
            _try(raw, (*path, "phone"), partial(parse_mobile, contact["phone"], region))
    names = {m["name"] for f in (*template_files, *TEMPLATES) if (m := TEMPLATE_FILE.fullmatch(f))}
    for path, receiver in raw.items("receivers"):
        steps = receiver.get("escalate")
        if receiver.get("repeat") and not steps:
            message = "repeats the steps of escalate, of which there are none; add some"
            raw.problem((*path, "repeat"), message)
        for here, item in _notified(receiver, path):
            if isinstance(item, str) and item not in contacts and item not in schedules:
                _recipient(raw, here, item, contacts + schedules, region)
        template = receiver.get("template")
        if isinstance(template, str) and template not in names:
            known = f"known are {', '.join(sorted(names))}"
            near = nearest(template, sorted(names)) or f"; {known}"
            raw.problem((*path, "template"), f'there is no template "{template}"{near}')
    _calls(raw)
    _heartbeats(raw, receivers)
    if raw.value.get("links") is True:
        _links(raw)
    _unique(raw, "time_intervals")
    _route(raw, raw.value.get("route"), ("route",), receivers)
    for path, account in raw.sections(("ovh",)):
        virtual_number = account.get("virtual_number")
        if isinstance(virtual_number, str) and not _NUMBER.fullmatch(re.sub(r"[ .()-]", "", virtual_number)):
            message = f'"{virtual_number}" is not a number; write +33 and the rest'
            raw.problem((*path, "virtual_number"), message)


def _unique(raw: RawFile, *names: str, key: str = "name", remedy: str = "rename one") -> None:
    """Report sections of the lists *names* that have the same *key* as one before."""
    seen: dict[str, int] = {}
    for path, item in [pair for name in names for pair in raw.items(name)]:
        own, here = item.get(key), (*path, key)
        if isinstance(own, str):
            if own in seen:
                raw.problem(here, f'"{own}" is already named in line {seen[own]}; {remedy}')
            seen.setdefault(own, raw.source.position(here).line)


def _links(raw: RawFile) -> None:
    """Report an address of the pages that no link can be made of."""
    url = raw.section("global").get("external_url")
    if not url:
        message = "needs the address of the pages: write external_url: https://pager.example.net under global"
        raw.problem(("links",), message)
    elif isinstance(url, str) and not re.fullmatch(r"(?i:https?)://[\w.-]+(:\d+)?/?", url, re.ASCII):
        message = (
            f'"{mask_password(url)}" cannot be in a link: write the host alone, as https://pager.example.net'
        )
        raw.problem(("global", "external_url"), message)


def _calls(raw: RawFile) -> None:
    """Report steps that are to call people without a line to call them by."""
    lines = [path for path, account in raw.sections(("ovh",)) if account.get("telephony")]
    for path in lines[1:]:
        raw.problem((*path, "telephony"), "another account has a line already; keep one")
    if lines:
        return
    for path, receiver in raw.items("receivers"):
        steps = receiver.get("escalate")
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, dict) and step.get("call") is True:
                message = (
                    "needs a line that calls: write telephony: {billing_account: ..., line: ...} under ovh"
                )
                raw.problem((*path, "escalate", number, "call"), message)


def _heartbeats(raw: RawFile, receivers: list[str]) -> None:
    _unique(raw, "heartbeats")
    window = Global.model_fields["dedupe_window"].default
    with contextlib.suppress(ValidationError):
        window = Global.model_validate(
            {"dedupe_window": raw.section("global").get("dedupe_window", window)}
        ).dedupe_window
    for path, heartbeat in raw.items("heartbeats"):
        timeout = heartbeat.get("timeout")
        _named(raw, (*path, "receiver"), heartbeat.get("receiver"), "receiver", receivers)
        with contextlib.suppress(ValueError):
            if isinstance(timeout, str) and timedelta() < parse_duration(timeout) <= window:
                message = (
                    f"is not longer than global.dedupe_window ({format_duration(window)}): "
                    "repetitions within that window are ignored; write a longer timeout"
                )
                raw.problem((*path, "timeout"), message)


def _schedule(raw: RawFile, path: Path_, schedule: dict[str, Any], contacts: list[str]) -> None:
    rotations = schedule.get("rotations")
    if schedule.get("ics") and rotations:
        raw.problem((*path, "ics"), "ics stands in place of rotations; keep one")
    elif not schedule.get("ics") and not rotations:
        message = "has neither rotations nor ics; write rotations: [{start: 2026-01-05T09:00, every: 1w, "
        raw.problem(path, f"{message}contacts: [alice, bob]}}]")
    for number, rotation in enumerate(rotations if isinstance(rotations, list) else []):
        named = rotation.get("contacts") if isinstance(rotation, dict) else None
        for place, name in enumerate(named if isinstance(named, list) else []):
            _named(raw, (*path, "rotations", number, "contacts", place), name, "contact", contacts)
    overrides = schedule.get("overrides")
    for number, override in enumerate(overrides if isinstance(overrides, list) else []):
        if isinstance(override, dict):
            here = (*path, "overrides", number)
            _named(raw, (*here, "contact"), override.get("contact"), "contact", contacts)
            _order(raw, here, override)


def _named(raw: RawFile, path: Path_, name: Any, kind: str, known: list[str]) -> None:
    """Report a *name* at *path* that is not among the *known* ones of its *kind*."""
    if isinstance(name, str) and name not in known:
        near = nearest(name, known) or f"; add it under {kind.replace(' ', '_')}s"
        raw.problem(path, f'there is no {kind} "{name}"{near}')


def _order(raw: RawFile, path: Path_, override: dict[str, Any]) -> None:
    try:
        written = OverrideConfig.model_validate({**override, "contact": None})
    except ValidationError:
        return  # reported already
    zone = ZoneInfo("UTC")
    if written.end.instant(zone) <= written.start.instant(zone):
        raw.problem((*path, "end"), "is not after start; an override ends later than it begins")


def _try(raw: RawFile, path: Path_, check: Callable[[], object]) -> None:
    try:
        check()
    except ValueError as error:
        raw.problem(path, str(error))


def _recipient(raw: RawFile, path: Path_, item: str, names: list[str], region: str | None) -> None:
    if looks_like_number(item):
        _try(raw, path, lambda: parse_mobile(item, region))
    else:
        near = nearest(item, names) or "; add it under contacts"
        raw.problem(path, f'"{item}" is no schedule, contact or number{near}')


def _route(raw: RawFile, route: Any, path: Path_, receivers: list[str]) -> None:
    if not isinstance(route, dict):
        return
    if len(path) == 1:
        if "receiver" not in route:
            raw.problem(path, 'the key "receiver" is missing; the top of the tree needs one')
        for key in ("matchers", "continue", "mute_time_intervals", "active_time_intervals"):
            if route.get(key):
                message = f"the top of the tree takes every alert; move {key} to one of its routes"
                raw.problem((*path, key), message)
    known = names_of(raw.value.get("time_intervals"))
    for key in ("mute_time_intervals", "active_time_intervals"):
        named = route.get(key)
        for number, name in enumerate(named if isinstance(named, list) else []):
            _named(raw, (*path, key, number), name, "time interval", known)
    _named(raw, (*path, "receiver"), route.get("receiver"), "receiver", receivers)
    children = route.get("routes")
    for number, child in enumerate(children if isinstance(children, list) else []):
        _route(raw, child, (*path, "routes", number), receivers)


def check_sections(raw: RawFile) -> None:
    """Report keys that sections lack, and keys that exclude each other."""
    _check_secrets(raw)
    accounts = list(raw.sections(("ovh",)))
    for path, account in accounts:
        _check_sender(raw, path, account)
        _check_credentials(raw, path, account)
        if len(accounts) > 1 and account.get("service_name") is None:  # they are distinguished by it
            message = 'the key "service_name" is missing; one of several accounts is named by it'
            raw.problem(path, message)
    _unique(raw, "ovh", key="service_name", remedy="remove one")
    for path, section in raw.sections(("alertmanager",)):
        _check_alertmanager(raw, path, section)
    web = raw.section("web")
    address = web.get("listen_address", "127.0.0.1:9876")
    _check_users(raw, web)
    _check_proxy(raw, web, raw.section("global"))
    if isinstance(address, str) and not _is_loopback(address.rpartition(":")[0].strip("[]")):
        _check_guarded(raw, web)


def _check_sender(raw: RawFile, path: Path_, section: dict[str, Any]) -> None:
    ways = [key for key in ("sender", "sender_for_response", "virtual_number") if section.get(key)]
    if not ways:
        raw.problem(path, "name a sender, or set sender_for_response: true or a virtual_number")
    for key in ways[1:]:
        raw.problem((*path, key), f"{ways[0]} and {key} exclude each other; keep one")


def _check_credentials(raw: RawFile, path: Path_, section: dict[str, Any]) -> None:
    keys = ("application_key", "application_secret", "consumer_key")
    oauth = ("client_id", "client_secret")
    has_keys, has_oauth = [k for k in keys if k in section], [k for k in oauth if k in section]
    if has_keys and has_oauth:
        raw.problem((*path, has_oauth[0]), f"{has_oauth[0]} and {has_keys[0]} exclude each other")
    elif not has_keys and not has_oauth:
        message = f"credentials are missing; give {', '.join(keys)} (see: notifier ovh login)"
        raw.problem(path, message)
    else:
        for key in oauth if has_oauth else keys:
            if key not in section:
                hint = "; obtain one with: notifier ovh login" if key == "consumer_key" else ""
                raw.problem(path, f'the key "{key}" is missing{hint}')


def _check_alertmanager(raw: RawFile, path: Path_, section: dict[str, Any]) -> None:
    if not section.get("url") and not section.get("urls"):
        raw.problem(path, 'the key "url" is missing; give url, or the urls of the members of a cluster')
    elif "url" in section and "urls" in section:
        raw.problem((*path, "urls"), "url and urls exclude each other; keep one")
    config = section.get("http_config")
    config = config if isinstance(config, dict) else {}
    ways = [
        (*path, *key)
        for key, given in (
            (("bearer_token",), section),
            (("http_config", "authorization"), config),
            (("http_config", "basic_auth"), config),
        )
        if given.get(key[-1]) is not None
    ]
    for other in ways[1:]:
        raw.problem(other, f"{ways[0][-1]} and {other[-1]} exclude each other; keep one")
    tls = config.get("tls_config")
    if isinstance(tls, dict) and ("cert_file" in tls) != ("key_file" in tls):
        raw.problem((*path, "http_config", "tls_config"), "cert_file and key_file belong together; give both")


def _check_secrets(raw: RawFile) -> None:
    for place, secrets in secret_keys().items():
        for path, section in raw.sections(place):
            for secret in secrets:
                value = section.get(secret)
                is_blank = isinstance(value, str) and not value.strip()
                if is_blank and (*path, secret) not in raw.unread:
                    raw.problem((*path, secret), f"{secret} is empty; give it, or leave the key out")


def _check_users(raw: RawFile, web: dict[str, Any]) -> None:
    users, others = web.get("users"), web.get("basic_auth_users")
    if isinstance(users, dict) and isinstance(others, dict):
        for name in users.keys() & others.keys():
            raw.refuse_key(("web", "users", name), f'"{name}" is in basic_auth_users, too; leave it in one')


def _check_proxy(raw: RawFile, web: dict[str, Any], general: dict[str, Any]) -> None:
    if web.get("proxy_auth") and not general.get("external_url"):
        text = "set global.external_url: the proxy is believed only under the name by which people reach Notifier"
        raw.problem(("web", "proxy_auth"), text)


def _check_guarded(raw: RawFile, web: dict[str, Any]) -> None:
    if not any(web.get(key) for key in ("bearer_token", "tokens", "basic_auth_users", "users", "proxy_auth")):
        raw.problem(
            ("web", "listen_address"),
            "anyone who reaches this address could page you; add under web: tokens: "
            "[{name: alertmanager, token_file: /etc/notifier/token, may: [webhook]}] "
            "(or bearer_token_file, which may do everything), and users for people",
        )


def _notified(receiver: dict[str, Any], path: Path_) -> Iterator[tuple[Path_, Any]]:
    """Yield the names and numbers that a receiver and its steps notify, with their paths."""
    steps = receiver.get("escalate")
    sections = [(path, receiver)]
    for number, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            sections.append(((*path, "escalate", number), step))
    for here, section in sections:
        notify = section.get("notify")
        for number, item in enumerate(notify if isinstance(notify, list) else []):
            yield (*here, "notify", number), item


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")
