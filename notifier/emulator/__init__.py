"""OVHcloud's SMS API, as it behaves: for tests, for the demo, and for trying Notifier without an account.

It verifies signatures and the clock, refuses parameters it does not know, keeps jobs and history, knows
credits, receipts, replies and callbacks, and fails as configured.
"""

from notifier.emulator.account import Emulation
from notifier.emulator.faults import Fault, FaultKind
from notifier.emulator.models import Credentials, Sms
from notifier.emulator.server import Emulator

__all__ = ["Credentials", "Emulation", "Emulator", "Fault", "FaultKind", "Sms"]
