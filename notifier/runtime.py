"""What the workers work by: configuration, routing, templates and the client of OVHcloud.

A reload replaces it whole, between two pieces of work.
"""

from __future__ import annotations

from dataclasses import dataclass

from notifier.config import Configuration, Loading, Receiver
from notifier.ovh.api import Api, Observer
from notifier.rendering import Style, Templates
from notifier.routing import Routing


@dataclass(frozen=True, slots=True)
class Runtime:
    """A configuration made ready for use."""

    configuration: Configuration
    routing: Routing
    templates: Templates
    api: Api

    def style(self, receiver: Receiver) -> Style:
        """Return how *receiver* wants its messages written."""
        urls = not self.configuration.ovh.sender_for_response
        return Style(receiver.template, receiver.max_parts, receiver.encoding, urls)


@dataclass(slots=True)
class Current:
    """The runtime in force."""

    runtime: Runtime


def prepare(loading: Loading, templates: Templates, observe: Observer) -> Runtime:
    """Make the configuration that *loading* came to ready for use; it must have one."""
    configuration = loading.configuration
    if configuration is None:
        raise ValueError("a configuration with errors cannot be used")
    return Runtime(configuration, Routing.of(configuration), templates, Api(configuration.ovh, observe))
