"""Which resources a deployment consists of: one table."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from mmat_dagster.corpus import encyclopedia
from mmat_dagster.engine import Engine
from mmat_dagster.environment import (
    CHECKS_JUDGE,
    TEACHER_JUDGE,
    DeploymentName,
    EngineName,
    Environment,
    InferenceName,
    SearchName,
    TeacherName,
)
from mmat_dagster.evaluation.hosts import StudentHost
from mmat_dagster.interfaces import JudgeMaker, Teacher
from mmat_dagster.messages import Messenger
from mmat_dagster.staleness import Patience
from mmat_dagster.tools import SearchEngine
from resources.google_search import GoogleSearch
from resources.gpt4o import GPT4o
from resources.hub import HuggingFaceHub
from resources.judges import ChecksAlone, ModelJudge, TeachersModelJudge
from resources.messengers import LogMessenger, SlackMessenger
from resources.operator_cache import OperatorCache
from resources.operators import gathered, given, operators
from resources.outlays import LedgerOutlays
from resources.own_passages import OwnPassagesFirst
from resources.patience import PatienceResource
from resources.pipeline import PipelineResource
from resources.ray_engine import RayEngine, ThisProcess
from resources.search import BM25Search
from resources.stores import StoreResource, open_bucket, open_store
from resources.student_hosts import EndpointHost, TransformersHost, VllmHost
from resources.students import StudentResource
from resources.teachers import AnnotationsTeacherResource, PromptedTeacherResource
from resources.training_executor import LocalTrainingExecutor
from resources.training_executors import EXECUTORS

# Below the store: the folders of servers at work.
SERVING = "serving"


def local(environment: Environment) -> dict[str, Any]:
    """Everything on this machine: needs no key, no network and no accelerator unless the teacher does."""
    return _resources(environment, open_store(environment, _locks(environment)))


def cluster(environment: Environment) -> dict[str, Any]:
    """Several machines: a store that all of them reach, be it a folder or a bucket, and a ledger in PostgreSQL."""
    return _resources(environment, open_store(environment, _locks(environment)))


def aws(environment: Environment) -> dict[str, Any]:
    """Machines of a cloud: the store in a bucket, and a ledger in PostgreSQL."""
    return _resources(environment, open_bucket(environment, _locks(environment)))


def _resources(environment: Environment, store: StoreResource) -> dict[str, Any]:
    tools = operators(environment)
    # Students answer on this machine, or where MMAT_INFERENCE says, wherever they are trained.
    executor = LocalTrainingExecutor(**given(processes=environment.train_processes))
    return {
        **tools,
        "pipeline": PipelineResource(
            sources=str(environment.sources),
            is_sample=environment.is_sample,
            store=store,
            teacher=TEACHERS[environment.teacher](environment, store),
            operators=gathered(tuple(tools)),
            operator_cache=operator_cache(environment),
            search=SEARCHES[environment.search](environment),
            judge=judge(environment),
            engine=ENGINES[environment.engine](environment, store),
            audit_sample=environment.audit_sample,
            limit=environment.limit,
            allow_non_commercial=environment.allow_non_commercial,
            verify_images=environment.verify_images,
            benchmarks=str(environment.benchmarks) if environment.benchmarks else None,
            leaks=environment.leaks,
            **given(workers=environment.workers, part_rows=environment.part_rows, concurrency=environment.concurrency),
        ),
        "release_hub": HuggingFaceHub(
            token=dg.EnvVar("HF_TOKEN") if environment.has_hub_token else "",
            **given(repository_id=environment.hub_repository),
        ),
        "outlays": LedgerOutlays(ledger=_ledger(environment)),
        "patience": patience(environment),
        "messenger": messenger(environment),
        "student": StudentResource(name=environment.student),
        "training_executor": EXECUTORS[environment.training.name](environment),
        "student_host": HOSTS[environment.inference](environment, executor),
    }


def _annotations(environment: Environment, store: StoreResource) -> dg.ConfigurableResource[Teacher]:  # noqa: ARG001
    return AnnotationsTeacherResource()


def _gpt4o(environment: Environment, store: StoreResource) -> dg.ConfigurableResource[Teacher]:
    # Without a key the model says what to do when it is first asked; an EnvVar that is not set would say less.
    key = dg.EnvVar("OPENAI_API_KEY") if environment.has_key else ""
    model = _chat_model(environment, api_key=key, **given(model=environment.model, base_url=environment.base_url))
    return PromptedTeacherResource(chat_model=model, sources=str(environment.sources), store=store)


def patience(environment: Environment) -> dg.ConfigurableResource[Patience]:
    """Return how schedule and sensors look at the sources' folders."""
    return PatienceResource(**given(settle_minutes=environment.settle_minutes))


def messenger(environment: Environment) -> dg.ConfigurableResource[Messenger]:
    """Return who is told of runs that fail."""
    if environment.slack_channel is None:
        return LogMessenger(**given(webserver=environment.webserver))
    return SlackMessenger(
        token=dg.EnvVar("MMAT_SLACK_TOKEN"),
        channel=environment.slack_channel,
        **given(webserver=environment.webserver, api=environment.slack_url),
    )


