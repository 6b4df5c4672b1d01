"""What is built installs and works outside the checkout, and nothing that must not be is in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from notifier.assets import TEMPLATES
from tests.support.lowest import lowest
from tests.support.processes import program

ROOT = Path(__file__).parents[2]


def built(directory: Any, *command: Any) -> Any:
    """Run what builds a package into *directory*; return its file."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    (file,) = directory.iterdir()
    return file


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("sdist")
    return built(directory, "hatchling", "build", "--target", "sdist", "--directory", str(directory))


@pytest.fixture(scope="module", params=["checkout", "sdist"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A wheel, built from what is checked out and from the source distribution."""
    directory = tmp_path_factory.mktemp("wheel")
    source = ROOT if request.param == "checkout" else request.getfixturevalue("sdist")
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory))
    return built(directory, "pip", "wheel", *how, str(source))


def test_the_source_distribution_holds_all_that_is_needed_to_test_and_change_it(sdist: Any) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows what belongs to the project")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        [program("git"), "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name for name in tracked.stdout.splitlines() if not name.startswith(".")} <= names
    assert not [name for name in names if name.startswith((".venv", "artefacts")) or "__pycache__" in name]


def test_the_wheel_holds_templates_and_configuration(wheel: Any) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in TEMPLATES:
        assert f"notifier/shipped/templates/{name}" in names
    for name in ("notifier.yml", "minimal.yml", "demo.yml", "sample-alert.json", "notifier.schema.json"):
        assert f"notifier/shipped/config/{name}" in names
    assert "notifier/store/migrations/versions/v0001_first.py" in names
    assert "notifier/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]


def test_the_wheel_works_outside_the_checkout(wheel: Any, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import notifier.cli.app, notifier.assets as s; print(len(s.TEMPLATES), s.CONFIG); notifier.cli.app.main()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "demo", "--once", "--port", "0"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert str(tmp_path / "site") in shown.stdout
    assert "FIRING #1 critical InstanceDown" in shown.stdout


def test_the_constraints_pin_everything_and_name_no_index() -> None:

    pinned = {}
    for file in ("constraints.txt", "requirements.txt", "requirements-build.txt"):
        text = (ROOT / file).read_text().replace("\\\n", "")
        lines = text.splitlines()
        assert all(line.count("==") >= 1 and line.count("--hash=sha256:") >= 1 for line in lines)
        assert "/" not in text
        assert not re.search(r"^-|--(?!hash)", text, re.MULTILINE)
        # Without the markers: what only some systems run with may be what all test with.
        pinned[file] = {
            re.split(r"\[|==", line)[0].replace("_", "-"): re.split(" (?:--|;)", line)[0].strip()
            for line in lines
        }
    assert pinned["requirements.txt"].items() <= pinned["constraints.txt"].items()
    assert pinned["requirements-build.txt"].items() <= pinned["constraints.txt"].items()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    names = {w.split(">")[0].split("[")[0].strip().lower() for w in wanted}
    assert names - {"notifier-oncall"} <= pinned["constraints.txt"].keys()
    running = {w.split(">")[0].strip().lower() for w in project["dependencies"]}
    assert len(lowest()) == len(running) + 2, "psycopg and apprise"
    assert all(re.fullmatch(r"[a-z0-9-]+(\[binary\])?==[0-9.]+", one) for one in lowest())
    assert running | {"psycopg", "apprise"} <= pinned["requirements.txt"].keys()


def test_what_a_service_does_without_is_not_loaded() -> None:
    unused = {
        "alembic",
        "icalendar",
        "psycopg",
        "sqlalchemy.dialects.postgresql",
        "watchfiles",
    }
    code = f"import sys, notifier.cli.app; print({unused} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (shown.stdout, shown.stderr) == ("set()\n", "")


def test_every_package_that_is_imported_is_declared() -> None:
    imported = set()
    for file in (ROOT / "notifier").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["postgres"], *extras["fallback"]]
    declared = {
        re.split(r"\W", name, maxsplit=1)[0].lower() for name in (w.replace("-", "_") for w in wanted)
    }
    providers = packages_distributions()
    others = imported - sys.stdlib_module_names - {"notifier"}
    undeclared = [
        one for one in others if not {p.lower().replace("-", "_") for p in providers[one]} & declared
    ]
    assert undeclared == []
