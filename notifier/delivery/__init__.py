"""Which messages are sent next, by which account, and what follows from a failure: decisions alone."""
