"""The test files of other packages: none ends a run, none is lost, and few are wrongly skipped or loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("ffmpeg", "ffprobe", "file")


@pytest.mark.foreign_files
def test_files_of_other_packages(request: pytest.FixtureRequest) -> None:
    """About 1,900 files, compared with what independent readers say about each; the table is printed."""
    if "foreign_files" not in str(request.config.getoption("-m")):
        pytest.skip("downloads source packages: make foreign-files")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} are not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "scripts.foreign_files"],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]
