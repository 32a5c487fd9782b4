"""Parts that are not sent as they lie in their file: cut out of it or converted, each file read once, kept on disk."""

from __future__ import annotations

import itertools
import math
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.preparation import EmbedItem
from langchain_gemini_mm.errors import ContentError, GeminiMMError, StoreError
from langchain_gemini_mm.interfaces import Backend, MediaSource, Modality
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.media.media_options import MediaOptions
from langchain_gemini_mm.media.model_limits import check_extent
from langchain_gemini_mm.models import ModelSpec

if TYPE_CHECKING:
    from langchain_gemini_mm.media.av.clip import Clip
    from langchain_gemini_mm.media.av.segments import Cut, Form, Track, Window


LEAD = 0.5
"""A copy may begin at a keyframe before what was asked for, by so much of its length; otherwise it is written anew."""
MADE_BYTES = 64_000_000
"""Most bytes of a made part: it is in memory while it is made. More goes through fewer bits a second."""
_SEEK_COST_S = 10.0
"""What seeking to a place costs, in seconds of recording that could be read meanwhile."""
_PICTURE_TYPES = frozenset({"image/png", "image/jpeg"})

Wanted = Mapping[Part, int]
"""Parts of one file that have to be made, each with the first input that it stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is sent instead of a part."""

    part: Part
    cost: Mapping[Modality, int]
    """Tokens, estimated."""


def wanted_by_file(items: Iterable[EmbedItem]) -> list[Wanted]:
    """Which parts have to be made, those of one file together, equal ones once."""
    files: dict[object, dict[Part, int]] = {}
    for item in items:
        for place in sorted(item.unmade):
            part = item.parts[place]
            file = part.ref.sha256 if part.ref is not None else part.path or part
            files.setdefault(file, {}).setdefault(part, item.position)
    return list(files.values())


def with_made(items: Iterable[EmbedItem], made: Iterable[Mapping[Part, Made]]) -> list[EmbedItem]:
    """The items with what was made in the places of their parts."""
    found = {part: result for results in made for part, result in results.items()}
    return [_filled(item, found) if item.unmade else item for item in items]


