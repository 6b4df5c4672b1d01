"""Warnings about a configuration that is valid, and probably a mistake."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import phonenumbers
import yaml
from pydantic import SecretStr

from notifier.alertmanager.matchers import Matcher, MatchType
from notifier.config.loading import Loading
from notifier.config.model import Configuration
from notifier.config.ovh import Ovh
from notifier.config.routes import RouteConfig
from notifier.config.secrets import secrets_of
from notifier.config.source import Path_, Position, Problem
from notifier.routing import Routing
from notifier.sms.phones import mask, parse_mobile

_SHORTEST_SECRET = 16
"""Characters; `openssl rand -hex 16` prints 32."""
_TELLING = 8
"""A shorter secret may occur in the file by chance."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_SOLD_IN = frozenset({"ovh-eu"})
_SENDER_RULES = {
    "ES": "Spain: each sender must be registered with the CNMC",
    "IE": "Ireland: a sender that is not registered is shown as Likely Scam",
    "US": "the USA: only validated templates are delivered",
}
"""Restrictions of senders in OVHcloud's guides, by the region of the recipient."""


def advise(loading: Loading) -> list[Problem]:
    """Return warnings about valid values that are probably mistakes."""
    configuration = loading.configuration
    if configuration is None:
        return []
    found = [
        *_storage(configuration, loading.file.parent),
        *_secrets(configuration, loading.file),
        *_accounts(configuration),
        *_contacts(configuration),
        *_receivers(configuration),
        *_links(configuration),
        *_calls(configuration),
        *_admins(configuration),
        *([] if configuration.route is None else _routes(configuration.route, ("route",))),
    ]
    return [Problem(loading.position(path), path, message, is_warning=True) for path, message in found]


def _routes(route: RouteConfig, path: Path_) -> Iterator[tuple[Path_, str]]:
    ending: dict[int, set[str]] = {}  # the matchers of the routes without continue, by index
    for number, child in enumerate(route.routes):
        here: Path_ = (*path, "routes", number)
        conditions = {str(matcher) for matcher in child.matchers if not _matches_everything(matcher)}
        before = next((other for other, ended in ending.items() if ended and ended <= conditions), None)
        if before is not None:
            yield (
                here,
                f"is never reached: whatever it matches ends at routes[{before}], which has no continue: true",
            )
        if not child.continue_:
            ending[number] = conditions
            if not conditions and number < len(route.routes) - 1:
                why = "has matchers that match every alert" if child.matchers else "has no matchers"
                yield here, f"{why}, so every alert ends here and the routes after it are never reached"
        yield from _routes(child, here)


def _matches_everything(matcher: Matcher) -> bool:
    """Whether *matcher* matches every alert; each of them has a name."""
    regex = matcher.value.removeprefix("^").removesuffix("$") if matcher.type is MatchType.REGEXP else ""
    is_some_name = regex == ".+" or (matcher.type is MatchType.NOT_EQUAL and not matcher.value)
    return regex in (".*", "(.*)") or (matcher.name == "alertname" and is_some_name)


