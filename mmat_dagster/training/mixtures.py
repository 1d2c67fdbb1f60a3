"""Mixtures: which sources' dialogues a student is trained on together, and the training run that they make."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

from mmat_dagster import parts
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.training.spec import (
    BadRun,
    HyperParameters,
    Ingredient,
    Shard,
    Student,
    TrainingFormat,
    TrainingRun,
    check_run,
)

CheckpointName = Literal["rr_checkpoint", "orr_checkpoint"]
DialoguesName = Literal["rr_dialogues", "orr_dialogues"]

# All that are there, in one training: the paper's own.
WHOLE = "mmat_1m"
MIXTURES: Mapping[str, tuple[SourceName, ...]] = {
    **{source: (source,) for source in get_args(SourceName)},
    WHOLE: get_args(SourceName),
}
DIALOGUES: Mapping[CheckpointName, DialoguesName] = {"rr_checkpoint": "rr_dialogues", "orr_checkpoint": "orr_dialogues"}
FORMATS: Mapping[CheckpointName, TrainingFormat] = {"rr_checkpoint": "rr", "orr_checkpoint": "orr"}
SAVE_EVERY_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Order:
    """A checkpoint that is asked for; a source without a weight has weight 1."""

    checkpoint: CheckpointName
    mixture: str
    student: Student
    hyper: HyperParameters
    weights: Mapping[str, float] = field(default_factory=dict)
    accelerate: str | None = None
    save_every_steps: int = SAVE_EVERY_STEPS
    is_preemptible: bool = False

    @property
    def name(self) -> str:
        """What is trained, as a person says it."""
        return f"{self.checkpoint} of {self.mixture}"

    @property
    def sources(self) -> tuple[SourceName, ...]:
        """The sources to be learned from; raise BadRun where a weight is given to none of the mixture."""
        stray = sorted({*self.weights} - {*MIXTURES[self.mixture]})
        if stray:
            raise BadRun(
                f"{', '.join(stray)} has a weight and is not in the mixture {self.mixture}, which consists of "
                f"{', '.join(MIXTURES[self.mixture])}"
            )
        return tuple(source for source in MIXTURES[self.mixture] if self.weights.get(source, 1.0) != 0)


def make_run(
    pipeline: Pipeline,
    order: Order,
    manifests: Sequence[Manifest],
    world_size: int,
    sources_there: str | None = None,
) -> TrainingRun:
    """Return the training run over datasets that are up to date; raise BadRun where it cannot be meant.

    With `sources_there`, which is where another machine finds the sources, it names what lies in the store as that
    machine reaches it; otherwise all of it is brought here.
    """
    ingredient = _ingredient if sources_there is None else partial(_ingredient_there, sources_there)
    store = pipeline.store
    run = TrainingRun(
        name=order.name,
        mixture=order.mixture,
        student=order.student,
        format=FORMATS[order.checkpoint],
        data=tuple(ingredient(pipeline, order, manifest) for manifest in manifests),
        store_images=str(store.mirror.absolute()) if sources_there is None else store.locate(""),
        hyper=order.hyper,
        world_size=world_size,
        save_every_steps=order.save_every_steps,
    )
    check_run(run)
    return run


def _ingredient(pipeline: Pipeline, order: Order, manifest: Manifest) -> Ingredient:
    pipeline.pictures.bring(_images(pipeline.store, manifest))
    images = str((pipeline.sources / manifest.source).absolute())
    return _made(order, manifest, images, lambda key: str(pipeline.store.fetch(key).absolute()))


def _ingredient_there(sources: str, pipeline: Pipeline, order: Order, manifest: Manifest) -> Ingredient:
    return _made(order, manifest, f"{sources.rstrip('/')}/{manifest.source}", pipeline.store.locate)


def _made(order: Order, manifest: Manifest, images: str, locate: Callable[[str], str]) -> Ingredient:
    folder = parts.folder(manifest.dataset, manifest.source)
    return Ingredient(
        source=manifest.source,
        dataset=DIALOGUES[order.checkpoint],
        fingerprint=manifest.fingerprint,
        weight=order.weights.get(manifest.source, 1.0),
        images=images,
        shards=tuple(
            Shard(path=locate(f"{folder}/{part.name}.parquet"), rows=part.rows, sha256=part.sha256)
            for part in manifest.parts
            if part.rows
        ),
    )


def _images(store: Store, manifest: Manifest) -> Iterator[ImageRef]:
    """Yield the images of a dataset; a store that is a folder does not look at them."""
    for table in parts.read_tables(store, manifest, ["images"]):
        rows: Any = table.column("images").to_pylist()
        yield from (ImageRef(**image) for row in rows for image in row)