def _filled(item: EmbedItem, found: Mapping[Part, Made]) -> EmbedItem:
    parts, costs = list(item.parts), list(item.costs)
    for place in item.unmade:
        result = found[item.parts[place]]
        parts[place], costs[place] = result.part, result.cost
    return replace(item, parts=tuple(parts), costs=tuple(costs), unmade=frozenset())


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes parts as a model on a backend takes them."""

    spec: ModelSpec
    backend: Backend
    options: MediaOptions
    media: MediaSource | None
    inline_limit: int
    """Bytes of a request, base64 counted."""

    def make(self, wanted: Wanted, spool: Spool, stop: Stop) -> dict[Part, Made]:
        """Make all that is wanted of one file, in one reading of it.

        Raises:
            ContentError: the file is damaged, or has no such part; the message says which input asks for it.
        """
        if stop.requested:
            return {}
        first = next(iter(wanted))
        try:
            with first.open(self.media) as file:
                if first.modality == "image":
                    return {part: self._picture(part, file, spool) for part in wanted}
                if first.modality == "pdf":
                    return dict(self._pages(wanted, file, spool, stop))
                return dict(self._segments(wanted, file, spool, stop))
        except GeminiMMError as error:
            if error.args and not str(error.args[0]).startswith("input "):
                error.args = (f"input {wanted[first]}: {error.args[0]}", *error.args[1:])
            raise

    def _picture(self, part: Part, file: BinaryIO, spool: Spool) -> Made:
        from langchain_gemini_mm.media.images.transform import prepared

        limit = self.spec.limit("image", self.backend)
        accepted = frozenset(limit.mime_types) if limit else _PICTURE_TYPES
        most = [edge for edge in (self.options.image_max_edge, limit and limit.pixels_per_side) if edge]
        picture = prepared(
            file, accepted=accepted, max_edge=min(most, default=None), max_bytes=self._most_bytes, name=part.name
        )
        cost = self.options.tokens("image", self.backend)
        if not picture.changed:
            return Made(part=part, cost=cost)
        return Made(part=_spooled(part, picture.data, picture.mime_type, spool), cost=cost)

    def _pages(self, wanted: Wanted, file: BinaryIO, spool: Spool, stop: Stop) -> Iterator[tuple[Part, Made]]:
        from langchain_gemini_mm.media.pdf.pages import opened_pdf

        name = _file_name(next(iter(wanted)))
        with opened_pdf(file, name=name) as paper:
            for part, position in wanted.items():
                ref = part.ref
                if stop.requested or ref is None or ref.first_page is None or ref.last_page is None:
                    return
                if ref.last_page > paper.pages:
                    raise ContentError(
                        f"input {position}: {ref} asks for page {max(ref.first_page, paper.pages + 1):,}, and the PDF "
                        f"has {paper.pages:,} pages. Name pages 1 to {paper.pages:,}"
                    )
                data = paper.cut(ref.first_page, ref.last_page, max_bytes=self._most_bytes)
                cost = self.options.tokens("pdf", self.backend, pages=ref.last_page - ref.first_page + 1)
                yield part, Made(part=_spooled(part, data, "application/pdf", spool), cost=cost)

    def _segments(self, wanted: Wanted, file: BinaryIO, spool: Spool, stop: Stop) -> Iterator[tuple[Part, Made]]:
        windows = self._windows(wanted, file)
        left = dict(wanted)
        try:
            for found in self._cuts(windows, file, _file_name(next(iter(wanted)))):
                if stop.requested:
                    return
                modality: Modality = "audio" if found.track == "audio" else "video"
                for part in windows[modality][found.window]:
                    del left[part]
                    cost = self.options.tokens(modality, self.backend, seconds=found.end_s - found.start_s)
                    yield part, Made(part=_spooled(part, found.data, found.mime_type, spool), cost=cost)
        except ContentError as error:
            raise _explained(error, left, file) from error
        if left:
            raise _explained(None, left, file)

    def _windows(self, wanted: Wanted, file: BinaryIO) -> dict[Modality, dict[Window, list[Part]]]:
        """Which stretches are wanted, in order; a whole track is a stretch, too."""
        from langchain_gemini_mm.media.av.clip import inspect
        from langchain_gemini_mm.media.av.segments import Window

        clip: Clip | None = None
        windows: dict[Modality, dict[Window, list[Part]]] = {"audio": {}, "video": {}}
        for part, position in wanted.items():
            if part.ref is not None and part.ref.start_s is not None and part.ref.end_s is not None:
                window = Window(part.ref.start_s, part.ref.end_s)
            else:
                clip = clip or inspect(file, name=part.name)
                window = Window(0.0, math.ceil(clip.duration_s * 1000) / 1000)
                facts = MediaFacts(
                    mime_type=part.mime_type or "", modality=part.modality, size=part.size, seconds=clip.duration_s
                )
                check_extent(facts, self.spec, self.backend, name=f"input {position}: {part.name}")
            windows[part.modality].setdefault(window, []).append(part)
        return {modality: dict(sorted(found.items())) for modality, found in windows.items()}

    def _cuts(self, windows: Mapping[Modality, Mapping[Window, object]], file: BinaryIO, name: str) -> Iterator[Cut]:
        from langchain_gemini_mm.media.av.cut import cut, segments

        video, audio = list(windows["video"]), list(windows["audio"])
        heard, edge = self.options.audio_track_extraction, self._edge(file) if video else None
        if not _is_sparse([*video, *audio]):
            yield from segments(
                file,
                video=video,
                audio=audio,
                video_form=self._form("video", video, edge),
                audio_form=self._form("audio", audio),
                with_sound=heard,
                name=name,
            )
            return
        pictures: Track | None = None if heard else "video"
        sought: list[tuple[Track | None, Form, Window]] = [
            (pictures, self._form("video", [window], edge), window) for window in video
        ]
        sought += [("audio", self._form("audio", [window]), window) for window in audio]
        for track, form, (start_s, end_s) in sought:
            yield cut(
                file,
                start_s,
                end_s,
                limit_s=form.limit_s,
                track=track,
                max_bytes=form.max_bytes,
                lead_s=form.lead_s,
                mime_types=form.mime_types,
                max_edge=form.max_edge,
                name=name,
            )

    def _edge(self, file: BinaryIO) -> int | None:
        """What pictures are scaled down to; None where they are small enough, for they can be copied then."""
        from langchain_gemini_mm.media.av.clip import inspect

        most = self.options.video_max_edge
        pictures = inspect(file).pictures if most is not None else None
        return most if most is not None and pictures and max(pictures.width, pictures.height) > most else None

    def _form(self, modality: Modality, windows: Sequence[Window], max_edge: int | None = None) -> Form:
        from langchain_gemini_mm.media.av.segments import Form

        limit = self.spec.limit(modality, self.backend)
        if limit is None or limit.seconds is None:
            raise ContentError(f"{self.spec.name} takes no {modality}")
        return Form(
            limit_s=limit.seconds,
            mime_types=limit.mime_types,
            max_bytes=self._most_bytes,
            lead_s=LEAD * min((window.length_s for window in windows), default=0.0),
            max_edge=max_edge,
        )

    @property
    def _most_bytes(self) -> int:
        """Vertex AI takes only what fits into a request."""
        inline = max(self.inline_limit - 1000, 4) // 4 * 3
        return min(MADE_BYTES, inline) if self.backend == "vertex" else MADE_BYTES


def _is_sparse(windows: Sequence[Window]) -> bool:
    """Whether seeking to each window is less work than reading from the beginning to the last one's end."""
    return sum(window.length_s + _SEEK_COST_S for window in windows) < max(window.end_s for window in windows)


