"""The environment variables that configure a deployment, read in one place.

MMAT_DEPLOYMENT   local (default), aws: a bucket and PostgreSQL, or cluster: several machines and PostgreSQL
MMAT_ENGINE       local (default): the run's process makes all parts; ray: Ray's workers make them, many at once
MMAT_RAY_ADDRESS  a cluster's host:6379, or auto on one of its machines; unset: Ray starts processes of this machine
MMAT_RAY_GPUS     GPUs of an actor that holds a larger model, such as 0.25; default none
MMAT_SOURCES      folder with one sub-folder per source; unset: the generated sample corpus
MMAT_STORE        folder for parts, manifests and images, or s3://bucket/prefix; default ./data/store
MMAT_MIRROR       of a store in a bucket: the folder of this machine for what is used of it, and for caches;
                  default ./data/mirror/bucket/prefix
MMAT_TEACHER      annotations (default, offline) or gpt4o
MMAT_MODEL        the chat model's name; default the GPT-4o snapshot
MMAT_LIMIT        at most so many records of each source, for a first look
MMAT_ALLOW_NON_COMMERCIAL  false leaves out what may not be used commercially; default true
MMAT_VERIFY_IMAGES  false reads the headers of images only; default true: every pixel is decoded
MMAT_BENCHMARKS   folder with one sub-folder per evaluation benchmark, to compare the sources with;
                  default none, and for the sample corpus its own
MMAT_LEAKS        drop (default) leaves out what gives a benchmark away; warn marks it
MMAT_PART_ROWS    rows of a part, the unit that is never done twice; default 5000
MMAT_CONCURRENCY  dialogues and requests under way at once; default 16
MMAT_LEDGER       the reply ledger: an SQLite file or postgresql://...; default ./data/ledger.sqlite
MMAT_BUDGET_USD   the most that all runs may spend together
MMAT_MODE         chat (default), or batch: half price, replies within a day
MMAT_RPM          requests per minute that the provider allows, for all processes together; default: as it tells
MMAT_TPM          tokens per minute, likewise
MMAT_IMAGE_DETAIL auto (default), low, high, or none for a model that cannot see
MMAT_TIMEOUT_S    how long a request may wait for its reply; default 120, more for a slow local model
MMAT_OPERATORS    operators whose backend is not the default one: name=backend, ...; name=off leaves one out
MMAT_OPERATOR_URL    the server of all operators whose backend is http
MMAT_OPERATOR_HOSTS  hosts that it may be on; default: this machine only
MMAT_OPERATOR_TOKEN  its token; read by Dagster when a run starts
MMAT_GROUNDING_DINO  the detector on a hub, as repository or repository@commit, or its folder;
                  default IDEA-Research/grounding-dino-base
MMAT_OPERATOR_CACHE  what operators saw: an SQLite file, postgresql://... or off; default in MMAT_STORE
MMAT_WORKERS      worker processes that look at images; default one per core
MMAT_OBSERVATION_CHARS  longer observations are cut; default 4000
MMAT_JUDGE        who audits dialogues: checks (default, asks nobody), teacher, or a chat model's name
MMAT_JUDGE_URL    the judge's own server, up to and including /v1; default that of the teacher
MMAT_JUDGE_KEY    its key, for a server of its own; read by Dagster when a run starts
MMAT_AUDIT_SAMPLE  so many dialogues of each source are judged by the model, the others by checks; default all
MMAT_SEARCH       corpus (default), google, or google+corpus: a source's own passages where it has some
MMAT_SEARCH_SITES  sites to search, -site for those never to be
MMAT_SEARCH_LANGUAGE  auto (default): of the question; any, or a code such as en
GOOGLE_API_KEY    the search's key; read by Dagster when a run starts
GOOGLE_CSE_ID     the Programmable Search Engine
GOOGLE_SEARCH_URL  a server with the contract of Google's
MMAT_STUDENT      what is trained: tiny (default), smollm2, a folder, or a hub's org/model@revision
MMAT_TRAIN_PROCESSES  processes that train together, one per GPU; default 1
MMAT_TRAINING     where students are trained: local (default), ecs: tasks of AWS, or ray: jobs of a cluster
MMAT_TRAIN_..., MMAT_ECS_..., MMAT_RAY_JOBS  for those machines: see training/places.py
MMAT_INFERENCE    where students answer: transformers (default), vllm, or endpoint: a server that already runs
MMAT_STUDENT_URL  that server, up to and including /v1
MMAT_STUDENT_KEY  its key, where it has one; read by Dagster when a run starts
MMAT_STUDENT_MODEL  what a student is called there; {name} is the name of its weights, and the default
MMAT_HUB_REPO     the dataset repository that releases are pushed to, as organisation/name
HF_TOKEN          the hub's token; read by Dagster when a run starts
MMAT_SETTLE_MINUTES  so long nothing in a source's folder has changed before schedule and sensors ask for it; default 10
MMAT_REBUILD_CRON  when the schedule `weekly` asks for what is stale, in UTC; default 0 3 * * 1, Mondays at 03:00
MMAT_SLACK_TOKEN  a bot's token: Slack is told of runs that fail; read by Dagster when one has
MMAT_SLACK_CHANNEL  where it is told
MMAT_SLACK_URL    a server with the contract of Slack's, such as https://slack-gov.com/api; default Slack's
MMAT_WEBSERVER    the address of Dagster's webserver, for links to runs
OPENAI_API_KEY    the key; read by Dagster when a run starts
OPENAI_BASE_URL   an OpenAI-compatible server; default OpenAI's
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from mmat_dagster.addresses import FORM, is_bare
from mmat_dagster.chat.models import ImageDetail
from mmat_dagster.corpus import BENCHMARKS
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.schema import LeakPolicy
from mmat_dagster.training.places import TrainingPlace, read_training_place
from mmat_dagster.training.spec import BadRun
from mmat_dagster.training.students import find_student

DeploymentName = Literal["local", "aws", "cluster"]
EngineName = Literal["local", "ray"]
ENGINES: dict[str, EngineName] = {name: name for name in get_args(EngineName)}
DEPLOYMENTS: dict[str, DeploymentName] = {name: name for name in get_args(DeploymentName)}
TeacherName = Literal["annotations", "gpt4o"]
ModeName = Literal["chat", "batch"]
MODES: dict[str, ModeName] = {"chat": "chat", "batch": "batch"}
IMAGE_DETAILS: dict[str, ImageDetail] = {name: name for name in get_args(ImageDetail)}
SearchName = Literal["corpus", "google", "google+corpus"]
SEARCHES: dict[str, SearchName] = {name: name for name in get_args(SearchName)}
InferenceName = Literal["transformers", "vllm", "endpoint"]
INFERENCES: dict[str, InferenceName] = {name: name for name in get_args(InferenceName)}
LEAKS: dict[str, LeakPolicy] = {name: name for name in get_args(LeakPolicy)}
TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
TEACHERS: dict[str, TeacherName] = {"annotations": "annotations", "gpt4o": "gpt4o"}
# Who audits besides any chat model that is named.
CHECKS_JUDGE, TEACHER_JUDGE = "checks", "teacher"

DATA = Path("data")


class BadEnvironment(ValueError):
    """An environment variable holds what cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the environment says.

    `store` is the store's folder on this machine: the store itself, or the mirror of the one in `bucket`.
    """

    deployment: DeploymentName
    sources: Path
    is_sample: bool
    store: Path
    bucket: str | None
    engine: EngineName
    ray_address: str | None
    ray_gpus: float | None
    teacher: TeacherName
    model: str | None
    base_url: str | None
    has_key: bool
    limit: int | None
    allow_non_commercial: bool
    verify_images: bool
    benchmarks: Path | None
    leaks: LeakPolicy
    part_rows: int | None
    concurrency: int | None
    ledger: str = field(repr=False)
    names_ledger: bool
    budget_usd: float | None
    mode: ModeName
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout_s: float | None
    image_detail: ImageDetail | None
    operators: Mapping[str, str]
    operator_url: str | None
    operator_hosts: tuple[str, ...]
    has_operator_token: bool
    grounding_dino: str | None
    operator_cache: str | None = field(repr=False)
    names_operator_cache: bool
    workers: int | None
    observation_chars: int | None
    judge: str
    judge_url: str | None
    has_judge_key: bool
    audit_sample: int | None
    search: SearchName
    search_sites: tuple[str, ...]
    search_language: str | None
    has_google_key: bool
    google_engine: str | None
    google_url: str | None
    student: str
    train_processes: int | None
    training: TrainingPlace
    inference: InferenceName
    student_url: str | None
    has_student_key: bool
    student_model: str | None
    hub_repository: str | None
    has_hub_token: bool
    settle_minutes: float | None
    rebuild_cron: str | None
    slack_channel: str | None
    slack_url: str | None
    webserver: str | None

    @property
    def has_shared_ledger(self) -> bool:
        """Say whether the ledger is, or is to be, in PostgreSQL, which other machines can reach."""
        return self.ledger.startswith("postgresql") or self.deployment != "local"

    @property
    def has_default_operator_cache(self) -> bool:
        """Say whether nobody named a cache of what operators saw."""
        return self.operator_cache == _cache("", self.store)

    @property
    def store_location(self) -> str:
        """The store as a person knows it: an absolute path, or a bucket's URL."""
        return self.bucket or str(self.store.absolute())


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Return the settings that `variables` hold; raise BadEnvironment where one cannot be used."""
    sources = variables.get("MMAT_SOURCES", "").strip()
    benchmarks = variables.get("MMAT_BENCHMARKS", "").strip()
    store, bucket = _store(variables)
    return Environment(
        deployment=_deployment(variables),
        sources=Path(sources).expanduser() if sources else sample_folder(),
        is_sample=not sources,
        store=store,
        bucket=bucket,
        engine=_engine(variables),
        ray_address=_ray_address(variables),
        ray_gpus=_amount(variables, "MMAT_RAY_GPUS"),
        teacher=_teacher(variables.get("MMAT_TEACHER", "").strip() or "annotations"),
        model=variables.get("MMAT_MODEL", "").strip() or None,
        base_url=_url(variables, "OPENAI_BASE_URL"),
        has_key=bool(variables.get("OPENAI_API_KEY")),
        limit=_count(variables, "MMAT_LIMIT"),
        allow_non_commercial=_truth(variables, "MMAT_ALLOW_NON_COMMERCIAL"),
        verify_images=_truth(variables, "MMAT_VERIFY_IMAGES"),
        benchmarks=_benchmarks(benchmarks, is_sample=not sources),
        leaks=_leaks(variables.get("MMAT_LEAKS", "").strip() or "drop"),
        part_rows=_count(variables, "MMAT_PART_ROWS"),
        concurrency=_count(variables, "MMAT_CONCURRENCY"),
        ledger=variables.get("MMAT_LEDGER", "").strip() or str(DATA / "ledger.sqlite"),
        names_ledger=bool(variables.get("MMAT_LEDGER", "").strip()),
        budget_usd=_amount(variables, "MMAT_BUDGET_USD"),
        mode=_mode(variables.get("MMAT_MODE", "").strip() or "chat"),
        requests_per_minute=_amount(variables, "MMAT_RPM"),
        tokens_per_minute=_amount(variables, "MMAT_TPM"),
        timeout_s=_amount(variables, "MMAT_TIMEOUT_S"),
        image_detail=_image_detail(variables.get("MMAT_IMAGE_DETAIL", "").strip()),
        operators=_backends(variables.get("MMAT_OPERATORS", "")),
        operator_url=_url(variables, "MMAT_OPERATOR_URL"),
        operator_hosts=_words(variables.get("MMAT_OPERATOR_HOSTS", "")),
        has_operator_token=bool(variables.get("MMAT_OPERATOR_TOKEN")),
        grounding_dino=variables.get("MMAT_GROUNDING_DINO", "").strip() or None,
        operator_cache=_cache(variables.get("MMAT_OPERATOR_CACHE", "").strip(), store),
        names_operator_cache="://" in variables.get("MMAT_OPERATOR_CACHE", ""),
        workers=_count(variables, "MMAT_WORKERS"),
        observation_chars=_count(variables, "MMAT_OBSERVATION_CHARS"),
        judge=_judge(variables),
        judge_url=_url(variables, "MMAT_JUDGE_URL"),
        has_judge_key=bool(variables.get("MMAT_JUDGE_KEY")),
        audit_sample=_count(variables, "MMAT_AUDIT_SAMPLE"),
        search=_search(variables.get("MMAT_SEARCH", "").strip() or "corpus"),
        search_sites=_words(variables.get("MMAT_SEARCH_SITES", "")),
        search_language=variables.get("MMAT_SEARCH_LANGUAGE", "").strip() or None,
        has_google_key=bool(variables.get("GOOGLE_API_KEY")),
        google_engine=variables.get("GOOGLE_CSE_ID", "").strip() or None,
        google_url=_url(variables, "GOOGLE_SEARCH_URL"),
        student=_student(variables.get("MMAT_STUDENT", "").strip() or "tiny"),
        train_processes=_count(variables, "MMAT_TRAIN_PROCESSES"),
        training=_training(variables, bucket),
        inference=_inference(variables),
        student_url=_url(variables, "MMAT_STUDENT_URL"),
        has_student_key=bool(variables.get("MMAT_STUDENT_KEY")),
        student_model=variables.get("MMAT_STUDENT_MODEL", "").strip() or None,
        hub_repository=variables.get("MMAT_HUB_REPO", "").strip() or None,
        has_hub_token=bool(variables.get("HF_TOKEN")),
        settle_minutes=_amount(variables, "MMAT_SETTLE_MINUTES"),
        rebuild_cron=_cron(variables),
        slack_channel=_slack_channel(variables),
        slack_url=_url(variables, "MMAT_SLACK_URL"),
        webserver=variables.get("MMAT_WEBSERVER", "").strip().rstrip("/") or None,
    )


def sample_folder() -> Path:
    """Return where this version's sample corpus lies; another version's lies elsewhere."""
    return DATA / "sample" / code_fingerprint("corpus/*.py", "corpus/*.jsonl")


def _deployment(variables: Mapping[str, str]) -> DeploymentName:
    name = variables.get("MMAT_DEPLOYMENT", "").strip() or "local"
    if name not in DEPLOYMENTS:
        raise BadEnvironment(f"MMAT_DEPLOYMENT is {name!r}; it may be {', '.join(DEPLOYMENTS)}")
    # What is not set is asked for when a run begins: definitions load without it.
    store, ledger = (variables.get(each, "").strip() for each in ("MMAT_STORE", "MMAT_LEDGER"))
    if name == "aws" and store and not store.startswith("s3://"):
        raise BadEnvironment(f"MMAT_DEPLOYMENT is aws, and MMAT_STORE is {store!r}: set it to s3://bucket/prefix")
    if name != "local" and ledger and not ledger.startswith("postgresql"):
        raise BadEnvironment(
            f"MMAT_DEPLOYMENT is {name}, and MMAT_LEDGER is no PostgreSQL: machines that do not share what was paid "
            "pay it again"
        )
    return DEPLOYMENTS[name]


def _engine(variables: Mapping[str, str]) -> EngineName:
    name = variables.get("MMAT_ENGINE", "").strip() or "local"
    if name not in ENGINES:
        raise BadEnvironment(f"MMAT_ENGINE is {name!r}; it may be {' or '.join(ENGINES)}")
    return ENGINES[name]


def _ray_address(variables: Mapping[str, str]) -> str | None:
    address = variables.get("MMAT_RAY_ADDRESS", "").strip()
    ledger = variables.get("MMAT_LEDGER", "").strip()
    if address and _engine(variables) == "local":
        raise BadEnvironment("MMAT_RAY_ADDRESS names a cluster, and MMAT_ENGINE is local: set it to ray")
    if address and not ledger.startswith("postgresql"):
        raise BadEnvironment(
            "MMAT_RAY_ADDRESS names a cluster, and MMAT_LEDGER is no PostgreSQL: machines that do not share what was "
            "paid pay it again"
        )
    return address or None


def _store(variables: Mapping[str, str]) -> tuple[Path, str | None]:
    place = variables.get("MMAT_STORE", "").strip()
    mirror = variables.get("MMAT_MIRROR", "").strip()
    scheme, mark, rest = place.partition("://")
    if not mark:
        return Path(place or DATA / "store").expanduser(), None
    names = rest.strip("/").split("/")
    if scheme != "s3" or not names[0] or {"", ".", ".."} & {*names}:
        raise BadEnvironment(f"MMAT_STORE is {place!r}; it may be a folder, or s3://bucket/prefix")
    return Path(mirror).expanduser() if mirror else DATA.joinpath("mirror", *names), f"s3://{'/'.join(names)}"


def _url(variables: Mapping[str, str], name: str) -> str | None:
    url = variables.get(name, "").strip()
    if url and not is_bare(url):
        # It may hold a secret, and so it is not told.
        raise BadEnvironment(f"{name} must be like {FORM}")
    return url or None


def _teacher(name: str) -> TeacherName:
    if name not in TEACHERS:
        raise BadEnvironment(f"MMAT_TEACHER is {name!r}; it may be {' or '.join(TEACHERS)}")
    return TEACHERS[name]


def _judge(variables: Mapping[str, str]) -> str:
    name = variables.get("MMAT_JUDGE", "").strip() or CHECKS_JUDGE
    teacher = variables.get("MMAT_TEACHER", "").strip() or "annotations"
    if name == TEACHER_JUDGE and teacher == "annotations":
        raise BadEnvironment(
            "MMAT_JUDGE is teacher, and the annotations teacher asks no model: set MMAT_TEACHER=gpt4o, or name a model"
        )
    has_own_server = any(variables.get(each, "").strip() for each in ("MMAT_JUDGE_URL", "MMAT_JUDGE_KEY"))
    if name in (CHECKS_JUDGE, TEACHER_JUDGE) and has_own_server:
        raise BadEnvironment(f"MMAT_JUDGE_URL and MMAT_JUDGE_KEY are for a model, and MMAT_JUDGE is {name}: name one")
    return name


def _mode(name: str) -> ModeName:
    if name not in MODES:
        raise BadEnvironment(f"MMAT_MODE is {name!r}; it may be {' or '.join(MODES)}")
    return MODES[name]


def _benchmarks(folder: str, *, is_sample: bool) -> Path | None:
    if folder:
        return Path(folder).expanduser()
    return sample_folder() / BENCHMARKS if is_sample else None


def _leaks(name: str) -> LeakPolicy:
    if name not in LEAKS:
        raise BadEnvironment(f"MMAT_LEAKS is {name!r}; it may be {' or '.join(LEAKS)}")
    return LEAKS[name]


def _truth(variables: Mapping[str, str], name: str) -> bool:
    text = variables.get(name, "").strip().casefold() or "true"
    if text not in TRUTHS:
        raise BadEnvironment(f"{name} is {text!r}; it may be true or false")
    return TRUTHS[text]


def _student(name: str) -> str:
    try:
        find_student(name)
    except BadRun as error:
        raise BadEnvironment(f"MMAT_STUDENT: {error}") from error
    return name


def _training(variables: Mapping[str, str], bucket: str | None) -> TrainingPlace:
    # Of `aws` the bucket is asked for when a run begins.
    is_unnamed = not variables.get("MMAT_STORE", "").strip() and _deployment(variables) == "aws"
    try:
        return read_training_place(variables, is_in_bucket=bucket is not None or is_unnamed)
    except BadRun as error:
        raise BadEnvironment(str(error)) from error


def _inference(variables: Mapping[str, str]) -> InferenceName:
    name = variables.get("MMAT_INFERENCE", "").strip() or "transformers"
    if name not in INFERENCES:
        raise BadEnvironment(f"MMAT_INFERENCE is {name!r}; it may be {', '.join(INFERENCES)}")
    if name == "endpoint" and not variables.get("MMAT_STUDENT_URL", "").strip():
        raise BadEnvironment("MMAT_INFERENCE is endpoint: set MMAT_STUDENT_URL to the server, up to and including /v1")
    return INFERENCES[name]


def _cron(variables: Mapping[str, str]) -> str | None:
    # Whether each field is sound, Dagster says when it loads.
    fields = variables.get("MMAT_REBUILD_CRON", "").split()
    if fields and len(fields) != 5:
        raise BadEnvironment(
            f"MMAT_REBUILD_CRON is {' '.join(fields)!r}; it must have five fields, such as '0 3 * * 1'"
        )
    return " ".join(fields) or None


def _slack_channel(variables: Mapping[str, str]) -> str | None:
    """Return where Slack is told; None where no token is set."""
    channel = variables.get("MMAT_SLACK_CHANNEL", "").strip()
    if bool(channel) != bool(variables.get("MMAT_SLACK_TOKEN")):
        raise BadEnvironment("MMAT_SLACK_TOKEN and MMAT_SLACK_CHANNEL go together: set both, or none of them")
    return channel or None


def _search(name: str) -> SearchName:
    if name not in SEARCHES:
        raise BadEnvironment(f"MMAT_SEARCH is {name!r}; it may be {', '.join(SEARCHES)}")
    return SEARCHES[name]


def _image_detail(name: str) -> ImageDetail | None:
    if not name:
        return None
    if name not in IMAGE_DETAILS:
        raise BadEnvironment(f"MMAT_IMAGE_DETAIL is {name!r}; it may be {', '.join(IMAGE_DETAILS)}")
    return IMAGE_DETAILS[name]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _backends(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in _words(text)]
    unclear = next((name for name, mark, backend in pairs if not (name and mark and backend)), None)
    if unclear is not None:
        raise BadEnvironment(
            f"MMAT_OPERATORS holds {unclear!r}; it may hold name=backend, such as ocr=http, and name=off"
        )
    return {name: backend for name, _, backend in pairs}


def _cache(text: str, store: Path) -> str | None:
    return None if text == "off" else text or str(store / "operators.sqlite")


def _amount(variables: Mapping[str, str], name: str) -> float | None:
    text = variables.get(name, "").strip()
    if not text:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (amount > 0 and math.isfinite(amount)):
        raise BadEnvironment(f"{name} is {text!r}; it must be a number above 0")
    return amount


def _count(variables: Mapping[str, str], name: str) -> int | None:
    text = variables.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise BadEnvironment(f"{name} is {text!r}; it must be a whole number above 0")
    return int(text)
