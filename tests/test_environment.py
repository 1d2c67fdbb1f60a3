"""Every variable is read in one place, and one that cannot be used says so by its name."""

from dataclasses import asdict
from pathlib import Path

import pytest

from mmat_dagster.environment import BadEnvironment, read_environment

PASSWORD = "postgresql://teacher:secret@host/ledger"


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"MMAT_TEACHER": "gpt5"}, "MMAT_TEACHER is 'gpt5'; it may be annotations or gpt4o"),
        ({"MMAT_LIMIT": "many"}, "MMAT_LIMIT is 'many'; it must be a whole number above 0"),
        ({"MMAT_PART_ROWS": "0"}, "MMAT_PART_ROWS is '0'"),
        ({"MMAT_CONCURRENCY": "1.5"}, "MMAT_CONCURRENCY is '1.5'; it must be a whole number above 0"),
        ({"MMAT_MODE": "bulk"}, "MMAT_MODE is 'bulk'; it may be chat or batch"),
        ({"MMAT_BUDGET_USD": "$5"}, r"MMAT_BUDGET_USD is '\$5'; it must be a number above 0"),
        ({"MMAT_BUDGET_USD": "0"}, "MMAT_BUDGET_USD is '0'; it must be a number above 0"),
        ({"MMAT_BUDGET_USD": "nan"}, "MMAT_BUDGET_USD is 'nan'"),
        ({"MMAT_RPM": "inf"}, "MMAT_RPM is 'inf'"),
        ({"MMAT_TPM": "-1"}, "MMAT_TPM is '-1'"),
        ({"MMAT_TIMEOUT_S": "soon"}, "MMAT_TIMEOUT_S is 'soon'"),
        ({"MMAT_JUDGE": "teacher"}, "the annotations teacher asks no model: set MMAT_TEACHER=gpt4o"),
        ({"MMAT_JUDGE_URL": "http://host/v1"}, "MMAT_JUDGE_URL and MMAT_JUDGE_KEY are for a model, and MMAT_JUDGE is"),
        ({"MMAT_AUDIT_SAMPLE": "half"}, "MMAT_AUDIT_SAMPLE is 'half'; it must be a whole number above 0"),
        ({"MMAT_LEAKS": "keep"}, "MMAT_LEAKS is 'keep'; it may be drop or warn"),
        ({"MMAT_VERIFY_IMAGES": "never"}, "MMAT_VERIFY_IMAGES is 'never'; it may be true or false"),
        ({"MMAT_ALLOW_NON_COMMERCIAL": "2"}, "MMAT_ALLOW_NON_COMMERCIAL is '2'"),
        ({"MMAT_STUDENT": "gpt"}, "MMAT_STUDENT: 'gpt' is no student: it may be tiny, smollm2"),
        ({"MMAT_ENGINE": "spark"}, "MMAT_ENGINE is 'spark'; it may be local or ray"),
        ({"MMAT_RAY_ADDRESS": "10.0.0.1:6379"}, "MMAT_RAY_ADDRESS names a cluster, and MMAT_ENGINE is local"),
        ({"MMAT_ENGINE": "ray", "MMAT_RAY_ADDRESS": "auto"}, "MMAT_RAY_ADDRESS names a cluster, and MMAT_LEDGER is no"),
        ({"MMAT_ENGINE": "ray", "MMAT_RAY_GPUS": "none"}, "MMAT_RAY_GPUS is 'none'; it must be a number above 0"),
        ({"MMAT_TRAIN_PROCESSES": "0"}, "MMAT_TRAIN_PROCESSES is '0'"),
        ({"MMAT_TRAINING": "moon"}, "MMAT_TRAINING is 'moon'; it may be local, ecs, ray"),
        ({"MMAT_TRAINING": "ecs"}, "MMAT_TRAINING is ecs, whose tasks reach no folder of this machine: set MMAT_STORE"),
        (
            {"MMAT_TRAINING": "ecs", "MMAT_STORE": "s3://data/mmat"},
            "MMAT_TRAINING is ecs: set MMAT_ECS_CLUSTER, too",
        ),
        (
            {"MMAT_TRAINING": "ecs", "MMAT_DEPLOYMENT": "aws", "MMAT_ECS_CLUSTER": "gpus"},
            "MMAT_TRAINING is ecs: set MMAT_ECS_TASK, too",
        ),
        ({"MMAT_TRAINING": "ray"}, "MMAT_TRAINING is ray: set MMAT_RAY_JOBS, too"),
        ({"MMAT_TRAINING": "ray", "MMAT_RAY_JOBS": "ray://head:10001"}, "MMAT_RAY_JOBS must be like http"),
        ({"MMAT_TRAIN_GPUS": "all"}, "MMAT_TRAIN_GPUS is 'all'; it must be a whole number"),
        ({"MMAT_IMAGE_DETAIL": "fine"}, "MMAT_IMAGE_DETAIL is 'fine'; it may be .*low"),
    ],
)
def test_a_variable_that_cannot_be_used_is_told(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadEnvironment, match=complaint):
        read_environment(variables)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_environment_means_the_sample_corpus_and_the_offline_teacher(value: str) -> None:
    names = "SOURCES STORE TEACHER MODEL LIMIT LEDGER BUDGET_USD MODE RPM TPM TIMEOUT_S IMAGE_DETAIL".split()
    environment = read_environment({f"MMAT_{name}": value for name in names})
    assert environment == read_environment({})
    assert (environment.is_sample, environment.teacher, environment.store) == (True, "annotations", Path("data/store"))
    assert (environment.mode, environment.ledger, environment.names_ledger) == ("chat", "data/ledger.sqlite", False)
    assert environment.budget_usd is environment.requests_per_minute is environment.tokens_per_minute is None


