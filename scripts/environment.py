"""Create the virtual environments of this project's commands, or renew their pinned versions.

```
python3 scripts/environment.py main                # creates .venv; also: newest, oldest, stores
python3 scripts/environment.py newest --unpinned   # the versions that a user gets today, in .venv-unpinned
python3 scripts/environment.py --find 3.13         # prints the path of a Python of this version
python3 scripts/environment.py --relock            # resolves again and writes the constraints files
```

It needs Python with `venv` and pip; pip installs uv, which installs the rest. `make` calls it. Without make, call it
yourself.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - prints a message on an older Python
    sys.exit(
        f"langchain-gemini-mm needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
        "Pass a newer one, for example: make test PYTHON=python3.12"
    )

import argparse
import ast
import dataclasses
import os
import re
import subprocess
import tempfile
import time
import tomllib
import venv
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+")
UV_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
"""Settings of pip that uv does not read, and the names uv uses for them."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """One virtual environment: suffix of its folder and constraints file, dependency groups and extras."""

    suffix: str
    groups: tuple[str, ...]
    about: str
    extras: str = "all"
    python: str = "3.11"
    """The Python version that its versions are resolved for."""
    fixed: bool = False
    """Whether it requires exactly this Python version."""
    oldest: bool = False
    """Whether it contains the oldest versions of direct dependencies that `pyproject.toml` allows."""

    @property
    def constraints(self) -> str:
        """Name of the file with pinned versions."""
        return f"constraints{self.suffix}.txt"


EVERYTHING = ("dev", "chat-models", "classic", "rivals")
ENVIRONMENTS = {
    "main": Environment("", EVERYTHING, "tests, checks and benchmarks"),
    "newest": Environment("-newest", EVERYTHING, "the newest of everything", python="3.13", fixed=True),
    "oldest": Environment(
        "-oldest", ("build", "chat-models", "test"), "the oldest that is allowed", fixed=True, oldest=True
    ),
    # Chroma's newest protobuf and grpcio are newer than weaviate-client allows.
    "stores": Environment(
        "-stores",
        ("build", "test", "stores", "real-media"),
        "vector stores, and media of other packages",
        "heif,media,testing",
    ),
}


def python_of(folder: Path) -> Path:
    """Return the path of the interpreter in a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def run(command: list[str], **settings: str) -> str:
    """Run a command in the checkout and return its output; exit if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | settings,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(command)}")
    return done.stdout


def pip(folder: Path, *arguments: str) -> str:
    """Run pip of a virtual environment in the checkout and return its output."""
    return run([str(python_of(folder)), "-m", "pip", "--disable-pip-version-check", *arguments])


@cache
def uv_home() -> Path:
    """Return the environment that contains uv; create it if necessary."""
    folder = ROOT / ".venv-uv"
    if not (folder / "stamp").exists():
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        pip(folder, "install", "--quiet", "uv>=0.9,<1")
        (folder / "stamp").touch()
    return folder


@cache
def uv_settings() -> dict[str, str]:
    """Return pip's settings for package sources, so that uv uses them as well."""
    told = re.findall(r"^(?:\S*?)[.]([a-z-]+)=('.*')$", pip(uv_home(), "config", "list"), re.MULTILINE)
    found = {UV_SETTINGS[name]: ast.literal_eval(value) for name, value in told if name in UV_SETTINGS}
    certificates = [ast.literal_eval(value) for name, value in told if name == "cert"]
    found |= {"SSL_CERT_FILE": certificates[-1]} if certificates else {}
    return {name: value for name, value in found.items() if name not in os.environ} | {"UV_PYTHON_DOWNLOADS": "never"}


def uv(*arguments: str) -> str:
    """Run uv in the checkout and return its output."""
    return run([str(python_of(uv_home())), "-m", "uv", "--quiet", *arguments], **uv_settings())


