"""Fixtures that share compiled statements and templates among the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Engine, create_engine, event

from notifier.rendering.filters import make_environment


class Compiled(BytecodeCache):
    """What Jinja has compiled, by the names and files of the templates; it compares the sources itself."""

    def __init__(self) -> None:
        self._codes: dict[str, Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._codes:
            bucket.bytecode_from_string(self._codes[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Have all engines of a kind share the statements that SQLAlchemy has compiled, and all templates their code."""
    shared: dict[str, Any] = {}
    templates = Compiled()

    def engine_with_shared_statements(*arguments: Any, **options: Any) -> Engine:
        engine = create_engine(*arguments, **options)
        name, dialect = engine.dialect.name, engine.dialect
        if name in shared:
            engine.dialect, cache = shared[name]
            engine.update_execution_options(compiled_cache=cache)
        else:  # a dialect learns from its first connection what the server can do
            event.listen(engine, "connect", lambda *_: shared.setdefault(name, (dialect, {})))
        return engine

    def environment_with_shared_code(load: Any) -> Any:
        environment = make_environment(load)
        environment.bytecode_cache = templates
        return environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.store.sqlite.create_engine", engine_with_shared_statements)
        patch.setattr("notifier.store.postgresql.create_engine", engine_with_shared_statements)
        patch.setattr("notifier.rendering.templates.make_environment", environment_with_shared_code)
        yield
