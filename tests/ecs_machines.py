"""A real ECS, S3 and CloudWatch on loopback, with machines: moto's server, whose tasks really run, in one process.

    python -m tests.ecs_machines PORT FOLDER

A task's command runs as a process of this machine with the task's variables and no others but PATH and what a role
gives; its lines go to its log stream; it is stopped with its exit code. To stop a task is to send SIGTERM, and SIGKILL
after STOP_S. What moto has no API for is asked for by files in FOLDER:

    <task id>.pid     the task's process
    take              the next look takes all machines back: SIGKILL, and the task's stop code is SpotInterruption
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.logs.models import logs_backends
from moto.moto_api import state_manager
from moto.server import ThreadedMotoServer

from tests.s3_server import CREDENTIALS

ACCOUNT, REGION = "123456789012", "us-east-1"
STOP_S = 30.0
LOOK_EVERY_S = 0.1
TAKE, STOPPED = "take", "STOPPED"
LOG_GROUP, PREFIX, CONTAINER = "/mmat/training", "training", "training"
KEPT = ("PATH", "HOME", "LANG", "OMP_NUM_THREADS", "STAND_IN", "TMPDIR")


class Machines:
    """Runs the tasks of a server."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._folder = address, folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._asked_at: dict[str, float] = {}

    def run(self) -> None:
        """Look for what is to be started, and for what has ended, for ever."""
        while True:
            self._look()
            time.sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        is_taken = (self._folder / TAKE).exists()
        for task in self._tasks():
            if task.last_status == STOPPED:
                continue
            if task.id not in self._running:
                self._start(task)
            process = self._running[task.id]
            if is_taken:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                task.stop_code, task.stopped_reason = "SpotInterruption", "Your Spot Task was interrupted."
                (self._folder / TAKE).unlink(missing_ok=True)
            if task.desired_status == STOPPED:
                self._end(task, process)
            if process.poll() is not None:
                self._put_away(task, process)

    def _tasks(self) -> list[Any]:
        tasks = ecs_backends[ACCOUNT][REGION].tasks
        return [task for of_cluster in list(tasks.values()) for task in list(of_cluster.values())]

    def _start(self, task: Any) -> None:
        (told,) = task.overrides["containerOverrides"]
        log = self._folder / f"{task.id}.log"
        with log.open("wb") as written:
            self._running[task.id] = process = subprocess.Popen(
                told["command"],
                env=self._environment({each["name"]: each["value"] for each in told["environment"]}),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        task.containers[0].runtimeId = f"{task.id}-0"
        (self._folder / f"{task.id}.pid").write_text(str(process.pid))

    def _environment(self, told: dict[str, str]) -> dict[str, str]:
        own = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**own, **CREDENTIALS, "AWS_ENDPOINT_URL": self._address, "no_proxy": "127.0.0.1", **told}

    def _end(self, task: Any, process: "subprocess.Popen[bytes]") -> None:
        now = time.monotonic()
        if task.id not in self._asked_at:
            self._asked_at[task.id] = now
            process.send_signal(signal.SIGTERM)
        elif now - self._asked_at[task.id] > STOP_S:
            os.killpg(process.pid, signal.SIGKILL)

    def _put_away(self, task: Any, process: "subprocess.Popen[bytes]") -> None:
        self._put_log(task)
        code = process.returncode
        task.containers[0].exitCode = code if code >= 0 else 128 - code
        if not hasattr(task, "stop_code"):
            task.stop_code = "EssentialContainerExited"
        task.desired_status = task.last_status = STOPPED

    def _put_log(self, task: Any) -> None:
        logs = logs_backends[ACCOUNT][REGION]
        stream = f"{PREFIX}/{CONTAINER}/{task.id}"
        logs.create_log_stream(LOG_GROUP, stream)
        lines = (self._folder / f"{task.id}.log").read_text(errors="replace").splitlines()
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines if line]
        if events:
            logs.put_log_events(LOG_GROUP, stream, events)


def _stop_task(self: EC2ContainerServiceBackend, cluster_str: str, task_str: str, reason: str) -> Any:
    """Ask for the end, as ECS does; moto's own says at once that it has come."""
    cluster = self._get_cluster(cluster_str)
    task = next(each for arn, each in self.tasks[cluster.name].items() if arn.endswith(task_str.rpartition("/")[2]))
    task.desired_status, task.stopped_reason = STOPPED, reason
    task.stop_code = "UserInitiated"  # type: ignore[attr-defined]
    return task


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    EC2ContainerServiceBackend.stop_task = _stop_task  # type: ignore[method-assign]
    # Otherwise a task goes a step towards its end whenever somebody asks how it is.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1_000_000})
    server = ThreadedMotoServer("127.0.0.1", port)
    server.start()
    machines = threading.Thread(target=Machines(f"http://127.0.0.1:{port}", folder).run, daemon=True)
    machines.start()
    machines.join()


if __name__ == "__main__":
    main()
