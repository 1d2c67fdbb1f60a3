"""The Hugging Face hub as the place that releases are pushed to."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster.release.hub import PushFailed, ReleaseHub
from resources.redaction import Secret

INSTALL = "The hub's client is not installed. Install it with: pip install -e '.[release]'"


class HuggingFaceHub(dg.ConfigurableResource[ReleaseHub], ReleaseHub):
    """Pushes the files of a release; those of the last one that the new one has not are removed.

    What was uploaded before is not uploaded again, so a push that was cut off goes on where it stopped.
    """

    repository_id: str | None = Field(default=None, description="organisation/name; null pushes nowhere.")
    token: str = Field(default="", repr=False, description="A token that may write there.")
    endpoint: str | None = Field(default=None, description="Another hub than huggingface.co.")
    is_private: bool = Field(default=True, description="How a repository is made that is not there yet.")

    @property
    def repository(self) -> str | None:
        """The repository that releases go to."""
        return self.repository_id

    def push(self, folder: Path, repository: str) -> str:
        """Upload `folder` to a dataset repository, which is made where it is not there."""
        if not self.token:
            raise PushFailed(f"No token to push to {repository} with: set HF_TOKEN to one that may write there.")
        try:
            from huggingface_hub import HfApi  # noqa: PLC0415
        except ImportError as error:
            raise PushFailed(INSTALL) from error
        api = HfApi(endpoint=self.endpoint, token=self.token)
        with _failing(repository, Secret(self.token)):
            api.create_repo(repository, repo_type="dataset", private=self.is_private, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                commit_message=f"Release {folder.name}",
                delete_patterns="*",
            )
        return f"{api.endpoint}/datasets/{repository}"


@contextmanager
def _failing(repository: str, token: Secret) -> Iterator[None]:
    """Tell what went wrong on the way to the hub; it names the repository and never the token."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        told = next(iter(token.cleared(str(error)).strip().splitlines()), type(error).__name__)
        raise PushFailed(
            f"The release could not be pushed to {repository}: {told}. It stands in the store; check HF_TOKEN and "
            "MMAT_HUB_REPO, and materialize dataset_release again to push it."
        ) from None  # what is behind it may quote the token
