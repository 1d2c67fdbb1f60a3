"""Training as a task of AWS ECS: dagster-aws's Pipes client starts it, and messages come through the store's bucket.

The task's role reaches the bucket; a token for gated weights is a secret of the task definition. Nothing secret stands
in what a task is told. deploy/aws/training-task.json is a definition; docs/deploy.md tells what it needs.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from mmat_dagster.training.executor import TrainingFailed, TrainingJob
from resources.training_elsewhere import ENDING_S, Ending, RemoteTrainingExecutor, label_of, require, told_as_failure

KILLED, ENDED = 137, "STOPPED"
# Codes of a task that a cloud has taken back.
TAKEN = ("SpotInterruption", "TerminationNotice")
NEVER_STARTED = "TaskFailedToStart"
OUT_OF_MEMORY = "OutOfMemory"
# ECS knows of a task that has ended for an hour, and a training may take weeks.
LOOKS = 10_000_000
MESSAGES_EVERY_S = 5.0


class EcsTrainingExecutor(RemoteTrainingExecutor):
    """Has a task of a cluster train, on spot capacity where the run allows that."""

    cluster: str = Field(description="The cluster's name.")
    task_definition: str = Field(description="The task definition: family, or family:revision.")
    container: str = Field(default="training", description="The container of it that trains.")
    capacity_provider: str | None = Field(default=None, description="Where tasks are placed; null: the cluster's own.")
    spot_capacity_provider: str | None = Field(
        default=None, description="Where those are placed that may be taken back; null: like all others."
    )
    subnets: list[str] = Field(default=[], description="Of a task with a network of its own (awsvpc).")
    security_groups: list[str] = Field(default=[], description="Likewise.")
    assign_public_ip: bool = Field(default=False, description="Whether such a task has an address of the internet.")

    def run_job(self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str]) -> Ending:
        """Run a task to its end."""
        if job.kept is None:
            raise TrainingFailed("A task of ECS has no folder of this machine: set MMAT_STORE to s3://bucket/prefix.")
        client, started = _client("ecs"), list[str]()
        client.meta.events.register("after-call.ecs.RunTask", lambda parsed, **_: note_task(parsed, started))
        with told_as_failure("ECS", _errors()):
            self._run(context, job, command, client)
            return self._ending(client, started[0])

    def _run(self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str], client: Any) -> None:
        from dagster_aws.pipes import PipesECSClient  # noqa: PLC0415

        assert job.kept is not None
        pipes = PipesECSClient(client=client, message_reader=_message_reader(job.kept))
        try:
            pipes.run(
                context=context.op_execution_context,
                run_task_params=self.task(job, command),
                waiter_config={"Delay": self.look_every_s, "MaxAttempts": LOOKS},
            )
        except RuntimeError as error:  # a task that never started, or a container that ended with another code than 0
            context.log.debug(str(error))

    def task(self, job: TrainingJob, command: Sequence[str]) -> Any:
        """Return what ECS's RunTask is asked for."""
        gpus = self.gpus if job.needs.gpus is None else job.needs.gpus
        resources = [{"type": "GPU", "value": str(gpus)}] if gpus else []
        container = {
            "name": self.container,
            "command": list(command),
            **({"resourceRequirements": resources} if resources else {}),
            **({"cpu": round(job.needs.cpus * 1024)} if job.needs.cpus else {}),
            **({"memory": round(job.needs.memory_gb * 1024)} if job.needs.memory_gb else {}),
        }
        provider = (self.spot_capacity_provider if job.is_preemptible else None) or self.capacity_provider
        return {
            "cluster": self.cluster,
            "taskDefinition": self.task_definition,
            "count": 1,
            "startedBy": label_of(job),
            "overrides": {"containerOverrides": [container]},
            **({"capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}]} if provider else {}),
            **({"networkConfiguration": {"awsvpcConfiguration": self._network()}} if self.subnets else {}),
        }

    def end_leftovers(self, job: TrainingJob) -> bool:
        """Stop the job's tasks, and wait until they have ended."""
        require("dagster_aws", "aws")
        client = _client("ecs")
        with told_as_failure("ECS", _errors()):
            found = self._unended(client, job)
            for task in found:
                client.stop_task(cluster=self.cluster, task=task, reason="Nobody waits for this training any more.")
            self._await_end(client, found)
        return bool(found)

    def _unended(self, client: Any, job: TrainingJob) -> list[str]:
        """Return the job's tasks that are at work, those included that have been told to end."""
        asked = {"cluster": self.cluster, "startedBy": label_of(job)}
        found = [
            task
            for status in ("RUNNING", ENDED)
            for task in client.list_tasks(**asked, desiredStatus=status)["taskArns"]
        ]
        told = client.describe_tasks(cluster=self.cluster, tasks=found)["tasks"] if found else []
        return [task["taskArn"] for task in told if task["lastStatus"] != ENDED]

    def _await_end(self, client: Any, tasks: list[str]) -> None:
        deadline = time.monotonic() + self.termination_timeout_s + ENDING_S
        while tasks and time.monotonic() < deadline:
            told = client.describe_tasks(cluster=self.cluster, tasks=tasks)["tasks"]
            if all(task["lastStatus"] == ENDED for task in told):
                return
            time.sleep(min(self.look_every_s, 2))

    def _network(self) -> dict[str, Any]:
        return {
            "subnets": self.subnets,
            "securityGroups": self.security_groups,
            "assignPublicIp": "ENABLED" if self.assign_public_ip else "DISABLED",
        }

    def _ending(self, client: Any, task: str) -> Ending:
        told = client.describe_tasks(cluster=self.cluster, tasks=[task])["tasks"][0]
        container: dict[str, Any] = next((each for each in told["containers"] if each["name"] == self.container), {})
        code, stop_code = container.get("exitCode"), told.get("stopCode")
        reason = container.get("reason") or told.get("stoppedReason") or "ECS does not say why"
        # A machine that is gone tells no exit code.
        is_taken = stop_code in TAKEN or code in (None, KILLED)
        return Ending(
            code=code,
            why=f"its task ended with exit code {code} ({stop_code}): {reason}",
            tail="" if stop_code == NEVER_STARTED else self._tail(client, told),
            is_lost=is_taken and stop_code != NEVER_STARTED and OUT_OF_MEMORY not in reason,
        )

    def _tail(self, client: Any, task: dict[str, Any]) -> str:
        """Return the task's last lines from CloudWatch, where its definition sends them there."""
        definition = client.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
        containers = [each for each in definition["containerDefinitions"] if each["name"] == self.container]
        log = containers[0].get("logConfiguration", {}) if containers else {}
        if log.get("logDriver") != "awslogs":
            return ""
        options, number = log["options"], task["taskArn"].rpartition("/")[2]
        logs = _client("logs")
        try:
            told = logs.get_log_events(
                logGroupName=options["awslogs-group"],
                logStreamName=f"{options['awslogs-stream-prefix']}/{self.container}/{number}",
                limit=self.tail_lines,
            )
        except logs.exceptions.ResourceNotFoundException:
            return ""
        return "\n".join(event["message"] for event in told["events"])


def note_task(parsed: dict[str, Any], started: list[str]) -> None:
    """Take note of the task that ECS has started; raise TrainingFailed where it could place none."""
    if not parsed.get("tasks"):
        reasons = ", ".join(sorted({each.get("reason", "no reason") for each in parsed.get("failures", ())}))
        raise TrainingFailed(f"ECS placed no task: {reasons or parsed.get('Error', {}).get('Message', 'no reason')}")
    started.append(parsed["tasks"][0]["taskArn"])


def _message_reader(kept: str) -> Any:
    """Return what reads the machine's messages from below the job's place in the bucket, which is emptied with it."""
    from dagster_aws.pipes import PipesS3MessageReader  # noqa: PLC0415

    class Reader(PipesS3MessageReader):
        @contextmanager
        def get_params(self) -> Iterator[Any]:
            with super().get_params() as params:
                yield {**params, "key_prefix": f"{parts.path.strip('/')}/messages/{params['key_prefix']}"}

    parts = urlsplit(kept)
    return Reader(bucket=parts.netloc, client=_client("s3"), interval=MESSAGES_EVERY_S)


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    return BotoCoreError, ClientError


def _client(service: str) -> Any:
    import boto3  # noqa: PLC0415

    return boto3.client(service)
