"""Pure decisions about sending: which messages go next, by which account, and how a failure is handled."""
