"""The command line: `python -m mmat_dagster COMMAND`; `--help` tells the commands."""

import sys

from mmat_dagster.cli import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
