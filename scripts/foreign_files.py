"""Load the test files that other packages ship, and compare with what independent programs say about each file.

```
python -m scripts.foreign_files                    # downloads source packages once, prints the table
python -m scripts.foreign_files --only mutagen     # one package, with a line for each disagreement
```

A file is usable if an independent reader opens it, see `scripts/foreign_readers.py`; uv installs these readers in an
environment of their own. It needs the programs ffmpeg, ffprobe and file. PyAV, pdfplumber and chardet 7 have no test
files of other formats in their source packages; chardet 5 has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from scripts import environment
from scripts.foreign_readers import Verdict

CACHE = environment.ROOT / ".foreign-files"


@dataclass(frozen=True)
class Package:
    """A source package, and the folder in it that has its test files."""

    requirement: str
    folder: str
    corpus: str = "mixed"
    """`mixed`, or what its files are if `file` does not say so: `audio`, `mail`, or `encodings` (named by folders)."""

    @property
    def name(self) -> str:
        """Name without the version."""
        return self.requirement.partition("==")[0]


PACKAGES = (
    Package("pillow==13.0.0", "Tests"),
    Package("mutagen==1.48.1", "tests/data", "audio"),
    Package("pypdf==7.1.1", "."),
    Package("pikepdf==10.18.0", "tests"),
    Package("chardet==5.2.0", "tests", "encodings"),
    Package("html5lib==1.1", "html5lib/tests"),
    Package("mail-parser==4.8.0", "tests/mails", "mail"),
)
READERS = ("pypdf==7.1.1", "cryptography", "pyvips[binary]>=3")
NEEDED = ("ffmpeg", "ffprobe", "file")
_UNSUPPORTED = "a valid image of a kind that neither libvips nor ffmpeg reads"
_CRAFTED = "a header that is wrong on purpose, which the reader ignores; Pillow refuses it"
_HARMLESS = "a header that is wrong on purpose, and does not matter: Pillow shows the image"
_JOHAB = "Johab, of Korean programs around 1990, is not detected"
_AUTODESK = "animations of Autodesk are no documented format"
READER_IS_WRONG: dict[str, str] = {
    "pillow/images/10ct_32bit_128.tiff": _UNSUPPORTED,
    "pillow/images/9bit.j2k": _UNSUPPORTED,
    "pillow/images/bmp/q/rgb32h52.bmp": _UNSUPPORTED,
    "pillow/images/bmp/q/rgba32.bmp": _UNSUPPORTED,
    "pillow/images/bmp/q/rgba32h56.bmp": _UNSUPPORTED,
    "pillow/images/hopper.Lab.tif": _UNSUPPORTED,
    "pillow/images/lab.tif": _UNSUPPORTED,
    "pillow/images/lab-green.tif": _UNSUPPORTED,
    "pillow/images/lab-red.tif": _UNSUPPORTED,
    "pillow/images/old-style-jpeg-compression-no-samplesperpixel.tif": _UNSUPPORTED,
    "pillow/images/apng/syntax_num_frames_zero.png": _HARMLESS,
    "pillow/images/bmp/b/badfilesize.bmp": _HARMLESS,
    "pillow/images/bmp/b/badplanes.bmp": _HARMLESS,
    "pillow/images/bmp/b/badrle.bmp": _HARMLESS,
    "pillow/images/mmap_error.bmp": "its last byte, of padding, is missing",
    "pillow/images/expected_to_read.jp2": _CRAFTED,
    "pillow/images/invalid_header_length.jp2": _CRAFTED,
    "pillow/images/tiff_overflow_rows_per_strip.tif": _CRAFTED,
    "pillow/images/tiff_tiled_jpeg_oob_read.tif": _CRAFTED,
    "pillow/images/truncated_end_chunk.png": "it is cut off, which the reader tolerates",
    "pillow/images/truncated_jpeg.jpg": "it is cut off, which the reader tolerates",
    "pillow/images/trailer_loop.pdf": "pypdf refuses it; PDFium repairs it",
    "mail-parser/mail_test_9": "its subject declares gb2312 and is GBK, as browsers read it; `email` loses a character",
}
"""Files that we are right about, as `package/path`, and why the reader is wrong."""
EXPLAINED: dict[str, str] = {
    "pillow/images/2422.flc": _AUTODESK,
    "pillow/images/a.fli": _AUTODESK,
    "pillow/images/bmp/q/rgba16-4444.bmp": "Pillow does not read BMP with four bits for each colour",
    "pillow/images/hopper_unknown_pixel_mode.tif": "Pillow does not know its mode of pixels",
    "pillow/images/hopper_webp.tif": "the wheels of Pillow are built without WebP inside of TIFF",
    "pypdf/resources/encryption/r5-user-password.pdf": "the password of its owner is empty, which PDFium does not try",
    "pypdf/resources/encryption/r6-user-password.pdf": "the password of its owner is empty, which PDFium does not try",
    "chardet/Johab/hlpro-readme.txt": _JOHAB,
    "chardet/Johab/iyagi-readme.txt": _JOHAB,
    "chardet/Johab/mdir-doc.txt": _JOHAB,
    "chardet/ascii/_mozilla_bug638318_text.html": "it begins with hundreds of NUL bytes, as binary files do",
}
"""Files that we are wrong about, as `package/path`, and why."""
MOST_WRONG = 0.01
"""Share of the files that may not be wrongly skipped, or wrongly loaded."""
MOST_SECONDS = 30.0
"""Longest time for one file."""


def download(cache: Path = CACHE) -> dict[str, Path]:
    """Download and unpack all packages that are not in the cache; return their folders of test files.

    Raises:
        OSError: no connection, or an archive that does not have the hash that the index states.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [package for package in PACKAGES if not (cache / package.name / "complete").exists()]
    if missing:
        (cache / "requirements.txt").write_text("\n".join(package.requirement for package in missing))
        lock = cache / "pylock.toml"
        compiling = ["--no-deps", "--format", "pylock.toml", "--output-file", str(lock)]
        environment.uv("pip", "compile", *compiling, str(cache / "requirements.txt"))
        archives = {one["name"]: one["sdist"] for one in tomllib.loads(lock.read_text())["packages"]}
        for package in missing:
            _unpack(archives[package.name], cache / package.name)
    return {package.name: _single_folder(cache / package.name) / package.folder for package in PACKAGES}


