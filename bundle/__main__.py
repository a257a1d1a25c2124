"""`python -m bundle fetch SOURCE TARGET`: a verified copy of one bundle, in a store of its own.

For whoever is to serve a bundle without a way to the store that it comes from. Exit codes: 0, 1 if
there is no such bundle or it is damaged (one sentence on stderr says which), 2 for other arguments.
"""

import argparse
import sys
from collections.abc import Sequence

from bundle.errors import DRepMRecError
from bundle.store import BundleStore


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser("python -m bundle", description="Look after bundles.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("fetch", help="copy one bundle and verify the copy")
    one.add_argument("source", help="store to copy from, a directory or a URL")
    one.add_argument("target", help="store to copy to")
    one.add_argument("--version", help="the bundle [the live one]")
    given = parser.parse_args(arguments)
    try:
        version = BundleStore(given.target).copy(BundleStore(given.source), given.version)
    except DRepMRecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{version} of {given.source} is in {given.target}, and whole\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
