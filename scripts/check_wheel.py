"""Build the wheel and use it as a user would: without and with extras, outside the checkout.

```
.venv/bin/python -m scripts.check_wheel
```

Both installations use an emulator in this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from langchain_gemini_mm import __version__
from langchain_gemini_mm.testing import GeminiEmulator
from scripts.environment import ROOT, pip, python_of

QUICKSTART = ROOT / "examples" / "01_quickstart.py"
BARE = ROOT / "scripts" / "bare_install.py"


def build(folder: Path) -> Path:
    """Build the wheel into `folder` and check its contents."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob(f"langchain_gemini_mm-{__version__}-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {path.relative_to(ROOT).as_posix() for path in (ROOT / "langchain_gemini_mm").rglob("*.py")}
    inside |= {"langchain_gemini_mm/py.typed", f"langchain_gemini_mm-{__version__}.dist-info/licenses/LICENSE"}
    assert inside <= set(names), f"missing in the wheel: {sorted(inside - set(names))}"
    foreign = [name for name in names if not name.startswith("langchain_gemini_mm")]
    assert not foreign, f"does not belong into the wheel: {foreign}"
    print(f"{wheel.name}: {wheel.stat().st_size // 1000} KB, {len(names)} files", flush=True)
    return wheel


def install(folder: Path, requirement: str) -> Path:
    """Create an environment with one requirement and return the path of its interpreter."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    pip(folder, "install", "--quiet", "--constraint", "constraints.txt", requirement)
    pip(folder, "check")
    return python_of(folder)


def use(python: Path, script: Path, folder: Path, emulator: GeminiEmulator) -> None:
    """Run a copy of a script in a folder outside the checkout."""
    folder.mkdir()
    copy = shutil.copy(script, folder)
    hidden = ("PYTHON", "GOOGLE_", "GEMINI_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"GOOGLE_API_KEY": emulator.api_key, "GOOGLE_GEMINI_BASE_URL": emulator.url}
    emulator.reset()
    subprocess.run([python, copy], cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=300)
    assert emulator.requests, f"{script.name} did not talk to the service it was given"


def main() -> None:
    """Build, install and use the wheel, first without extras."""
    with tempfile.TemporaryDirectory() as temporary, GeminiEmulator() as emulator:
        folder = Path(temporary)
        wheel = build(folder)
        for extras, script in (("", BARE), ("[all]", QUICKSTART)):
            print(f"\n{script.name}, installed as {wheel.name.split('-')[0]}{extras}:", flush=True)
            place = folder / script.stem
            python = install(place.with_suffix(".venv"), f"{wheel}{extras}")
            use(python, script, place, emulator)


if __name__ == "__main__":
    main()