def _unpack(archive: dict, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    packed = folder / "archive.tar.gz"
    with urllib.request.urlopen(archive["url"], timeout=120) as response:  # noqa: S310  from the index
        data = response.read()
    if hashlib.sha256(data).hexdigest() != archive["hashes"]["sha256"]:
        raise OSError(f"{archive['url']} does not have the hash that the index states")
    packed.write_bytes(data)
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    packed.unlink()
    (folder / "complete").touch()


def _single_folder(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.is_dir())


@dataclass
class Loaded:
    """What the loader made of a folder."""

    documents: dict[str, list[dict]] = field(default_factory=dict)
    """Text and metadata of Documents by source."""
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """Reasons in `skipped` by source."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time for each file."""


def load(folder: Path, workers: int = 0) -> Loaded:
    """Load a folder, without its programs."""
    from langchain_gemini_mm import MediaLoader, MediaStore

    found = Loaded()
    last = time.perf_counter()

    def note(source: str, _reason: str | None) -> None:
        nonlocal last
        now = time.perf_counter()
        found.seconds[source] = now - last
        last = now

    with tempfile.TemporaryDirectory() as links:
        loader = MediaLoader(
            folder,
            MediaStore.links(Path(links, "links")),
            exclude=["*.py", "*.pyi", "*.pyc", "LICENSE*"],
            include_hidden=True,
            workers=workers,
            progress=note,
        )
        for document in loader.lazy_load():
            entry = {"text": document.page_content, **document.metadata}
            found.documents.setdefault(document.metadata["source"], []).append(entry)
    for skipped in loader.skipped:
        found.reasons.setdefault(skipped.source, []).append(skipped.reason)
    return found


@dataclass(frozen=True)
class Disagreement:
    """A file on which we and the independent reader disagree."""

    file: str
    kind: str
    """`wrongly skipped`, `wrongly loaded` or `silently lost`."""
    ours: str
    theirs: str

    @property
    def explanation(self) -> str | None:
        """Why, if it is known."""
        return EXPLAINED.get(self.file) or READER_IS_WRONG.get(self.file)

    @property
    def is_ours(self) -> bool:
        """Whether it counts as a fault of the loader."""
        return self.file not in READER_IS_WRONG


@dataclass
class Result:
    """A row of the table."""

    package: str
    files: int = 0
    usable: int = 0
    loaded: int = 0
    aborted: int = 0
    seconds: list[float] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Number of disagreements of a kind."""
        return sum(one.kind == kind and one.is_ours for one in self.disagreements)


def judge(corpus: str, paths: dict[str, Path]) -> dict[str, Verdict]:
    """Ask the independent readers about files, by their sources."""
    question = json.dumps({"corpus": corpus, "paths": {source: str(path) for source, path in paths.items()}})
    readers = [word for requirement in READERS for word in ("--with", requirement)]
    uv = [str(environment.python_of(environment.uv_home())), "-m", "uv", "run", "--quiet", "--no-project", *readers]
    done = subprocess.run(
        [*uv, "python", "-W", "ignore", str(environment.ROOT / "scripts" / "foreign_readers.py")],
        input=question,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=os.environ | environment.uv_settings(),
    )
    return {source: Verdict(**verdict) for source, verdict in json.loads(done.stdout).items()}


def examine(package: Package, folder: Path, workers: int = 0) -> Result:
    """Load the files of one package in a process of its own, and compare."""
    result = Result(package.requirement)
    spawning = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawning) as pool:
            loaded = pool.submit(load, folder, workers).result()
    except (BrokenProcessPool, Exception) as error:  # noqa: BLE001  counted
        print(f"{package.name}: the run was aborted: {error!r}", file=sys.stderr)
        result.aborted = 1
        return result
    paths = {source: folder / source for source in loaded.seconds}
    verdicts = judge(package.corpus, paths)
    result.files = len(paths)
    result.seconds = list(loaded.seconds.values())
    for source, verdict in verdicts.items():
        documents = loaded.documents.get(source, []) + _inside(loaded, source)
        result.usable += verdict.usable
        result.loaded += bool(documents)
        wrong = _compare(source, verdict, documents, loaded.reasons.get(source, []))
        if wrong:
            result.disagreements.append(Disagreement(f"{package.name}/{source}", *wrong))
    return result


def _inside(loaded: Loaded, source: str) -> list[dict]:
    """Documents of attachments and of the mails of a mailbox."""
    return [one for inner, found in loaded.documents.items() if inner.startswith(f"{source}/") for one in found]


def _compare(source: str, verdict: Verdict, documents: list[dict], reasons: list[str]) -> tuple[str, str, str] | None:
    ours = "; ".join(reasons) or f"{len(documents)} Documents"
    if not documents and not reasons:
        return "silently lost", ours, verdict.note
    if verdict.usable and not documents:
        return "wrongly skipped", ours, verdict.note
    if documents and not verdict.usable:
        return "wrongly loaded", f"{documents[0]['mime_type']}: {ours}", verdict.note
    if documents and (difference := verdict.difference(source, documents)):
        return "wrongly loaded", difference, verdict.note
    return None


HEAD = (
    "package", "files", "usable", "loaded", "wrongly skipped", "wrongly loaded", "lost", "reader wrong", "aborted",
    "s per file", "most",
)  # fmt: skip


def summed(results: list[Result]) -> Result:
    """All results as one."""
    total = Result("all")
    for one in results:
        total.files += one.files
        total.usable += one.usable
        total.loaded += one.loaded
        total.aborted += one.aborted
        total.seconds += one.seconds
        total.disagreements += one.disagreements
    return total


def table(results: list[Result]) -> str:
    """The results in Markdown."""
    lines = [" | ".join(HEAD), " | ".join("---" for _ in HEAD), *(" | ".join(_cells(one)) for one in results)]
    return "\n".join(f"| {line} |" for line in lines)


def _cells(result: Result) -> list[str]:
    kinds = ("wrongly skipped", "wrongly loaded", "silently lost")
    theirs = sum(not one.is_ours for one in result.disagreements)
    counts = [result.files, result.usable, result.loaded, *map(result.count, kinds), theirs, result.aborted]
    seconds = result.seconds or [0.0]
    times = [f"{sum(seconds) / len(seconds):.3f}", f"{max(seconds):.1f}"]
    return [result.package, *map(str, counts), *times]


def missed(total: Result) -> list[str]:
    """The targets that are missed: no aborted run, nothing lost, under 1 % wrong, each explained, 30 s for a file."""
    kinds = ("wrongly skipped", "wrongly loaded")
    found = [f"{total.count(kind)} files {kind}" for kind in kinds if total.count(kind) >= MOST_WRONG * total.files]
    if total.aborted:
        found.append(f"{total.aborted} runs aborted")
    if total.count("silently lost"):
        found.append(f"{total.count('silently lost')} files silently lost")
    found += [f"not explained: {one.file}" for one in total.disagreements if one.explanation is None]
    if max(total.seconds, default=0.0) > MOST_SECONDS:
        found.append(f"a file took {max(total.seconds):.0f} s")
    return found


def main() -> None:
    """Print the table, and each disagreement with its explanation."""
    arguments = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    arguments.add_argument("--only", choices=[package.name for package in PACKAGES])
    arguments.add_argument("--workers", type=int, default=0)
    given = arguments.parse_args()
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        sys.exit(f"install {', '.join(missing)} first")
    folders = download()
    chosen = [package for package in PACKAGES if given.only in (None, package.name)]
    results = [examine(package, folders[package.name], given.workers) for package in chosen]
    total = summed(results)
    print(table([*results, total]))
    for one in total.disagreements:
        print(f"- {one.kind} {one.file}: {one.explanation or f'{one.ours} | {one.theirs}'}")
    sys.exit("; ".join(missed(total)) or 0)


if __name__ == "__main__":
    main()
