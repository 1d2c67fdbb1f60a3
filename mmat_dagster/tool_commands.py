"""The commands that use tools by hand, or offer them to others: operator, search, serve-..., view, score, cross-check.

What a command needs is imported when it is carried out.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from mmat_dagster.environment import read_environment
from mmat_dagster.evaluation.vlmevalkit_files import DATASETS
from mmat_dagster.processes import cores
from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.viewer.links import HOST, PORT


def add_tool_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands; what they need is imported when one is carried out, as no other command needs it."""
    operator = commands.add_parser("operator", help="have an operator look at images, and print what it sees")
    operator.add_argument("name", metavar="NAME", help="image_caption, label_bbox, ocr, face_detection or your own")
    operator.add_argument("images", metavar="IMAGE", type=Path, nargs="+")
    operator.add_argument("--question", default="", help="what the image is looked at for")
    operator.add_argument("--phrase", action="append", default=[], help="a thing to find; may be repeated")
    operator.add_argument("--backend", help="another one than MMAT_OPERATORS says")
    operator.add_argument("--no-cache", action="store_true", help="look anew, and keep nothing")
    operator.add_argument("--json", action="store_true", help="one JSON object a line")
    operator.set_defaults(command=_operator)
    search = commands.add_parser("search", help="search a corpus offline and print a TREC run, with measures if asked")
    search.add_argument("--corpus", type=Path, required=True, metavar="FILE", help="JSON Lines of passages or articles")
    search.add_argument("--queries", type=Path, required=True, metavar="FILE", help='JSON Lines: {"id", "text"}')
    search.add_argument("--top", type=positive, default=10, metavar="K", help="passages for a query (default 10)")
    search.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the corpus' index there; default: build it anew"
    )
    search.add_argument(
        "--qrels",
        type=Path,
        metavar="FILE",
        help="TREC judgements: print trec_eval's measures to standard error; as there, a query that finds nothing or "
        "that nobody judged does not count",
    )
    search.set_defaults(command=_search)
    serve = commands.add_parser("serve-operators", help="serve operators over HTTP to other machines' runs")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen at (default 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8100, help="default 8100; 0: any that is free")
    serve.add_argument("--operator", action="append", metavar="NAME", help="default: all; may be repeated")
    serve.add_argument("--max-mb", type=positive, default=25, metavar="MB", help="the longest request (default 25)")
    serve.add_argument("--concurrency", type=positive, metavar="N", help="images at once (default: one a core)")
    serve.add_argument("--allowed-host", action="append", metavar="HOST", help="how clients call it; may be repeated")
    serve.add_argument("--no-token", action="store_true", help="let everybody in, whatever the environment holds")
    serve.set_defaults(command=_serve)
    score = commands.add_parser("score", help="score a benchmark's outputs by its publisher's own rule")
    score.add_argument("--benchmark", choices=BENCHMARKS, required=True)
    score.add_argument(
        "--outputs", type=Path, required=True, metavar="PATH", help="a file or folder in the form that is published"
    )
    score.add_argument(
        "--gold",
        type=Path,
        metavar="PATH",
        help="gold answers; default: as the outputs tell, beside them, MMAT_BENCHMARKS",
    )
    score.add_argument("--rule", help="a version of the rule; default: the one that the outputs were made with")
    score.add_argument("--json", action="store_true", help="print JSON: overall, by_category, ...")
    score.set_defaults(command=_score)
    _add_serve_student(commands)
    _add_cross_check(commands)
    _add_view(commands)


def _add_serve_student(commands: "argparse._SubParsersAction[Any]") -> None:
    serve = commands.add_parser("serve-student", help="serve a student over the OpenAI protocol, until Ctrl-C")
    which = serve.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--student", metavar="NAME", help="as it was before training: tiny, smollm2, a folder, or a hub's org/model"
    )
    which.add_argument("--checkpoint", type=Path, metavar="DIR", help="a checkpoint's folder in the store")
    serve.add_argument(
        "--engine", choices=("transformers", "vllm"), default="transformers", help="default transformers"
    )
    serve.add_argument("--port", type=_port, default=0, help="default: any that is free")
    serve.set_defaults(command=_serve_student)


