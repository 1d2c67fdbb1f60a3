"""The environment reaches the teacher's resource, and no secret stands in what Dagster shows of it."""

from typing import Any

import dagster as dg
import pytest

from mmat_dagster.environment import BadEnvironment, read_environment
from resources.deployments import DEPLOYMENTS
from resources.ecs_training_executor import EcsTrainingExecutor
from resources.gpt4o import LEDGER, GPT4o
from resources.judges import ChecksAlone, TeachersModelJudge
from resources.ray_engine import ThisProcess
from resources.ray_training_executor import RayTrainingExecutor
from resources.s3_store import S3Store
from resources.teachers import AnnotationsTeacherResource, PromptedTeacherResource
from resources.training_executor import LocalTrainingExecutor

TEACHER = {"MMAT_TEACHER": "gpt4o"}
SECRETS = {"OPENAI_API_KEY": "sk-secret", "MMAT_LEDGER": "postgresql://teacher:secret@host/ledger"}


def pipeline_of(variables: dict[str, str]) -> Any:
    return DEPLOYMENTS["local"](read_environment(variables))["pipeline"]


def model_of(variables: dict[str, str]) -> GPT4o:
    teacher = pipeline_of({**TEACHER, **variables}).nested_resources["teacher"]
    assert isinstance(teacher, PromptedTeacherResource)
    model = teacher.nested_resources["chat_model"]
    assert isinstance(model, GPT4o)
    return model


def test_without_a_word_the_teacher_works_offline() -> None:
    assert isinstance(pipeline_of({}).nested_resources["teacher"], AnnotationsTeacherResource)


def test_what_the_environment_does_not_say_is_the_resource_s_own() -> None:
    model, usual = model_of({}), GPT4o()
    named = {"api_key", "ledger", "shelf"}
    assert {name for name in GPT4o.model_fields if getattr(model, name) != getattr(usual, name)} <= named
    assert f"sqlite:///{model.ledger}" == LEDGER
    assert model.shelf == "data/store/scaled"


def test_every_variable_reaches_the_model() -> None:
    model = model_of(
        {
            "MMAT_MODEL": "tiny",
            "OPENAI_BASE_URL": "http://host/v1",
            "MMAT_CONCURRENCY": "200",
            "MMAT_BUDGET_USD": "5",
            "MMAT_MODE": "batch",
            "MMAT_RPM": "500",
            "MMAT_TPM": "30000",
            "MMAT_TIMEOUT_S": "600",
            "MMAT_IMAGE_DETAIL": "low",
        }
    )
    assert (model.model, model.base_url, model.concurrency, model.mode) == ("tiny", "http://host/v1", 200, "batch")
    assert (model.budget_usd, model.requests_per_minute, model.tokens_per_minute) == (5.0, 500.0, 30_000.0)
    assert (model.timeout_s, model.image_detail) == (600.0, "low")


def judge_of(variables: dict[str, str]) -> Any:
    return pipeline_of(variables).nested_resources["judge"]


def test_dialogues_are_audited_by_checks_unless_a_judge_is_named() -> None:
    assert isinstance(judge_of({}), ChecksAlone)
    assert isinstance(judge_of({**TEACHER, "MMAT_JUDGE": "teacher"}), TeachersModelJudge)
    assert pipeline_of({"MMAT_JUDGE": "tiny", "MMAT_AUDIT_SAMPLE": "7"}).audit_sample == 7


def engine_of(variables: dict[str, str]) -> Any:
    return pipeline_of(variables).nested_resources["engine"]


def test_the_runs_own_process_makes_parts_unless_ray_is_named() -> None:
    assert isinstance(engine_of({}), ThisProcess)
    here = engine_of({"MMAT_ENGINE": "ray", "MMAT_WORKERS": "3"})
    assert (here.address, here.model_workers, here.gpus_per_model) == (None, 3, 0.0)
    assert here.ledger == "data/ledger.sqlite"
    cluster = {"MMAT_ENGINE": "ray", "MMAT_RAY_ADDRESS": "10.0.0.1:6379", "MMAT_LEDGER": "postgresql://u:secret@db/l"}
    there = engine_of({**cluster, "MMAT_RAY_GPUS": "0.25"})
    assert (there.address, there.gpus_per_model) == ("10.0.0.1:6379", 0.25)
    assert isinstance(there.ledger, dg.EnvVar)


def test_a_judge_asks_the_teachers_server_with_its_key_or_its_own_with_its_own() -> None:
    shared = {"MMAT_JUDGE": "tiny", "OPENAI_API_KEY": "sk-teacher", "OPENAI_BASE_URL": "http://teacher/v1"}
    model = judge_of(shared).nested_resources["chat_model"]
    assert (model.model, model.base_url) == ("tiny", "http://teacher/v1")
    assert "OPENAI_API_KEY" in str(judge_config(shared))
    own = {**shared, "MMAT_JUDGE_URL": "http://judge/v1"}
    assert judge_of(own).nested_resources["chat_model"].base_url == "http://judge/v1"
    assert "OPENAI_API_KEY" not in str(judge_config(own))
    keyed = {**own, "MMAT_JUDGE_KEY": "sk-judge"}
    assert "MMAT_JUDGE_KEY" in str(judge_config(keyed))
    assert "sk-" not in str(judge_config(keyed)) + repr(judge_of(keyed))


