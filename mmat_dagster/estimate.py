"""What a source will cost before anything is paid for: calls, tokens, dollars and hours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmat_dagster import parts
from mmat_dagster.operators.looking import looks_at
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import Progress
from mmat_dagster.schema import DatasetName, Sample, SourceName, Transcript
from mmat_dagster.spending import Forecast, Quote
from mmat_dagster.stages.reflection import is_mathematical

# So many samples, spread over the source, stand for all.
SAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What `samples` records of a source will take, by dataset and in all; empty for a teacher that costs nothing."""

    source: SourceName
    samples: int
    by_dataset: Mapping[DatasetName, Forecast]
    total: Forecast
    quote: Quote


def estimate(pipeline: Pipeline, source: SourceName) -> Estimate:
    """Estimate all that the teacher will be asked about `source`; its samples are built first, which costs nothing.

    Raises SourceError where the source's folder is not usable.
    """
    built = list(pipeline.build("source_qa", source, _tell_nobody))[-1]
    return estimate_samples(pipeline, built.manifest)


def estimate_samples(pipeline: Pipeline, manifest: Manifest) -> Estimate:
    """Estimate the samples of a `source_qa`, from at most SAMPLES of them."""
    step = max(1, manifest.rows // SAMPLES)
    by_dataset: dict[DatasetName, Forecast] = {}
    looked_at = 0
    for sample in _every(pipeline, manifest, step):
        looked_at += 1
        for dataset, forecast in _forecast(pipeline, sample).items():
            by_dataset[dataset] = by_dataset.get(dataset, Forecast()).plus(forecast)
    share = manifest.rows / max(1, looked_at)
    scaled = {dataset: Forecast().plus(forecast, share) for dataset, forecast in by_dataset.items()}
    total = Forecast()
    for forecast in scaled.values():
        total = total.plus(forecast)
    quote = pipeline.teacher.quote(total)
    return Estimate(source=manifest.source, samples=manifest.rows, by_dataset=scaled, total=total, quote=quote)


def _forecast(pipeline: Pipeline, sample: Sample) -> Mapping[DatasetName, Forecast]:
    looks = looks_at(sample, pipeline.pictures)
    offered = tuple(operator for operator in pipeline.operators.values() if operator.offers(looks))
    silent = Transcript(question=sample.question, image_count=len(sample.images), turns=(), answer=sample.answers[0])
    foreseen = pipeline.teacher.forecast(sample, offered, is_mathematical=is_mathematical(sample, silent))
    if "rationales" not in foreseen:
        return foreseen
    rationale = foreseen["rationales"]
    for operator in offered:
        rationale = rationale.plus(operator.forecast(looks))
    return {**foreseen, "rationales": rationale}


def _every(pipeline: Pipeline, manifest: Manifest, step: int) -> Iterator[Sample]:
    for number, sample in enumerate(parts.read_records(pipeline.store, manifest, Sample)):
        if number % step == 0:
            yield sample


def _tell_nobody(progress: Progress) -> None:
    """Report to nobody: samples are built in seconds."""