def _add_cross_check(commands: "argparse._SubParsersAction[Any]") -> None:
    check = commands.add_parser(
        "cross-check", help="have VLMEvalKit examine a served student, and compare its score with this project's"
    )
    check.add_argument("--tool", choices=("vlmevalkit",), default="vlmevalkit", help="default: vlmevalkit")
    check.add_argument("--benchmark", choices=DATASETS, required=True)
    check.add_argument(
        "--base-url", required=True, metavar="URL", help="the student's server, up to /v1; its key: LMDEPLOY_API_KEY"
    )
    check.add_argument("--model", required=True, metavar="NAME", help="what the server calls the student")
    check.add_argument(
        "--work-dir", type=Path, default=Path("data/cross-checks"), metavar="DIR", help="default: data/cross-checks"
    )
    check.add_argument("--limit", type=positive, metavar="N", help="ask the first N questions only")
    check.add_argument("--rule", help="a version of the rule; default: the one that made the tool's verdicts")
    check.add_argument("--judge", metavar="MODEL", help="who takes answers out of responses for the tool")
    check.add_argument("--tool-path", type=Path, metavar="DIR", help="VLMEvalKit's repository")
    check.add_argument(
        "--tool-python", type=Path, metavar="FILE", help="its interpreter; default: the .venv in its folder, else this"
    )
    check.add_argument(
        "--data", type=Path, metavar="DIR", help="where its tables of the benchmarks are; default: LMUData, ~/LMUData"
    )
    check.set_defaults(command=_cross_check)


def _add_view(commands: "argparse._SubParsersAction[Any]") -> None:
    view = commands.add_parser("view", help="show the store's dialogues in a browser, on this machine alone")
    view.add_argument("--host", default=HOST, help=f"127.0.0.1, localhost or ::1 (default {HOST})")
    view.add_argument("--port", type=_port, default=PORT, help=f"default {PORT}; 0: any that is free")
    view.add_argument(
        "--cache", type=Path, metavar="DIR", help="where the index is kept; default ~/.cache/mmat_dagster"
    )
    view.set_defaults(command=_view)


def _operator(options: argparse.Namespace) -> int:
    from mmat_dagster.inspection import Inspection, inspect_images  # noqa: PLC0415

    asked = Inspection(
        name=options.name,
        images=options.images,
        question=options.question,
        phrases=tuple(options.phrase),
        backend=options.backend,
        is_kept=not options.no_cache,
        is_json=options.json,
    )
    return inspect_images(asked)


def _search(options: argparse.Namespace) -> int:
    from mmat_dagster.searching import Search, print_run  # noqa: PLC0415

    search = Search(corpus=options.corpus, queries=options.queries, top_k=options.top, cache=options.cache)
    return print_run(search, options.qrels)


def _score(options: argparse.Namespace) -> int:
    from mmat_dagster.rescoring import Scoring, score  # noqa: PLC0415

    scoring = Scoring(
        benchmark=options.benchmark,
        outputs=options.outputs,
        gold=options.gold,
        rule=options.rule,
        benchmarks=read_environment(os.environ).benchmarks,
        as_json=options.json,
    )
    return score(scoring)


def _cross_check(options: argparse.Namespace) -> int:
    from mmat_dagster.cross_checking import CrossChecking, cross_check  # noqa: PLC0415

    asked = CrossChecking(
        benchmark=options.benchmark,
        base_url=options.base_url,
        model=options.model,
        work_dir=options.work_dir,
        limit=options.limit,
        rule=options.rule,
        judge=options.judge,
        tool_path=options.tool_path,
        tool_python=options.tool_python,
        data=options.data,
    )
    return cross_check(asked, os.environ)


def _serve(options: argparse.Namespace) -> int:
    from mmat_dagster.serving import Serving, serve_operators  # noqa: PLC0415

    serving = Serving(
        host=options.host,
        port=options.port,
        names=tuple(options.operator or ()),
        max_bytes=options.max_mb * 1_000_000,
        max_concurrent=options.concurrency or cores(),
        allowed_hosts=tuple(options.allowed_host or ()),
        is_open=options.no_token,
    )
    return serve_operators(serving)


def _serve_student(options: argparse.Namespace) -> int:
    from mmat_dagster.hosting import HandServing, serve_student  # noqa: PLC0415

    asked = HandServing(
        student=options.student, checkpoint=options.checkpoint, engine=options.engine, port=options.port
    )
    return serve_student(asked)


def _view(options: argparse.Namespace) -> int:
    from mmat_dagster.viewing import Viewing, view  # noqa: PLC0415

    return view(Viewing(host=options.host, port=options.port, cache=options.cache))


def positive(text: str) -> int:
    """Return the whole number that an argument holds; it must be above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def share(text: str) -> float:
    """Return the share that an argument holds: 0, or a part of the whole."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be at most 65535")
    return value
