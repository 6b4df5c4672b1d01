"""``python -m notifier.emulator``: the emulator by itself, printing the messages it accepts."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from notifier.emulator import Emulation, Emulator, Sms


def main() -> None:
    """Listen until interrupted; the first line on standard output is the URL for ``ovh.endpoint``."""
    parser = argparse.ArgumentParser(prog="python -m notifier.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on, such as 0.0.0.0 in a container"
    )
    parser.add_argument(
        "--phone",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="draw this phone on the page /phone, on which one can reply; may be repeated",
    )
    parser.add_argument("--pages", help="the URL of the pages of Notifier, for a link beside the phones")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--credits", type=float, default=1000.0, help="the credits of the account")
    parser.add_argument("--quiet", action="store_true", help="print no messages")
    arguments = parser.parse_args()
    emulation = Emulation(credits=arguments.credits)
    emulator = Emulator(emulation, host=arguments.host, port=arguments.port, latency=arguments.latency)
    emulator.owners, emulator.pages = dict(one.split("=", 1) for one in arguments.phone), arguments.pages
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def show(accepted: list[Sms]) -> None:
        for sms in accepted:
            sys.stdout.write(f"{sms.receiver} ({sms.parts} part): {sms.message}\n")
        sys.stdout.flush()

    if not arguments.quiet:
        emulator.on_accepted = show
    with emulator.running():
        sys.stdout.write(f"{emulator.url}\n")
        sys.stdout.flush()
        phones = emulator.emulation.telephony
        keys, control = emulator.emulation.credentials, emulator.url.removesuffix("/1.0") + "/emulator"
        sys.stderr.write(
            f"For notifier.yml:\n\novh:\n  endpoint: {emulator.url}\n  application_key: {keys.application_key}\n"
            f"  application_secret: {keys.application_secret}\n  consumer_key: {keys.consumer_key}\n"
            f"  sender: ACMEOPS\n"
            f'  # telephony: {{billing_account: {phones.billing_account}, line: "{phones.line}"}}\n\n'
            f"To have it fail: {control}/faults, see docs/ovhcloud.md\n"
        )
        stopped.wait()


if __name__ == "__main__":
    main()
