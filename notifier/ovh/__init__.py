"""OVHcloud's API: models, sessions, calls and errors."""