def _spooled(part: Part, data: bytes, mime_type: str, spool: Spool) -> Part:
    return Part(modality=part.modality, mime_type=mime_type, size=len(data), path=spool.write(data), label=part.name)


def _file_name(part: Part) -> str:
    return str(part.ref.whole) if part.ref is not None else part.name


def _explained(error: ContentError | None, left: Wanted, file: BinaryIO) -> ContentError:
    """Say which input asks for what the file does not have, after a look at what it has."""
    from langchain_gemini_mm.media.av.clip import inspect

    try:
        clip = inspect(file, name=_file_name(next(iter(left))))
    except ContentError as damaged:
        return error or damaged
    for part, position in left.items():
        start_s = part.ref.start_s if part.ref is not None else None
        if part.modality == "audio" and clip.sound is None:
            return ContentError(
                f"input {position}: {part.name} asks for the sound of a video that has none "
                f"({clip.duration_s:,.2f} s long). Leave track=audio out"
            )
        if part.modality == "video" and clip.pictures is None:
            return ContentError(
                f"input {position}: {part.name} asks for pictures, and the file holds only sound "
                f"({clip.duration_s:,.2f} s long). Name its sound with track=audio"
            )
        if start_s is not None and start_s >= clip.duration_s:
            return ContentError(
                f"input {position}: {part.name} begins at {start_s:,.6g} s, and the file lasts "
                f"{clip.duration_s:,.2f} s. Name a part of it that begins earlier"
            )
    if error is not None:
        return error
    part, position = next(iter(left.items()))
    return ContentError(
        f"input {position}: nothing can be read in {part.name}, though the file lasts {clip.duration_s:,.2f} s: it is "
        "damaged there. Copy or export it again"
    )


class Spool:
    """Keeps made media on disk until it is closed; safe in many threads. The folder is made when it is first needed.

    ```python
    from langchain_gemini_mm._making import Spool

    with Spool() as spool:
        path = spool.write(b"abc")
        assert path.read_bytes() == b"abc"
    assert not path.parent.exists()
    ```
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    @property
    def used(self) -> bool:
        """Whether anything lies on disk."""
        return self._folder is not None

    def write(self, data: bytes) -> Path:
        """Keep `data` as a file.

        Raises:
            StoreError: there is no room.
            ValueError: the spool is closed, so nobody waits for the file any more.
        """
        # Closing waits for a file that is being written, so that nothing is left behind.
        with self._lock:
            if self._closed:
                raise ValueError("the call that this file was made for has ended")
            try:
                return self._written(data)
            except OSError as error:
                raise StoreError(
                    f"cannot keep {len(data):,} bytes of a media file in the temporary folder: {error.strerror}. Make "
                    "room there, or name another folder by the environment variable TMPDIR"
                ) from error

    def _written(self, data: bytes) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gemini-mm-", ignore_cleanup_errors=True)
        path = Path(self._folder.name) / f"{next(self._numbers):06d}"
        path.write_bytes(data)
        return path

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        with self._lock:
            self._closed = True
            if self._folder is not None:
                self._folder.cleanup()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
