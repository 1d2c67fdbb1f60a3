"""What `deploy/` holds works: definitions and instances load, and the compose file names what is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dagster._core.instance.config import dagster_instance_config

from mmat_dagster.environment import DEPLOYMENTS
from tests.live_deployment import DEPLOY, ROOT, clean, compose


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_definitions_load_without_credentials_or_network(deployment: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "mmat_dagster.definitions"],
        cwd=tmp_path,
        env=clean({"MMAT_DEPLOYMENT": deployment, "DAGSTER_HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Validation successful" in ended.stderr + ended.stdout


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_an_instance_is_one_that_dagster_knows(
    deployment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMAT_DAGSTER_DB", "postgresql+psycopg2://host/dagster")
    monkeypatch.setenv("MMAT_LOGS_BUCKET", "logs")
    shutil.copy(DEPLOY / deployment / "dagster.yaml", tmp_path)
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"]["postgres"]["postgres_url"] == {"env": "MMAT_DAGSTER_DB"}
    assert config["telemetry"] == config["nux"] == {"enabled": False}


def test_compose_names_what_is_there() -> None:
    services = compose()["services"]
    assert {*services} == {"postgres", "code", "webserver", "daemon"}
    for name in ("code", "webserver", "daemon"):
        assert services[name]["restart"] == "unless-stopped"
        program, *arguments = services[name]["command"]
        assert shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        files = [argument for argument in arguments if argument.endswith(".yaml")]
        assert all((ROOT / file).is_file() for file in files)
    assert services["webserver"]["ports"] == ["127.0.0.1:3000:3000"]
    for deployment in DEPLOYMENTS:
        lines = (DEPLOY / deployment / "mmat.env").read_text().splitlines()
        names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
        assert "MMAT_STORE" in names
        assert not [name for name in names if re.search("KEY|TOKEN|PASSWORD|SECRET", name)]
