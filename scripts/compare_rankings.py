"""Compare the rankings of several modalities in one search, and how well they recognize that nothing matches.

    python -m scripts.compare_rankings
    GOOGLE_API_KEY=... python -m scripts.compare_rankings --live

Prints tables: nDCG@10 of raw, fused (reciprocal ranks of one list per modality), normalized and calibrated rankings, on
synthetic vectors and on the emulator; then balanced accuracy of `min_confidence`. Seeds are fixed, so every run prints
the same. With `--live`, only the sample files are ranked, by the real service, for less than a cent. docs/ranking.md
interprets the tables.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from langchain_gemini_mm import GeminiEmbeddings, Hit, MediaStore
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.ranking import LabelledQuery, Ranking, calibrate
from langchain_gemini_mm.ranking.search import by_modality_flow, plan_ranking, ranked_flow
from langchain_gemini_mm.testing import GeminiEmulator
from langchain_gemini_mm.vectorstores.search import RANK_CONSTANT
from scripts.ranking_media import samples, scenes
from scripts.ranking_overlaps import OVERLAPS, Known, Overlap, balanced, best_threshold, known
from scripts.ranking_worlds import WORLDS, Made, World, made

K = 10
AnyRanking: TypeAlias = Ranking | Literal["fused"]
RANKINGS: tuple[AnyRanking, ...] = ("raw", "fused", "normalized", "calibrated")
SEEDS = (101, 102)
"""These seeds were not used while the constants of the rankings were chosen."""
LABELLED = 8
"""Number of queries used for calibration in the nDCG tables; the others are evaluated."""
LABELLED_FOR_CONFIDENCE = (10, 20)
SETS = 3
"""Number of different sets of labelled queries, each evaluated on all other queries."""
SCENES_SEED = 101
GAPS = (0.0, 0.3, 0.6, 1.0)


def ndcg(ids: Sequence[str], relevant: Mapping[str, float], k: int = K) -> float:
    """Return the normalized discounted cumulative gain: 1 if documents are ordered by descending grade."""
    gain = sum(relevant.get(id_, 0.0) / math.log2(place + 2) for place, id_ in enumerate(ids[:k]))
    best = sum(grade / math.log2(place + 2) for place, grade in enumerate(sorted(relevant.values(), reverse=True)[:k]))
    return gain / best


def ranked(world: Made, query: LabelledQuery, ranking: AnyRanking, k: int = K) -> list[Hit]:
    """Return the ids that one ranking finds."""
    if ranking != "fused":
        (best,) = run(ranked_flow([query.query], plan_ranking(world.store.backend, k, ranking=ranking)))
        return best
    lists = run(by_modality_flow(query.query, plan_ranking(world.store.backend, k))).values()
    hits = [hit for found in lists for hit in found]
    return sorted(hits, key=lambda hit: (-1 / (RANK_CONSTANT + hit.rank), -hit.score))[:k]


def quality(world: Made, labelled: int = LABELLED) -> dict[str, float]:
    """Return the mean nDCG of each ranking over the queries that are not used for calibration."""
    calibrate(world.store, world.labelled[:labelled])
    asked = [query for query in world.labelled[labelled:] if query.relevant]
    return {ranking: float(np.mean([_one(world, query, ranking) for query in asked])) for ranking in RANKINGS}


def _one(world: Made, query: LabelledQuery, ranking: AnyRanking) -> float:
    return ndcg([str(hit.document.id) for hit in ranked(world, query, ranking)], query.relevant)


def confidence(given: Known) -> dict[str, float]:
    """Return the balanced accuracy of "something matches" at a confidence of 0.5 for the first hit.

    For comparison: the best possible accuracy with known distributions, and the best thresholds of the cosine
    similarity and of the probability, chosen in hindsight.
    """
    world = given.made
    truth = {str(query.query): bool(query.relevant) for query in world.labelled}
    best = {ranking: _best(world, ranking) for ranking in ("raw", "normalized")}
    row = {
        "best possible": balanced({name: given.likelihood[name] > 0 for name in truth}, truth),
        "best cosine": best_threshold({name: hit.score for name, hit in best["raw"].items()}, truth),
        "normalized": balanced({name: _is_sure(hit) for name, hit in best["normalized"].items()}, truth),
    }
    for labelled in LABELLED_FOR_CONFIDENCE:
        rows = [_calibrated(world, start, labelled, truth) for start in range(0, SETS * labelled, labelled)]
        row[f"best threshold, {labelled}"], row[f"calibrated, {labelled}"] = np.mean(rows, axis=0).tolist()
    return row


def _calibrated(world: Made, start: int, labelled: int, truth: Mapping[str, bool]) -> tuple[float, float]:
    """Return the accuracy of the best threshold and that of 0.5, on the queries not used for calibration."""
    used = world.labelled[start : start + labelled]
    calibrate(world.store, used)
    hits = _best(world, "calibrated")
    for query in used:
        del hits[str(query.query)]
    left = {name: truth[name] for name in hits}
    best = best_threshold({name: hit.confidence or 0.0 for name, hit in hits.items()}, left)
    return best, balanced({name: _is_sure(hit) for name, hit in hits.items()}, left)


def _best(world: Made, ranking: AnyRanking) -> dict[str, Hit]:
    """Return the first hit of each query."""
    return {str(query.query): ranked(world, query, ranking, 1)[0] for query in world.labelled}


def _is_sure(hit: Hit) -> bool:
    """Whether `min_confidence=0.5` keeps a hit."""
    return (hit.confidence or 0.0) >= 0.5


def print_table(title: str, rows: Iterable[tuple[str, Mapping[str, float]]]) -> None:
    """Print numbers as Markdown, each row as soon as it is computed."""
    print(f"\n{title}\n")
    head = False
    for name, values in rows:
        if not head:
            print(f"| | {' | '.join(values)} |\n|---|{'---|' * len(values)}")
            head = True
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values.values())} |", flush=True)


def mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of several rows."""
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def made_up(worlds: Sequence[World]) -> Iterable[tuple[str, dict[str, float]]]:
    """Yield the rows of synthetic collections."""
    for world in worlds:
        yield world.name, mean_of([quality(made(world, seed)) for seed in SEEDS])


