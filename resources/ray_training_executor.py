"""Training as a job of a Ray cluster: dagster-ray's Pipes client submits it, and messages come with its lines.

The cluster's machines reach the store by themselves: everybody who sees the cluster's dashboard reads what a job is
told, so no secret is. ray and dagster-ray are imported when a job is submitted.
"""

import os
import secrets
import shlex
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from mmat_dagster.training.executor import TrainingJob
from resources.ray_token import TokenRefused, asking, settle
from resources.training_elsewhere import ENDING_S, Ending, RemoteTrainingExecutor, label_of, require, told_as_failure

KILLED, STOPPED = (-9, 137), "STOPPED"
LABEL = "mmat-training"
MESSAGE = '{"__dagster_pipes_version"'
# How Ray tells of a job whose machine is gone, among others that never began.
LOST = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE")
# As its client tells of a job server that is not there, and of one that refuses.
ERRORS = (ConnectionError, RuntimeError, TokenRefused)


class RayTrainingExecutor(RemoteTrainingExecutor):
    """Has a job of a cluster train."""

    address: str = Field(description="The cluster's job server: http://host:8265.")
    cpus: float | None = Field(default=None, gt=0, description="CPUs to ask for.")
    memory_gb: float | None = Field(default=None, gt=0, description="Memory to ask for.")

    def run_job(self, context: dg.AssetExecutionContext, job: TrainingJob, command: Sequence[str]) -> Ending:
        """Run a job to its end."""
        from dagster_ray import PipesRayJobClient  # noqa: PLC0415

        executor = self

        class Client(PipesRayJobClient):  # type: ignore[misc]
            def _terminate(self, context: Any, job_id: str) -> None:
                # Its lines are read until it has ended: who stops reading before that fails.
                super()._terminate(context, job_id)
                executor.await_end(self.client, [job_id])

        pipes = Client(address=self.address, poll_interval=self.look_every_s)
        submission = f"{label_of(job)}-{secrets.token_hex(4)}"
        try:
            pipes.run(context=context.op_execution_context, submit_job_params=self.submission(job, command, submission))
        except RuntimeError as error:  # it has failed, or was stopped
            context.log.debug(str(error))
        return self.ending(pipes.client, submission)

    def submission(self, job: TrainingJob, command: Sequence[str], name: str) -> Any:
        """Return what the job server is asked for."""
        needs = job.needs
        gpus = self.gpus if needs.gpus is None else needs.gpus
        cpus = self.cpus if needs.cpus is None else needs.cpus
        memory_gb = self.memory_gb if needs.memory_gb is None else needs.memory_gb
        stop_s = round(self.termination_timeout_s + ENDING_S / 2)
        return {
            "entrypoint": shlex.join(command),
            "submission_id": name,
            "metadata": {LABEL: label_of(job)},
            # Ray gives a job 3 s to end unless told otherwise.
            "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(stop_s)}},
            **({"entrypoint_num_gpus": float(gpus)} if gpus else {}),
            **({"entrypoint_num_cpus": cpus} if cpus else {}),
            **({"entrypoint_memory": round(memory_gb * 2**30)} if memory_gb else {}),
        }

    def end_leftovers(self, job: TrainingJob) -> bool:
        """Stop the job's submissions, and wait until they have ended."""
        require("dagster_ray", "ray")
        with told_as_failure("Ray", ERRORS):
            settle(os.environ, self.address)
            from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

            with asking(f"the job server {self.address}"):
                return self._end(job, JobSubmissionClient(self.address))

    def _end(self, job: TrainingJob, client: Any) -> bool:
        found = [
            each.submission_id
            for each in client.list_jobs()
            if each.submission_id
            and (each.metadata or {}).get(LABEL) == label_of(job)
            and not each.status.is_terminal()
        ]
        for submission in found:
            client.stop_job(submission)
        self.await_end(client, found)
        return bool(found)

    def await_end(self, client: Any, submissions: Sequence[str]) -> None:
        """Wait until jobs that are to end have ended."""
        deadline = time.monotonic() + self.termination_timeout_s + ENDING_S
        while time.monotonic() < deadline:
            if all(client.get_job_status(each).is_terminal() for each in submissions):
                return
            time.sleep(min(self.look_every_s, 1))

    def ending(self, client: Any, submission: str) -> Ending:
        """Return how a job has ended, as the job server tells."""
        told = client.get_job_info(submission)
        code, kind = told.driver_exit_code, str(told.error_type or "")
        first = (told.message or "Ray does not say why").splitlines()[0]
        return Ending(
            code=code,
            why=f"its job ended with exit code {code} ({told.status}): {first}",
            tail=self._tail(client, submission),
            is_lost=code in KILLED or str(told.status) == STOPPED or any(mark in kind for mark in LOST),
        )

    def _tail(self, client: Any, submission: str) -> str:
        try:
            told = client.get_job_logs(submission)
        except RuntimeError:  # the machine that has them is gone
            return ""
        lines = [line for line in told.splitlines() if line.strip() and not line.startswith(MESSAGE)]
        return "\n".join(lines[-self.tail_lines :])