def test_what_may_become_a_sample_is_read() -> None:
    environment = read_environment({})
    assert (environment.allow_non_commercial, environment.verify_images) == (True, True)
    assert (environment.benchmarks, environment.leaks) == (environment.sources / "benchmarks", "drop")
    assert read_environment({"MMAT_SOURCES": "/s"}).benchmarks is None
    told = {"MMAT_BENCHMARKS": "/b", "MMAT_LEAKS": "warn", "MMAT_VERIFY_IMAGES": "Off"}
    environment = read_environment({**told, "MMAT_ALLOW_NON_COMMERCIAL": " false "})
    assert (environment.allow_non_commercial, environment.verify_images) == (False, False)
    assert (environment.benchmarks, environment.leaks) == (Path("/b"), "warn")


def test_money_and_limits_are_read_as_numbers() -> None:
    environment = read_environment(
        {
            "MMAT_BUDGET_USD": " 12.5 ",
            "MMAT_MODE": "batch",
            "MMAT_RPM": "500",
            "MMAT_TPM": "3e4",
            "MMAT_LEDGER": PASSWORD,
            "MMAT_TIMEOUT_S": "600",
            "MMAT_IMAGE_DETAIL": "low",
        }
    )
    assert (environment.budget_usd, environment.mode) == (12.5, "batch")
    assert (environment.requests_per_minute, environment.tokens_per_minute) == (500.0, 30_000.0)
    assert (environment.ledger, environment.names_ledger) == (PASSWORD, True)
    assert (environment.timeout_s, environment.image_detail) == (600.0, "low")


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_BASE_URL", "MMAT_JUDGE_URL", "MMAT_STUDENT_URL", "MMAT_OPERATOR_URL"),
        *("GOOGLE_SEARCH_URL", "MMAT_SLACK_URL"),
    ],
)
@pytest.mark.parametrize(
    "url",
    ["https://me:s3cret@host/v1", "https://s3cret@host/v1", "https://host/v1?key=s3cret", "s3cret", "file:///s3cret"],
)
def test_an_address_that_may_hold_a_secret_is_refused_and_not_told(name: str, url: str) -> None:
    judge = {"MMAT_JUDGE": "tiny"}
    with pytest.raises(BadEnvironment, match=f"{name} must be like https://host/v1, without a name") as refused:
        read_environment({**judge, name: url})
    assert "s3cret" not in str(refused.value)
    assert read_environment({**judge, name: "http://127.0.0.1:8000/v1/"})


def test_a_password_in_the_url_of_a_database_is_not_shown() -> None:
    environment = read_environment({"MMAT_LEDGER": PASSWORD, "MMAT_OPERATOR_CACHE": PASSWORD})
    assert (environment.ledger, environment.operator_cache) == (PASSWORD, PASSWORD)
    assert "secret" not in repr(environment)


def test_the_schedule_has_other_times_where_some_are_named() -> None:
    assert read_environment({}).rebuild_cron is None
    assert read_environment({"MMAT_REBUILD_CRON": " 30 22  * * 5 "}).rebuild_cron == "30 22 * * 5"
    with pytest.raises(BadEnvironment, match="MMAT_REBUILD_CRON is 'daily'; it must have five fields"):
        read_environment({"MMAT_REBUILD_CRON": "daily"})


def test_the_key_itself_is_not_kept() -> None:
    environment = read_environment({"OPENAI_API_KEY": "sk-secret"})
    assert environment.has_key
    assert "sk-secret" not in str(asdict(environment))
