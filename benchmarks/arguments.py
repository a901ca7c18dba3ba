"""The options that all scripts share."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--directory`; the script adds its own options."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),
        help="where the logs of the run are kept; must be a real disk",
    )
    return made