def judge(environment: Environment) -> dg.ConfigurableResource[JudgeMaker]:
    """Return who audits dialogues."""
    if environment.judge == CHECKS_JUDGE:
        return ChecksAlone()
    if environment.judge == TEACHER_JUDGE:
        return TeachersModelJudge()
    # A key is sent to nobody but whom it is for.
    name, is_there = (
        ("MMAT_JUDGE_KEY", environment.has_judge_key)
        if environment.judge_url or environment.has_judge_key
        else ("OPENAI_API_KEY", environment.has_key)
    )
    url = environment.judge_url or environment.base_url
    key = dg.EnvVar(name) if is_there else ""
    return ModelJudge(chat_model=_chat_model(environment, api_key=key, model=environment.judge, **given(base_url=url)))


def _chat_model(environment: Environment, **whom: Any) -> GPT4o:
    """Return the chat model `whom`, asked as the environment says."""
    return GPT4o(
        ledger=_ledger(environment),
        shelf=str(environment.store / "scaled"),
        mode=environment.mode,
        **whom,
        **given(
            concurrency=environment.concurrency,
            budget_usd=environment.budget_usd,
            requests_per_minute=environment.requests_per_minute,
            tokens_per_minute=environment.tokens_per_minute,
            timeout_s=environment.timeout_s,
            image_detail=environment.image_detail,
        ),
    )


def _corpus(environment: Environment) -> dg.ConfigurableResource[SearchEngine]:
    return BM25Search(corpus=str(encyclopedia()), cache=str(environment.store / "indexes"))


def _google(environment: Environment) -> dg.ConfigurableResource[SearchEngine]:
    sites = environment.search_sites
    return GoogleSearch(
        api_key=dg.EnvVar("GOOGLE_API_KEY") if environment.has_google_key else "",
        ledger=_ledger(environment),
        sites=[site for site in sites if not site.startswith("-")],
        not_sites=[site.removeprefix("-") for site in sites if site.startswith("-")],
        **given(
            engine_id=environment.google_engine,
            endpoint=environment.google_url,
            language=environment.search_language,
            budget_usd=environment.budget_usd,
        ),
    )


def _google_and_corpus(environment: Environment) -> dg.ConfigurableResource[SearchEngine]:
    return OwnPassagesFirst(own=_corpus(environment), web=_google(environment))


def _transformers(environment: Environment, executor: LocalTrainingExecutor) -> dg.ConfigurableResource[StudentHost]:
    return TransformersHost(executor=executor, ledger=_ledger(environment), folder=str(environment.store / SERVING))


def _vllm(environment: Environment, executor: LocalTrainingExecutor) -> dg.ConfigurableResource[StudentHost]:
    return VllmHost(executor=executor, ledger=_ledger(environment), folder=str(environment.store / SERVING))


def _endpoint(environment: Environment, executor: LocalTrainingExecutor) -> dg.ConfigurableResource[StudentHost]:  # noqa: ARG001
    return EndpointHost(
        base_url=environment.student_url or "",
        api_key=dg.EnvVar("MMAT_STUDENT_KEY") if environment.has_student_key else "",
        ledger=_ledger(environment),
        **given(model=environment.student_model, concurrency=environment.concurrency),
    )


def _this_process(environment: Environment, store: StoreResource) -> dg.ConfigurableResource[Engine | None]:  # noqa: ARG001
    return ThisProcess()


def _ray(environment: Environment, store: StoreResource) -> dg.ConfigurableResource[Engine]:
    return RayEngine(
        store=store,
        ledger=_ledger(environment),
        **given(
            address=environment.ray_address,
            model_workers=environment.workers,
            gpus_per_model=environment.ray_gpus,
        ),
    )


def _ledger(environment: Environment) -> Any:
    # A ledger's URL may hold a password: Dagster reads it when a run starts, and shows the variable's name.
    is_shared = environment.names_ledger or environment.has_shared_ledger
    return dg.EnvVar("MMAT_LEDGER") if is_shared else environment.ledger


def _locks(environment: Environment) -> dg.EnvVar | None:
    return dg.EnvVar("MMAT_LEDGER") if environment.has_shared_ledger else None


def operator_cache(environment: Environment) -> OperatorCache:
    """Return the cache of what operators saw."""
    # A URL may hold a password: Dagster reads it when a run starts, and shows the variable's name.
    if environment.names_operator_cache:
        return OperatorCache(url=dg.EnvVar("MMAT_OPERATOR_CACHE"))
    shares = environment.bucket and environment.has_shared_ledger and environment.has_default_operator_cache
    return OperatorCache(url=dg.EnvVar("MMAT_LEDGER") if shares else environment.operator_cache)


TEACHERS: Mapping[TeacherName, Callable[[Environment, StoreResource], dg.ConfigurableResource[Teacher]]] = {
    "annotations": _annotations,
    "gpt4o": _gpt4o,
}
SEARCHES: Mapping[SearchName, Callable[[Environment], dg.ConfigurableResource[SearchEngine]]] = {
    "corpus": _corpus,
    "google": _google,
    "google+corpus": _google_and_corpus,
}
HOSTS: Mapping[InferenceName, Callable[[Environment, LocalTrainingExecutor], dg.ConfigurableResource[StudentHost]]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "endpoint": _endpoint,
}
ENGINES: Mapping[EngineName, Callable[[Environment, StoreResource], dg.ConfigurableResource[Any]]] = {
    "local": _this_process,
    "ray": _ray,
}
DEPLOYMENTS: Mapping[DeploymentName, Callable[[Environment], dict[str, Any]]] = {
    "local": local,
    "aws": aws,
    "cluster": cluster,
}
