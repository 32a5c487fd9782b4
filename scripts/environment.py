"""Make the virtual environments that this project's commands run in, or renew their pinned versions.

```
python3 scripts/environment.py main                # sets up .venv; also: newest, oldest, stores
python3 scripts/environment.py newest --unpinned   # whatever a user would get today, in .venv-unpinned
python3 scripts/environment.py --find 3.13         # prints where a Python of this version is
python3 scripts/environment.py --relock            # resolves anew and writes the constraints files
```

Needs nothing but Python with `venv` and pip, which fetches uv, which installs the rest. `make` calls it; where there is
no make, call it yourself.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the place that tells people with an older Python
    sys.exit(
        f"langchain-gemini-mm needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
        "Name a newer one, for example: make test PYTHON=python3.12"
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
"""Settings of pip that uv does not read, and what uv calls them."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """One virtual environment: the ending of its folder and of its pins' file, its dependency groups and extras."""

    suffix: str
    groups: tuple[str, ...]
    about: str
    extras: str = "all"
    python: str = "3.11"
    """What its versions are resolved for."""
    fixed: bool = False
    """Whether it is made with that Python alone, and not with any newer one."""
    oldest: bool = False
    """Whether it holds the oldest versions that `pyproject.toml` allows of what we depend on."""

    @property
    def constraints(self) -> str:
        """The file with its pins."""
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
        "vector stores and pictures of others",
        "heif,media,testing",
    ),
}


def python_of(folder: Path) -> Path:
    """Path of the interpreter in a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def run(command: list[str], **settings: str) -> str:
    """Run a command in the checkout and return what it prints; its failure ends the program."""
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
    """Run pip of a virtual environment in the checkout and return what it prints."""
    return run([str(python_of(folder)), "-m", "pip", "--disable-pip-version-check", *arguments])


@cache
def uv_home() -> Path:
    """The environment that holds uv, made when it is first needed."""
    folder = ROOT / ".venv-uv"
    if not (folder / "stamp").exists():
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        pip(folder, "install", "--quiet", "uv>=0.9,<1")
        (folder / "stamp").touch()
    return folder


@cache
def uv_settings() -> dict[str, str]:
    """Where pip is told to look for packages, by files or variables, so that uv looks there too."""
    told = re.findall(r"^(?:\S*?)[.]([a-z-]+)=('.*')$", pip(uv_home(), "config", "list"), re.MULTILINE)
    found = {UV_SETTINGS[name]: ast.literal_eval(value) for name, value in told if name in UV_SETTINGS}
    certificates = [ast.literal_eval(value) for name, value in told if name == "cert"]
    found |= {"SSL_CERT_FILE": certificates[-1]} if certificates else {}
    return {name: value for name, value in found.items() if name not in os.environ} | {"UV_PYTHON_DOWNLOADS": "never"}


def uv(*arguments: str) -> str:
    """Run uv in the checkout and return what it prints."""
    return run([str(python_of(uv_home())), "-m", "uv", "--quiet", *arguments], **uv_settings())


def find_python(version: str) -> str:
    """Path of a Python of this version: this one, one on the path, or one that pyenv installed."""
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [Path(sys.executable)]
    places += [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    places += sorted(home.glob(f"versions/{version}.*/bin/python"), reverse=True)
    for place in places:
        # A name on the path may be only a stand-in of pyenv for a version that is not chosen.
        if place.exists() and version_of(place) == version:
            return str(place)
    sys.exit(
        f"Python {version} is needed and was not found: neither python{version} on the path, nor one of pyenv in "
        f"{home}. Install it, for example: pyenv install {version}"
    )


def version_of(python: Path) -> str:
    """Its first two numbers; nothing where it does not run."""
    asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()


def set_up(name: str, folder: Path, *, pinned: bool) -> None:
    """Bring one environment up to date and leave a stamp that says so."""
    environment = ENVIRONMENTS[name]
    about = f"{environment.about}{'' if pinned else ', not pinned'}"
    print(f"Setting up {folder.name} ({about}); this is needed once ...", flush=True)
    started = time.monotonic()
    python = python_of(folder)
    if not python.exists():
        uv("venv", "--python", find_python(environment.python) if environment.fixed else sys.executable, str(folder))
    versions = ["--constraint", environment.constraints] if pinned else ["--upgrade"]
    install = ["pip", "install", "--python", str(python), *versions]
    # The build backend comes first and pinned, so that no environment of its own is made to build in.
    uv(*install, "--group", "build")
    groups = [word for group in environment.groups for word in ("--group", group)]
    uv(*install, "--no-build-isolation", *groups, "--editable", f".[{environment.extras}]")
    (folder / "stamp").touch()
    print(f"... ready in {time.monotonic() - started:.0f} s", flush=True)


def resolved(environment: Environment, *options: str) -> list[str]:
    """The versions, `name==version`, that an installation of the package with its extras would get."""
    extras = [word for extra in environment.extras.split(",") for word in ("--extra", extra)]
    shape = ["--no-header", "--no-annotate", "--python-version", environment.python]
    return uv("pip", "compile", "pyproject.toml", *extras, *shape, *options).splitlines()


def oldest(environment: Environment) -> list[str]:
    """The oldest versions of what we depend on ourselves; what runs the tests may be newer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower() for one in asked}
    lowest = resolved(environment, "--resolution", "lowest-direct")
    return [line for line in lowest if line.partition("==")[0] in names]


def relock(name: str) -> None:
    """Resolve an environment anew and write down, by name and version only, what came out."""
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
        sys.exit(f"not of the form name==version: {unpinned}")
    heading = f"# Versions for {environment.about}. Written by `make lock`, for Python {environment.python}.\n"
    text = heading + "".join(f"{line}\n" for line in sorted(pins, key=str.lower))
    (ROOT / environment.constraints).write_text(text, encoding="utf-8")
    print(f"{environment.constraints}: {len(pins)} packages")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="Set up the environments of this project's commands.")
    parser.add_argument("name", nargs="?", choices=ENVIRONMENTS, help="which one (default: main)")
    parser.add_argument("--venv", default=".venv", help="folder of `main`; the others get an ending (default: .venv)")
    parser.add_argument("--unpinned", action="store_true", help="take the newest versions there are, in `-unpinned`")
    parser.add_argument("--find", metavar="VERSION", help="print the path of a Python of this version instead")
    parser.add_argument("--relock", action="store_true", help="renew the constraints files instead, or one of them")
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
