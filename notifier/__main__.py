"""``python -m notifier`` is the ``notifier`` command."""

from notifier.cli.app import main

if __name__ == "__main__":
    main()
