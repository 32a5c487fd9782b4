"""Make the virtual environments that this project's commands run in, or renew their pinned versions.

```
python3 scripts/environment.py main       # sets up .venv; also: genai2, stores
python3 scripts/environment.py --relock   # resolves anew and writes the constraints files
```

Needs nothing but Python with `venv` and pip. `make` calls it; where there is no make, call it yourself.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the place that tells people with an older Python
    sys.exit(
        f"langchain-gemini-mm needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
        "Name a newer one, for example: make test PYTHON=python3.12"
    )

import argparse
import dataclasses
import os
import re
import subprocess
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+")


@dataclasses.dataclass(frozen=True)
class Environment:
    """One virtual environment: the ending of its folder and of its pins' file, its dependency groups and extras."""

    suffix: str
    groups: tuple[str, ...]
    about: str
    extras: str = "all"

    @property
    def constraints(self) -> str:
        """The file with its pins."""
        return f"constraints{self.suffix}.txt"


ENVIRONMENTS = {
    "main": Environment("", ("dev", "chat-models"), "the newest google-genai, tests and checks"),
    "genai2": Environment("-genai2", ("test", "classic", "chat-models", "bench"), "google-genai 2.x, rivals"),
    # Chroma's newest protobuf and grpcio are newer than weaviate-client allows.
    "stores": Environment(
        "-stores", ("test", "stores", "real-media"), "vector stores and pictures of others", "heif,media,testing"
    ),
}


def python_of(folder: Path) -> Path:
    """Path of the interpreter in a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def pip(folder: Path, *arguments: str) -> str:
    """Run pip of a virtual environment in the checkout and return what it prints."""
    command = [str(python_of(folder)), "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode:
        sys.exit(f"{run.stdout}\nfailed: pip {' '.join(arguments)}")
    return run.stdout


def install(environment: Environment, folder: Path, *constraints: str) -> None:
    """Create or renew a virtual environment with the package, editable, and its groups."""
    if not python_of(folder).exists():
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    # The build backend comes first and pinned, so that pip need not make an environment of its own to build in.
    pip(folder, "install", "--quiet", *constraints, "pip>=25.1", "hatchling", "editables")
    groups = [word for group in environment.groups for word in ("--group", group)]
    pip(
        folder,
        "install",
        "--quiet",
        "--no-build-isolation",
        *constraints,
        *groups,
        "--editable",
        f".[{environment.extras}]",
    )


def set_up(name: str, folder: Path) -> None:
    """Bring one environment up to date and leave a stamp that says so."""
    environment = ENVIRONMENTS[name]
    print(f"Setting up {folder.name} ({environment.about}); this is needed once ...", flush=True)
    started = time.monotonic()
    install(environment, folder, "--constraint", environment.constraints)
    (folder / "stamp").touch()
    print(f"... ready in {time.monotonic() - started:.0f} s", flush=True)


def relock(name: str) -> None:
    """Resolve an environment without pins and write down, by name and version only, what came out."""
    environment = ENVIRONMENTS[name]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "venv"
        install(environment, folder)
        frozen = pip(folder, "freeze", "--all", "--exclude-editable", "--exclude", "setuptools").splitlines()
    unpinned = [line for line in frozen if not PIN.fullmatch(line)]
    if unpinned:
        sys.exit(f"not of the form name==version: {unpinned}")
    heading = f"# Versions for {environment.about}. Written by `make lock`, on Python {sys.version.split()[0]}.\n"
    text = heading + "".join(f"{line}\n" for line in sorted(frozen, key=str.lower))
    (ROOT / environment.constraints).write_text(text, encoding="utf-8")
    print(f"{environment.constraints}: {len(frozen)} packages")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="Set up the environments of this project's commands.")
    parser.add_argument("name", nargs="?", choices=ENVIRONMENTS, help="which one (default: main)")
    parser.add_argument("--venv", default=".venv", help="folder of `main`; the others get an ending (default: .venv)")
    parser.add_argument("--relock", action="store_true", help="renew the constraints files instead, or one of them")
    arguments = parser.parse_args()
    if arguments.relock:
        for name in [arguments.name] if arguments.name else ENVIRONMENTS:
            relock(name)
    else:
        name = arguments.name or "main"
        set_up(name, ROOT / (arguments.venv + ENVIRONMENTS[name].suffix))


if __name__ == "__main__":
    main()
