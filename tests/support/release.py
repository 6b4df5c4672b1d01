"""``python -m tests.support.release``: builds what is released, twice, and tries it outside the checkout.

In dist/ are then the wheel, the source distribution, the list of what Notifier runs with (SBOM, CycloneDX), and the
hashes of all three. Only what is committed is built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run a program, and return its output.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(place: Path) -> dict[str, bytes]:
    """Build the committed tree at *place*; return the files, by name."""
    source = place / "source"
    source.mkdir(parents=True)
    archive = place / "tree.tar"
    run("git", "archive", "--output", archive, "HEAD")
    shutil.unpack_archive(archive, source)
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    made = place / "dist"
    run(
        sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", made,
        cwd=source, SOURCE_DATE_EPOCH=epoch,
    )  # fmt: skip
    version = tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"]
    bill = made / f"notifier_oncall-{version}.cdx.json"
    run(
        Path(sys.executable).with_name("cyclonedx-py"), "requirements", source / "requirements.txt",
        "--pyproject", source / "pyproject.toml", "--mc-type", "application", "--output-reproducible",
        "--of", "JSON", "-o", bill,
    )  # fmt: skip
    return {file.name: file.read_bytes() for file in sorted(made.iterdir())}


def try_out(artefact: Path, place: Path) -> None:
    """Install *artefact* with the pinned requirements into an environment of its own, and run it."""
    environment = place / "venv"
    run(sys.executable, "-m", "venv", environment)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.txt", "-r", ROOT / "requirements-build.txt")
    run(*pip, "--no-deps", "--no-build-isolation", artefact, cwd=place)
    notifier = environment / "bin" / "notifier"
    say(f"{artefact.name}: {run(notifier, '--version', cwd=place).strip()}")
    keys = dict.fromkeys(("OVH_APPLICATION_KEY", "OVH_APPLICATION_SECRET", "OVH_CONSUMER_KEY"), "x")
    shipped = next((environment / "lib").glob("python*/site-packages/notifier/shipped/config/minimal.yml"))
    run(notifier, "check", "--config", shipped, cwd=place, **keys)
    page = run(notifier, "demo", "--once", "--port", "0", cwd=place)
    if "FIRING #1 critical InstanceDown" not in page:
        raise SystemExit(f"{artefact.name}: the demo shows no page:\n{page}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Build, compare, try, and put it into dist/."""
    with tempfile.TemporaryDirectory(prefix="notifier-release-") as directory:
        first, second = build(Path(directory, "first")), build(Path(directory, "a", "second"))
        differing = [name for name in first if first[name] != second.get(name)]
        if differing or first.keys() != second.keys():
            raise SystemExit(f"two builds differ: {', '.join(differing) or 'the files'}")
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        for name, content in first.items():
            (DIST / name).write_bytes(content)
        sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in first.items())
        (DIST / "SHA256SUMS").write_text(sums)
        for artefact in (*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")):
            try_out(artefact, Path(tempfile.mkdtemp(dir=directory)))
    say(f"{sums}Built twice, with the same result, and tried outside the checkout: {DIST}")


if __name__ == "__main__":
    main()
