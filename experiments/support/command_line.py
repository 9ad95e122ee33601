"""The command line of programs that are not experiments."""

import argparse

from dl_lab.cli.app import exits
from experiments.support.results_table import OWN, PUBLISHED


def add_update(parser: argparse.ArgumentParser) -> None:
    """Add --update, which chooses the file of results; the parsed options have it as `results_path`."""
    what = f"write the results to experiments/{PUBLISHED.name}, which git tracks (default: {OWN})"
    parser.add_argument("--update", dest="results_path", action="store_const", const=PUBLISHED, default=OWN, help=what)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line. --help ends in one line if the output cannot be written."""
    with exits():
        try:
            return parser.parse_args()
        except SystemExit as end:
            status = end.code
    raise SystemExit(status)