def overlaps(found: Sequence[Overlap]) -> Iterable[tuple[str, dict[str, float]]]:
    """Yield the rows of scores with known overlap, and their mean."""
    rows = []
    for overlap in found:
        rows.append(mean_of([confidence(known(overlap, seed)) for seed in SEEDS]))
        yield overlap.name, rows[-1]
    yield "mean", mean_of(rows)


def emulated(gaps: Sequence[float]) -> Iterable[tuple[str, dict[str, float]]]:
    """Yield the rows of the emulator."""
    for gap in gaps:
        with GeminiEmulator(modality_gap=gap) as emulator:
            yield f"gap {gap:g}", quality(scenes(partial(_embeddings, emulator=emulator), seed=SCENES_SEED))


def sample_files(embeddings: Callable[[MediaStore], GeminiEmbeddings]) -> Iterable[tuple[str, dict[str, float]]]:
    """Yield one row for the sample files."""
    with tempfile.TemporaryDirectory() as folder:
        yield "sample files", quality(samples(Path(folder), embeddings))


def _embeddings(media: MediaStore, *, emulator: GeminiEmulator) -> GeminiEmbeddings:
    return GeminiEmbeddings(media=media, output_dimensionality=768, api_key=emulator.api_key, base_url=emulator.url)


def main() -> None:
    """Print the selected tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--live", action="store_true", help="rank the sample files with the real service")
    parser.add_argument("--quick", action="store_true", help="few rows, to test the script")
    given = parser.parse_args()
    title = f"nDCG@{K} over the queries with an answer, calibrated with {LABELLED} others"
    if given.live:
        print_table(title, sample_files(lambda media: GeminiEmbeddings(media=media, output_dimensionality=768)))
        return
    started, few = time.perf_counter(), 2 if given.quick else None
    print(f"Seeds: {', '.join(map(str, SEEDS))}; collection of the emulator: {SCENES_SEED}.")
    print_table(f"Made-up vectors: {title}", made_up(WORLDS[:few]))
    print_table(f"Emulator: {title}", emulated(GAPS[:few]))
    with GeminiEmulator() as emulator:
        print_table("Emulator: the sample files", sample_files(partial(_embeddings, emulator=emulator)))
    title = "balanced accuracy of min_confidence=0.5; calibrated with so many labelled queries, half without an answer"
    print_table(f"Known overlap: {title}", overlaps(OVERLAPS[:few]))
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
