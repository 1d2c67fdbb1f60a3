"""How a release is made, as the launchpad and the command line set it."""

import dagster as dg
from pydantic import Field

from mmat_dagster.release.plan import Choices

MEGABYTE = 1_000_000


class ReleaseConfig(dg.Config):
    """The choices of a release; another choice is another release."""

    val_share: float = Field(
        default=0.02, ge=0, lt=1, description="Share of the images that is held out; the paper does not tell its own."
    )
    shard_mb: int = Field(default=500, gt=0, description="About so many megabytes make a Parquet file.")
    embeds_images: bool = Field(default=True, description="Parquet holds the images; false: the paths of their files.")
    copies_images: bool = Field(
        default=True,
        description="Images lie in the release, as hard links where that can be; false: JSON Lines name them by "
        "absolute paths, and nobody else can use these.",
    )
    only_commercial: bool = Field(default=False, description="Leave out what may not be used commercially.")
    min_audit_score: float | None = Field(
        default=None, description="Leave out dialogues below this score of dialogue_audit, and those without one."
    )
    good_score: float = Field(default=0.7, description="From this score on a dialogue counts as of high quality.")
    repository: str | None = Field(
        default=None, description="Push the release there, as organisation/name; null: to MMAT_HUB_REPO, if it is set."
    )

    def choices(self) -> Choices:
        """Return the choices as the engine takes them."""
        return Choices(
            val_share=self.val_share,
            shard_bytes=self.shard_mb * MEGABYTE,
            embeds_images=self.embeds_images,
            copies_images=self.copies_images,
            only_commercial=self.only_commercial,
            min_audit_score=self.min_audit_score,
            good_score=self.good_score,
        )
