"""The ASGI application: webhook, probes, metrics, API."""