def find_python(version: str) -> str:
    """Return the path of a Python of this version: this one, one on PATH, or one installed by pyenv."""
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [Path(sys.executable)]
    places += [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    places += sorted(home.glob(f"versions/{version}.*/bin/python"), reverse=True)
    for place in places:
        # A program on PATH may be a shim of pyenv for a version that is not selected.
        if place.exists() and version_of(place) == version:
            return str(place)
    sys.exit(
        f"Python {version} is needed and was not found: neither as python{version} on PATH nor installed by pyenv in "
        f"{home}. Install it, for example: pyenv install {version}"
    )


def version_of(python: Path) -> str:
    """Return major and minor version, or an empty text if the program does not run."""
    asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()


def set_up(name: str, folder: Path, *, pinned: bool) -> None:
    """Update one environment and write a stamp file."""
    environment = ENVIRONMENTS[name]
    about = f"{environment.about}{'' if pinned else ', not pinned'}"
    print(f"Setting up {folder.name} ({about}); only needed once ...", flush=True)
    started = time.monotonic()
    python = python_of(folder)
    if not python.exists():
        uv("venv", "--python", find_python(environment.python) if environment.fixed else sys.executable, str(folder))
    versions = ["--constraint", environment.constraints] if pinned else ["--upgrade"]
    install = ["pip", "install", "--python", str(python), *versions]
    # The build backend is installed first and pinned, so that no isolated build environment is needed.
    uv(*install, "--group", "build")
    groups = [word for group in environment.groups for word in ("--group", group)]
    uv(*install, "--no-build-isolation", *groups, "--editable", f".[{environment.extras}]")
    (folder / "stamp").touch()
    print(f"... ready in {time.monotonic() - started:.0f} s", flush=True)


def resolved(environment: Environment, *options: str) -> list[str]:
    """Return the versions, as `name==version`, of an installation of the package with its extras."""
    extras = [word for extra in environment.extras.split(",") for word in ("--extra", extra)]
    shape = ["--no-header", "--no-annotate", "--python-version", environment.python]
    return uv("pip", "compile", "pyproject.toml", *extras, *shape, *options).splitlines()


def oldest(environment: Environment) -> list[str]:
    """Return the oldest versions of direct dependencies; test tools may be newer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower() for one in asked}
    lowest = resolved(environment, "--resolution", "lowest-direct")
    return [line for line in lowest if line.partition("==")[0] in names]


def relock(name: str) -> None:
    """Resolve an environment and write its versions, as `name==version` only."""
    environment = ENVIRONMENTS[name]
    options = [word for group in environment.groups for word in ("--group", group)]
    with tempfile.TemporaryDirectory() as folder:
        if environment.oldest:
            held = Path(folder) / "oldest.txt"
            held.write_text("\n".join(oldest(environment)), encoding="utf-8")
            options += ["--constraint", str(held)]
        pins = resolved(environment, *options)
    unpinned = [line for line in pins if not PIN.fullmatch(line)]
    if unpinned:
        sys.exit(f"not in the form name==version: {unpinned}")
    heading = f"# Versions for {environment.about}. Written by `make lock`, for Python {environment.python}.\n"
    text = heading + "".join(f"{line}\n" for line in sorted(pins, key=str.lower))
    (ROOT / environment.constraints).write_text(text, encoding="utf-8")
    print(f"{environment.constraints}: {len(pins)} packages")


def main() -> None:
    """Parse the command line and carry it out."""
    parser = argparse.ArgumentParser(description="Set up the environments of this project's commands.")
    parser.add_argument("name", nargs="?", choices=ENVIRONMENTS, help="environment (default: main)")
    parser.add_argument("--venv", default=".venv", help="folder of `main`; the others have a suffix (default: .venv)")
    parser.add_argument(
        "--unpinned", action="store_true", help="use the newest versions, in a folder with the suffix `-unpinned`"
    )
    parser.add_argument("--find", metavar="VERSION", help="print the path of a Python of this version and exit")
    parser.add_argument("--relock", action="store_true", help="write the constraints files, or one of them, and exit")
    arguments = parser.parse_args()
    name = arguments.name or "main"
    if arguments.find:
        print(find_python(arguments.find))
    elif arguments.relock:
        for one in [arguments.name] if arguments.name else ENVIRONMENTS:
            relock(one)
    else:
        suffix = "-unpinned" if arguments.unpinned else ENVIRONMENTS[name].suffix
        set_up(name, ROOT / (arguments.venv + suffix), pinned=not arguments.unpinned)


if __name__ == "__main__":
    main()
