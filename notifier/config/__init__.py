"""`notifier.yml`: its source, types, models and checks."""
