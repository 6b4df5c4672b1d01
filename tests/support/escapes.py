"""Composes texts by templates that try to get out, and says what they touched: ``python -m tests.support.escapes FOLDER``.

The sources come as a JSON list on standard input; for each, *[touched, text, failure]* goes to standard output.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from notifier.alertmanager.webhook import parse_webhook
from notifier.rendering.compose import Style, compose
from notifier.rendering.context import build_notification
from notifier.rendering.templates import Templates
from notifier.sms.recipient import Recipient
from tests.support.files import ALICE
from tests.support.webhooks import payload

_WATCHED = {
    "open",
    "os.listdir",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
}


def main(folder: Any) -> None:
    seen = []

    def watch(event: Any, arguments: Any) -> None:
        if event in _WATCHED:
            seen.append((event, str(arguments[0])[:200]))

    sys.addaudithook(watch)
    page = Path(folder, "page.j2")
    message = build_notification(parse_webhook(payload("firing-one")), (0,), "ops")
    recipient = Recipient("alice", ALICE, "en", ZoneInfo("UTC"))
    now = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
    results = []
    for source in json.load(sys.stdin):
        page.write_text("SECRET-MARK " + source)
        templates = Templates({"page.j2": page})
        assert ("open", str(page)) in seen, "what is opened is seen"
        compose(templates, message, recipient, Style(), now)
        seen.clear()  # whatever is loaded once has been loaded
        composed = compose(templates, message, recipient, Style(), now)
        results.append((list(seen), composed.text, composed.failure and str(composed.failure)))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
