"""Release: all dialogues that exist, as the files that trainers, hubs and people read."""

from typing import Any

import dagster as dg

from assets.audit import dialogue_audit
from assets.build import RUN_ERRORS
from assets.conditions import RELEASE_IS_STALE
from assets.freshness import A_MONTH_OR_A_QUARTER
from assets.integration import orr_dialogues
from assets.partitions import OWNERS
from assets.progress_bar import ProgressBar
from assets.reflection import rr_dialogues
from assets.release_config import ReleaseConfig
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.interfaces import Store
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.release.hub import PushFailed, ReleaseHub
from mmat_dagster.release.ledger import ReadOutlays
from mmat_dagster.release.plan import CODE, Plan, ReleaseRefused, find_data
from mmat_dagster.release.provenance import Facts, code_versions, project_version, prompt_hashes, purposes
from mmat_dagster.release.publishing import CARD, Release, local_folder, publish
from mmat_dagster.release.tables import table
from mmat_dagster.release.validation import BadRelease, validate
from mmat_dagster.release.writing import Report
from mmat_dagster.schema import SourceName

LOG_EVERY_S = 5.0


@dg.asset(
    deps=[
        dg.AssetDep(rr_dialogues, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(orr_dialogues, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(dialogue_audit, partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="release",
    kinds={"parquet", "huggingface"},
    owners=OWNERS,
    code_version=code_fingerprint(*CODE),
    # A run over several sources wants every asset of it to be made in one go.
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=RELEASE_IS_STALE,
    freshness_policy=A_MONTH_OR_A_QUARTER,
)
def dataset_release(
    context: dg.AssetExecutionContext,
    config: ReleaseConfig,
    pipeline: dg.ResourceParam[Pipeline],
    release_hub: dg.ResourceParam[ReleaseHub],
    outlays: dg.ResourceParam[ReadOutlays],
) -> dg.MaterializeResult[None]:
    """The dialogues of all sources that are built, with card and metadata; the last release stays until it is whole."""
    try:
        repository = config.repository or release_hub.repository
        plan = plan_release(pipeline, config, outlays, repository)
        for each in plan.data:
            if each.has_old_audit:
                context.log.warning(f"dialogue_audit of {each.source} is of other dialogues, and is left out")
        with ProgressBar("dialogues", LOG_EVERY_S) as bar:
            release, is_reused = publish(plan, _reporter(context, bar), validate)
        pushed = release_hub.push(local_folder(pipeline.store, release), repository) if repository else None
    except (BadRelease, PushFailed, ReleaseRefused, *RUN_ERRORS) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.log.info(
        f"{pipeline.store.locate(release.prefix)}: {release.splits}, {release.dropped:,} left out"
        + ", as before" * is_reused
    )
    return dg.MaterializeResult(
        metadata=describe_release(pipeline.store, release, pushed, is_reused=is_reused),
        data_version=dg.DataVersion(release.fingerprint),
    )


def plan_release(pipeline: Pipeline, config: ReleaseConfig, outlays: ReadOutlays, repository: str | None) -> Plan:
    """Return what is to be released: everything that the store holds now."""
    data = find_data(pipeline.store)
    facts = Facts(
        version=project_version(),
        code=code_versions(),
        prompts=prompt_hashes(),
        outlays=outlays.read(purposes(each.source for each in data)),
        benchmarks=_benchmarks(pipeline, [each.source for each in data]),
        leaks=pipeline.settings.leaks,
        repository=repository,
    )
    return Plan(store=pipeline.store, pictures=pipeline.pictures, data=data, choices=config.choices(), facts=facts)


def describe_release(store: Store, release: Release, pushed: str | None, *, is_reused: bool) -> dict[str, Any]:
    """Return what the Dagster UI shows of a release."""
    rows = [
        (part.source, part.part, part.licence, f"{part.rr:,}", f"{part.orr:,}", f"{part.images:,}")
        for part in release.parts
    ]
    head = ("source", "part", "licence", "RR", "ORR", "images")
    counts = {f"{form}_{side}": count for form, sides in release.splits.items() for side, count in sides.items()}
    card = store.read(f"{release.prefix}/{CARD}").decode().split("---\n", 2)[-1]
    return {
        "location": dg.MetadataValue.path(store.locate(release.prefix)),
        "dagster/row_count": sum(counts.values()),
        **counts,
        "images": release.images,
        "left_out": release.dropped,
        "bytes": sum(file.bytes for file in release.files),
        "licences": dg.MetadataValue.md(table(head, rows, left=3)),
        "not_for_commercial_use": sum(part.rr for part in release.parts if not part.is_commercial),
        **({"high_quality_share": release.good / release.audited} if release.audited else {}),
        "card": dg.MetadataValue.md(card),
        "reused": is_reused,
        **({"pushed_to": dg.MetadataValue.url(pushed)} if pushed else {}),
    }


def _benchmarks(pipeline: Pipeline, sources: list[SourceName]) -> dict[str, int]:
    index = pipeline.source_parts(sources[0]).benchmark_index() if sources else None
    return {name: counts.items for name, counts in index.counts.items()} if index else {}


def _reporter(context: dg.AssetExecutionContext, bar: ProgressBar) -> Report:
    def report(source: SourceName, done: int, total: int) -> None:
        bar.show(f"dataset_release of {source}", done, total)
        if bar.is_time_to_log():
            context.log.info(f"dataset_release: {done:,} of {total:,} dialogues of {source} written")

    return report
