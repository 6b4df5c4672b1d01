"""Permissions of callers: the permissions of tokens, and the roles of users."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """A permission."""

    WEBHOOK = "webhook"
    """Posting webhooks."""
    READ = "read"
    """Reading pages, the API and calendars."""
    ACT = "act"
    """Acknowledging, escalating, silencing and closing incidents, and writing notes."""
    SEND = "send"
    """Sending messages."""
    ADMIN = "admin"
    """Everything, reloading the configuration included."""


class Role(StrEnum):
    """A role: the permissions of a user."""

    VIEWER = "viewer"
    RESPONDER = "responder"
    ADMIN = "admin"

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of a user with this role."""
        return _OF_ROLES[self]


_OF_ROLES = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.RESPONDER: frozenset({Permission.READ, Permission.ACT, Permission.SEND}),
    Role.ADMIN: frozenset({Permission.ADMIN}),
}
