"""Alertmanager's formats: its webhook, matchers, durations and time intervals, and its API for silences."""
