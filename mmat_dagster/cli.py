"""The commands of `python -m mmat_dagster`: data, money, exports, and tools by hand."""

import argparse
import json
import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from mmat_dagster import parts
from mmat_dagster.datasets import RECORDS, chain
from mmat_dagster.environment import BadEnvironment, read_environment
from mmat_dagster.export import EXPORTERS
from mmat_dagster.export.dialogues import DATASETS as DIALOGUES
from mmat_dagster.interfaces import LedgerError, Store, TeacherUnavailable
from mmat_dagster.reading import Readable, to_text
from mmat_dagster.sampling import sample
from mmat_dagster.schema import DatasetName, Rejection, SourceName
from mmat_dagster.tool_commands import add_tool_commands, positive, share
from mmat_dagster.tools import OperatorUnavailable
from mmat_dagster.training.mixtures import MIXTURES, WHOLE, CheckpointName

DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)
CHECKPOINTS: tuple[CheckpointName, ...] = get_args(CheckpointName)
SCORES = "benchmark_scores"
RELEASE = "dataset_release"
SOURCES: tuple[SourceName, ...] = get_args(SourceName)
BUILD_FIRST = "python -m mmat_dagster materialize rr_dialogues"


def run(arguments: Sequence[str]) -> int:
    """Carry out one command; return the exit code: 0 done, 1 failed, 2 wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (BadEnvironment, LedgerError, OperatorUnavailable, TeacherUnavailable) as error:
        return _fail(str(error))
    except BrokenPipeError:
        if _is_read():
            raise
        sys.stderr.close()
        return 0
    return code


def _is_read() -> bool:
    """Say whether somebody still reads what is printed: not where `show ... | head` has seen enough."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, select.POLLOUT)
    except (OSError, ValueError):  # it is no file
        return True
    return not any(event & select.POLLERR for _, event in poll.poll(0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmat-dagster", description="The MMAT-1M data engine.")
    commands = parser.add_subparsers(required=True, metavar="command")
    materialize = commands.add_parser(
        "materialize", help="build a dataset, or train a checkpoint, and what it stands on; one run per source"
    )
    materialize.add_argument("dataset", choices=(*DATASETS, *CHECKPOINTS, SCORES, RELEASE))
    materialize.add_argument(
        "--source",
        choices=SOURCES,
        action="append",
        help="default: all five; a checkpoint is then trained on them together, and scored; may be repeated",
    )
    materialize.add_argument("--wait", action="store_true", help="with MMAT_MODE=batch: stay until the batches ended")
    materialize.add_argument("--poll-s", type=positive, default=60, metavar="S", help="look so often (default 60)")
    materialize.set_defaults(command=_materialize)
    show = commands.add_parser("show", help="print records of a dataset readably")
    show.add_argument("dataset", choices=DATASETS)
    show.add_argument("--source", choices=SOURCES, action="append", help="default: all five; may be repeated")
    show.add_argument("-n", type=positive, default=1, metavar="N", help="records per source (default 1)")
    show.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N")
    show.add_argument("--reflected", action="store_true", help="only dialogues with a reflection")
    show.add_argument("--rejected", action="store_true", help="what was lost and why, instead of the records")
    show.add_argument("--json", action="store_true", help="one JSON object a line")
    show.set_defaults(command=_show)
    status = commands.add_parser("status", help="print how many records each dataset holds and has lost")
    status.set_defaults(command=_status)
    estimate = commands.add_parser("estimate", help="print what the teacher will cost: calls, tokens, dollars, hours")
    estimate.add_argument("--source", choices=SOURCES, action="append", help="default: all five; may be repeated")
    estimate.set_defaults(command=_estimate)
    ledger = commands.add_parser("ledger", help="print what was paid, by model and dataset")
    ledger.add_argument(
        "--forget-refused",
        action="store_true",
        help="forget requests that a server refused (400): they are asked again, once the server is mended",
    )
    ledger.set_defaults(command=_ledger)
    batches = commands.add_parser("batches", help="submit, poll and collect the teacher's batches, and print them")
    batches.add_argument("--wait", action="store_true", help="stay until one has ended")
    batches.add_argument("--poll-s", type=positive, default=60, metavar="S", help="look so often (default 60)")
    batches.set_defaults(command=_batches)
    sample = commands.add_parser("sample", help="generate source folders in the five published layouts")
    sample.add_argument("--records", type=positive, default=20, metavar="N", help="per source (default 20)")
    sample.add_argument("--out", type=Path, required=True, metavar="DIR")
    sample.add_argument("--source", choices=SOURCES, action="append", help="default: all five; may be repeated")
    sample.add_argument("--seed", type=int, default=0)
    sample.set_defaults(command=_sample)
    _add_export(commands)
    _add_release(commands)
    _add_scores(commands)
    add_tool_commands(commands)
    return parser


def _add_scores(commands: "argparse._SubParsersAction[Any]") -> None:
    scores = commands.add_parser("scores", help="print how students score, and who is better than whom")
    scores.add_argument("--mixture", choices=MIXTURES, default=WHOLE, help=f"default {WHOLE}")
    scores.set_defaults(command=_scores)
    answers = commands.add_parser("answers", help="print how students answered benchmarks, every turn of it")
    answers.add_argument("--mixture", choices=MIXTURES, default=WHOLE, help=f"default {WHOLE}")
    answers.add_argument("--variant", metavar="NAME", help="base, orr, rr, ...; default: all")
    answers.add_argument("--benchmark", metavar="NAME", help="default: all")
    answers.add_argument("-n", type=positive, default=1, metavar="N", help="of each student and benchmark (default 1)")
    answers.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N")
    answers.add_argument("--wrong", action="store_true", help="only what is not right")
    answers.add_argument("--failed", action="store_true", help="only where something went wrong on the way")
    answers.add_argument("--json", action="store_true", help="one JSON object a line")
    answers.set_defaults(command=_answers)


def _add_release(commands: "argparse._SubParsersAction[Any]") -> None:
    release = commands.add_parser("release", help="release all dialogues that are built: files for trainers and hubs")
    release.add_argument(
        "--val-share", type=share, default=0.02, metavar="S", help="hold out this share of the images (default 0.02)"
    )
    release.add_argument("--only-commercial", action="store_true", help="leave out what may not be sold")
    release.add_argument("--min-score", type=share, metavar="S", help="leave out dialogues that the audit finds worse")
    release.add_argument(
        "--push", metavar="ORG/NAME", help="push it to this repository; default: MMAT_HUB_REPO, if set"
    )
    release.set_defaults(command=_release)


def _add_export(commands: "argparse._SubParsersAction[Any]") -> None:
    export = commands.add_parser("export", help="write dialogues as another trainer reads them, with its settings")
    export.add_argument("--trainer", choices=tuple(EXPORTERS), required=True)
    export.add_argument("--format", choices=tuple(DIALOGUES), required=True, help="answer: the control, answers alone")
    export.add_argument("--source", choices=SOURCES, action="append", help="default: all that are built")
    export.add_argument(
        "--release", type=Path, metavar="DIR", help="from a release, with its split; default: the store"
    )
    export.add_argument(
        "--student", metavar="NAME", help="one of the paper's, a folder, or a hub's org/model@revision; see the README"
    )
    export.add_argument(
        "--template", metavar="NAME", help="the trainer's chat template, for a student it does not know"
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR")
    export.add_argument("--overwrite", action="store_true", help="replace the export that is there")
    export.add_argument("--check-images", action="store_true", help="read every image and compare its SHA-256")
    export.add_argument(
        "--val-share", type=share, default=0.0, metavar="S", help="hold out this share of the images (default 0)"
    )
    export.set_defaults(command=_export)


def _materialize(options: argparse.Namespace) -> int:
    # Dagster takes a second to import, and no other command needs it.
    from mmat_dagster.runs import examine, materialize, release, train  # noqa: PLC0415

    if options.dataset == RELEASE:
        return release({})
    if options.dataset == SCORES:
        return examine(tuple(options.source or [WHOLE]))
    if options.dataset in CHECKPOINTS:
        return train(options.dataset, tuple(options.source or [WHOLE]))
    return materialize(
        options.dataset,
        tuple(options.source or SOURCES),
        is_named=bool(options.source),
        wait_s=options.poll_s if options.wait else None,
    )


def _estimate(options: argparse.Namespace) -> int:
    from mmat_dagster.accounting import print_estimates  # noqa: PLC0415

    return print_estimates(tuple(options.source or SOURCES), is_named=bool(options.source))


def _ledger(options: argparse.Namespace) -> int:
    from mmat_dagster.accounting import forget_refused, print_ledger  # noqa: PLC0415

    return forget_refused() if options.forget_refused else print_ledger()


def _batches(options: argparse.Namespace) -> int:
    from mmat_dagster.accounting import print_batches  # noqa: PLC0415

    return print_batches(wait_s=options.poll_s if options.wait else None)


def _show(options: argparse.Namespace) -> int:
    from resources.stores import open_store  # noqa: PLC0415

    environment = read_environment(os.environ)
    store = open_store(environment)
    shown = [_show_source(store, source, options) for source in options.source or SOURCES]
    if not any(shown):
        return _fail(
            f"There is nothing to show: {environment.store_location} holds no {options.dataset} that match. "
            f"Build them with: python -m mmat_dagster materialize {options.dataset}"
        )
    return 0


def _status(options: argparse.Namespace) -> int:  # noqa: ARG001
    # pandas and Dagster take a second each to import, and most commands do not need them.
    from mmat_dagster.frames import status_frame  # noqa: PLC0415
    from resources.stores import open_store  # noqa: PLC0415

    environment = read_environment(os.environ)
    status = status_frame(open_store(environment))
    if status.empty:
        return _fail(f"{environment.store_location} holds no dataset yet. Build one with: {BUILD_FIRST}")
    print(status.to_string(na_rep="-", formatters={"reasons": "  {}".format}, justify="right"))
    return 0


def _show_source(store: Store, source: SourceName, options: argparse.Namespace) -> int:
    records = _rejected(store, options.dataset, source) if options.rejected else _records(store, source, options)
    shown = list(islice(records, options.skip, options.skip + options.n))
    for record in shown:
        print(_printed(record, options.json))
    return len(shown)


def _records(store: Store, source: SourceName, options: argparse.Namespace) -> Iterator[Readable]:
    manifest = parts.read_manifest(store, options.dataset, source)
    if manifest is not None:
        for record in parts.read_records(store, manifest, RECORDS[options.dataset]):
            if not options.reflected or getattr(record, "reflection", "none") != "none":
                yield record


def _rejected(store: Store, dataset: DatasetName, source: SourceName) -> Iterator[Rejection]:
    """Yield what was lost in the stages up to `dataset`."""
    for stage in chain(dataset):
        manifest = parts.read_manifest(store, stage, source)
        if manifest is not None:
            yield from parts.read_rejected(store, manifest)


def _printed(record: Readable | Rejection, is_json: bool) -> str:
    if is_json:
        return json.dumps(asdict(record), ensure_ascii=False)
    if isinstance(record, Rejection):
        return f"{record.record_id}\n  {record.stage}: {record.reason}\n  {record.detail}\n"
    width = min(shutil.get_terminal_size().columns, 140) - 2
    return to_text(record, width, sys.stdout.isatty()) + "\n"


def _scores(options: argparse.Namespace) -> int:
    from mmat_dagster.scoreboards import print_scores  # noqa: PLC0415
    from resources.stores import open_store  # noqa: PLC0415

    return print_scores(open_store(read_environment(os.environ)), options.mixture)


def _answers(options: argparse.Namespace) -> int:
    from mmat_dagster.scoreboards import Wanted, print_answers  # noqa: PLC0415
    from resources.stores import open_store  # noqa: PLC0415

    wanted = Wanted(
        mixture=options.mixture,
        variant=options.variant,
        benchmark=options.benchmark,
        count=options.n,
        skip=options.skip,
        only_wrong=options.wrong,
        only_failed=options.failed,
        as_json=options.json,
    )
    return print_answers(open_store(read_environment(os.environ)), wanted)


def _export(options: argparse.Namespace) -> int:
    from mmat_dagster.exporting import Order, export  # noqa: PLC0415

    if options.release and options.val_share:
        return _fail("a release is split already: --val-share goes with the store alone")
    order = Order(
        trainer=options.trainer,
        form=options.format,
        sources=tuple(dict.fromkeys(options.source or SOURCES)),
        is_named=bool(options.source),
        student=options.student,
        template=options.template,
        out=options.out,
        is_replacing=options.overwrite,
        checks_images=options.check_images,
        val_share=options.val_share,
        release=options.release,
    )
    return export(order)


def _release(options: argparse.Namespace) -> int:
    from mmat_dagster.runs import release  # noqa: PLC0415

    chosen = {
        "val_share": options.val_share,
        "only_commercial": options.only_commercial,
        "min_audit_score": options.min_score,
        "repository": options.push,
    }
    return release(chosen)


def _sample(options: argparse.Namespace) -> int:
    return sample(options, tuple(options.source or SOURCES))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1
