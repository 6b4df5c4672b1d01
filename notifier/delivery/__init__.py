"""What is sent next, by which account, and what a failure leads to: decisions alone."""
