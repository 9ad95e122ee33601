"""The command line of programs that are not experiments."""

import argparse

from dl_lab.cli.app import exits


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line. --help ends in one line if the output cannot be written."""
    with exits():
        try:
            return parser.parse_args()
        except SystemExit as end:
            status = end.code
    raise SystemExit(status)