def _receivers(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    reached = None if configuration.route is None else set(_reached(configuration.route))
    beating = {heartbeat.receiver for heartbeat in configuration.heartbeats}
    for index, receiver in enumerate(configuration.receivers):
        if reached is not None and receiver.name not in reached | beating:
            message = (
                f'no route and no heartbeat leads to "{receiver.name}"; webhooks to /alert/{receiver.name} do'
            )
            yield ("receivers", index), message
        names = {contact.name for contact in configuration.contacts}
        names |= {schedule.name for schedule in configuration.schedules}
        for number in (notify for notify in receiver.everyone() if notify not in names):
            phone = parse_mobile(number, configuration.global_.default_region)
            if (rule := _country_of(configuration, phone)) is not None:
                yield ("receivers", index), f"{mask(phone)} {rule}"


def _reached(route: RouteConfig) -> Iterator[str]:
    """Yield the receivers that *route* and those below it name."""
    if route.receiver is not None:
        yield route.receiver
    for child in route.routes:
        yield from _reached(child)


def _contacts(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    numbers: dict[str, str] = {}
    notified = _notified(configuration)
    for index, contact in enumerate(configuration.contacts):
        phone = parse_mobile(contact.phone, configuration.global_.default_region)
        path: Path_ = ("contacts", index, "phone")
        if phone in numbers:
            other = numbers[phone]
            yield path, f'is the number of "{other}", too; replies from it are taken for those of "{other}"'
        numbers.setdefault(phone, contact.name)
        if notified is not None and contact.name not in notified and not contact.admin:
            message = "is notified by no receiver, neither directly nor through a schedule"
            yield ("contacts", index), message
        if (rule := _country_of(configuration, phone)) is not None:
            yield path, rule


def _country_of(configuration: Configuration, phone: str) -> str | None:
    """Return a warning about sending to the country of *phone*, for the first account that it concerns."""
    region = phonenumbers.region_code_for_number(phonenumbers.parse(phone)) or ""
    rules = (_country(account, region) for account in configuration.accounts)
    return next(filter(None, rules), None)


def _country(account: Ovh, region: str) -> str | None:
    if account.sender_for_response and region != "FR":
        return "is outside of France; messages of a short number (sender_for_response) arrive in France only"
    if account.virtual_number and region != "FR":
        return "is outside of France; messages of a virtual number arrive in France only"
    return f"is a number of {_SENDER_RULES[region]}" if account.sender and region in _SENDER_RULES else None


def _notified(configuration: Configuration) -> set[str] | None:
    """Return the contacts that somebody or something notifies; None if a calendar may name any."""
    names: set[str] = set()
    for receiver in configuration.receivers:
        names.update(receiver.everyone())
    for schedule in [schedule for schedule in configuration.schedules if schedule.name in names]:
        if schedule.ics is not None:
            return None
        names.update(name for rotation in schedule.rotations for name in rotation.contacts)
        names.update(override.contact for override in schedule.overrides if override.contact is not None)
    return names


def _storage(configuration: Configuration, directory: Path) -> Iterator[tuple[Path_, str]]:
    place = configuration.storage.place(directory)
    if isinstance(place, Path) and not place.parent.exists():
        yield ("storage", "url"), f"the directory {place.parent} does not exist; notifier serve makes it"


def _secrets(configuration: Configuration, file: Path) -> Iterator[tuple[Path_, str]]:
    web = configuration.web
    guarding: list[tuple[Path_, str, SecretStr | None]] = [
        (("web", "bearer_token"), "token", web.bearer_token),
        *((("web", "tokens", number, "token"), "token", one.token) for number, one in enumerate(web.tokens)),
        *(
            ((*_account_path(configuration, number), "callback_secret"), "secret", one.callback_secret)
            for number, one in enumerate(configuration.accounts)
        ),
    ]
    for path, kind, secret in guarding:
        if secret is not None and len(secret.get_secret_value()) < _SHORTEST_SECRET:
            yield path, f"this {kind} can be guessed; make one with: openssl rand -hex 16"
    text = file.read_text(encoding="utf-8")
    is_inside = any(len(secret) >= _TELLING and secret in text for secret in secrets_of(configuration))
    if is_inside and file.stat().st_mode & stat.S_IROTH:
        message = (
            "holds secrets and can be read by everyone on this machine; make it readable by the service alone"
        )
        yield (), f"{file} {message}, as with: chown root:notifier {file} && chmod 640 {file}"


def _links(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    url = configuration.page_url
    if url is None:
        return
    has_fallbacks = bool(configuration.fallback.urls) or any(one.fallback for one in configuration.contacts)
    if not configuration.sends_urls and not has_fallbacks:
        message = (
            "has no effect: an SMS may not contain a link while an account has sender_for_response, and there "
            "is no fallback"
        )
        yield ("links",), message
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        message = "whoever reads the network can use the links in pages; serve the pages by https://"
        yield ("global", "external_url"), message


def _calls(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    names = {one.name for one in configuration.contacts} | {one.name for one in configuration.schedules}
    for index, receiver in enumerate(configuration.receivers):
        for number, step in enumerate(receiver.escalate):
            if step.call and not names.intersection(step.notify):
                path = ("receivers", index, "escalate", number, "call")
                yield path, "calls nobody: numbers are not called; make a contact of each"


def _admins(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    """Warn of administrators without a fallback where others have one: a notice by SMS alone may not arrive."""
    has_fallbacks = any(one.fallback for one in configuration.contacts)
    for index, contact in enumerate(configuration.contacts):
        if has_fallbacks and contact.admin and not configuration.fallback_urls(contact.name):
            message = "has no fallback: a notice that sending is paused cannot reach this administrator"
            yield ("contacts", index, "admin"), message


def _account_path(configuration: Configuration, number: int) -> Path_:
    return ("ovh", number) if len(configuration.accounts) > 1 else ("ovh",)


def _accounts(configuration: Configuration) -> Iterator[tuple[Path_, str]]:
    for index, account in enumerate(configuration.accounts):
        path = _account_path(configuration, index)
        if "://" not in account.endpoint and account.endpoint not in _SOLD_IN:
            yield (*path, "endpoint"), f"OVHcloud sells no SMS in {account.endpoint}; write ovh-eu"
        url = urlsplit(account.endpoint)
        if url.scheme == "http" and url.hostname not in _THIS_MACHINE:
            message = "sends keys, numbers and texts over the network unencrypted; write https://"
            yield (*path, "endpoint"), message
        if account.sender is not None and not account.sender.isalnum():
            message = f'"{account.sender}": OVHcloud accepts only letters and digits in new senders'
            yield (*path, "sender"), message


# -- Alertmanager's configuration -------------------------------------------------------------------------


def unknown_receivers(configuration: Configuration, file: Path) -> list[Problem]:
    """Return a warning for each receiver of the Alertmanager configuration in *file* that is not configured here.

    Only receivers with a webhook count. With a ``route`` here, the names do not matter but for addresses such as
    ``/alert/NAME``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no configuration of Alertmanager.
    """
    try:
        document = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from None
    receivers = values.get("receivers") if isinstance(values, dict) else None
    if not isinstance(receivers, list) or not isinstance(document, yaml.MappingNode):
        raise ValueError("it has no receivers; give Alertmanager's configuration file")
    lines = _lines(document)
    routing, found = Routing.of(configuration), []
    for index, receiver in enumerate(receivers):
        if not isinstance(receiver, dict):
            continue
        for name, path in _named(receiver):
            is_known = name in routing.receivers or (path is None and routing.tree is not None)
            if not is_known:
                message = (
                    f'receiver "{name}" is not configured here: its alerts page "{routing.receivers[0]}"'
                )
                if path is not None:
                    message = f'{path}: there is no receiver "{name}" here, so its webhooks are answered 404'
                at = lines.get(index, Position(1, 1))
                found.append(Problem(at, ("receivers", index), message, is_warning=True, file=str(file)))
    return found


def _named(receiver: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
    """Return the receivers here that Alertmanager's *receiver* posts for, each with the path that names it."""
    hooks = receiver.get("webhook_configs")
    for hook in hooks if isinstance(hooks, list) else []:
        path = urlsplit(str(hook.get("url", ""))).path if isinstance(hook, dict) else ""
        _, marker, name = path.partition("/alert/")
        yield (unquote(name), path) if marker and name else (str(receiver.get("name", "")), None)


def _lines(document: yaml.MappingNode) -> dict[int, Position]:
    """Return where each receiver stands."""
    for key, value in document.value:
        if key.value == "receivers" and isinstance(value, yaml.SequenceNode):
            marks = [node.start_mark for node in value.value]
            return {index: Position(mark.line + 1, mark.column + 1) for index, mark in enumerate(marks)}
    return {}