def judge_config(variables: dict[str, str]) -> Any:
    """Return how Dagster shows the judge's model."""
    return judge_of(variables).nested_resources["chat_model"]._config_schema.default_value


def test_the_web_is_searched_where_it_is_asked_for() -> None:
    variables = {
        "MMAT_SEARCH": "google+corpus",
        "MMAT_SEARCH_SITES": "en.wikipedia.org, -huggingface.co",
        "MMAT_SEARCH_LANGUAGE": "en",
        "MMAT_BUDGET_USD": "5",
        "GOOGLE_API_KEY": "AIza-secret",
        "GOOGLE_CSE_ID": "engine",
        "GOOGLE_SEARCH_URL": "http://127.0.0.1:1/search",
    }
    pipeline = pipeline_of(variables)
    both = pipeline.nested_resources["search"]
    web = both.nested_resources["web"]
    assert (type(both).__name__, type(both.nested_resources["own"]).__name__) == ("OwnPassagesFirst", "BM25Search")
    assert (web.engine_id, web.endpoint, web.language) == ("engine", "http://127.0.0.1:1/search", "en")
    assert (web.sites, web.not_sites, web.budget_usd) == (["en.wikipedia.org"], ["huggingface.co"], 5.0)
    assert "AIza-secret" not in repr(pipeline) + str(pipeline._config_schema.default_value)
    assert type(pipeline_of({}).nested_resources["search"]).__name__ == "BM25Search"


def test_what_is_trained_and_by_how_many_is_said_by_the_environment() -> None:
    usual, told = DEPLOYMENTS["local"](read_environment({})), {"MMAT_STUDENT": "smollm2", "MMAT_TRAIN_PROCESSES": "8"}
    assert (usual["student"].name, usual["training_executor"].world_size) == ("tiny", 1)
    chosen = DEPLOYMENTS["local"](read_environment(told))
    assert (chosen["student"].name, chosen["training_executor"].world_size) == ("smollm2", 8)


def test_students_are_trained_where_the_environment_says() -> None:
    assert isinstance(executor_of({}), LocalTrainingExecutor)
    ecs = executor_of(
        {
            "MMAT_TRAINING": "ecs",
            "MMAT_STORE": "s3://data/mmat",
            "MMAT_TRAIN_PROCESSES": "8",
            "MMAT_TRAIN_GPUS": "8",
            "MMAT_ECS_CLUSTER": "gpus",
            "MMAT_ECS_TASK": "mmat-training:3",
            "MMAT_ECS_SPOT": "gpus-spot",
            "MMAT_ECS_SUBNETS": "subnet-1, subnet-2",
        }
    )
    assert isinstance(ecs, EcsTrainingExecutor)
    assert (ecs.cluster, ecs.task_definition, ecs.container) == ("gpus", "mmat-training:3", "training")
    assert (ecs.world_size, ecs.gpus, ecs.spot_capacity_provider) == (8, 8, "gpus-spot")
    assert ecs.subnets == ["subnet-1", "subnet-2"]
    assert ecs.sources_there("/data/sources") == "/data/sources"
    jobs = {"MMAT_TRAINING": "ray", "MMAT_RAY_JOBS": "http://head:8265", "MMAT_TRAIN_SOURCES": "s3://data/sources"}
    ray = executor_of(jobs)
    assert isinstance(ray, RayTrainingExecutor)
    assert (ray.address, ray.sources_there("/data/sources")) == ("http://head:8265", "s3://data/sources")
    assert LocalTrainingExecutor().sources_there("/data/sources") is None


def executor_of(variables: dict[str, str]) -> Any:
    return DEPLOYMENTS["local"](read_environment(variables))["training_executor"]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_named_and_never_read_when_resources_are_made(name: str) -> None:
    pipeline = pipeline_of({**TEACHER, **SECRETS})
    told = repr(pipeline) + str(pipeline._config_schema.default_value) + repr(model_of(SECRETS))
    assert SECRETS[name] not in told
    assert "secret" not in told


def test_a_deployment_of_several_machines_shares_store_and_ledger() -> None:
    made = DEPLOYMENTS["aws"](read_environment({"MMAT_DEPLOYMENT": "aws", "MMAT_STORE": "s3://data/mmat"}))
    store = made["pipeline"].nested_resources["store"]
    assert isinstance(store, S3Store)
    assert (store.root, store.locks) == ("s3://data/mmat", dg.EnvVar("MMAT_LEDGER"))
    assert made["outlays"].ledger == dg.EnvVar("MMAT_LEDGER")
    assert made["pipeline"].nested_resources["operator_cache"].url == dg.EnvVar("MMAT_LEDGER")


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"MMAT_DEPLOYMENT": "moon"}, "it may be local, aws, cluster"),
        ({"MMAT_DEPLOYMENT": "aws", "MMAT_STORE": "/data"}, "set it to s3://bucket/prefix"),
        ({"MMAT_DEPLOYMENT": "cluster", "MMAT_LEDGER": "ledger.sqlite"}, "pay it again"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(variables: dict[str, str], told: str) -> None:
    with pytest.raises(BadEnvironment, match=told):
        read_environment(variables)
