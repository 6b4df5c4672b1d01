"""Notifier: a self-hosted on-call pager, from Alertmanager's webhook to an SMS through OVHcloud."""

from importlib.metadata import version

__version__ = version("notifier-oncall")
