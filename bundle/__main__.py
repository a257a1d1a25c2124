"""`python -m bundle fetch SOURCE TARGET`: copies one bundle into another store and verifies it.

For services that cannot reach the store in which the bundle was published. Exit codes: 0 success,
1 the bundle does not exist or is damaged (a sentence on stderr says which), 2 wrong arguments.
"""

import argparse
import sys
from collections.abc import Sequence

from bundle.errors import DRepMRecError
from bundle.store.store import BundleStore


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser("python -m bundle", description="Manage bundles.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("fetch", help="copy a bundle to another store and verify it")
    one.add_argument("source", help="store to copy from: a directory or a URL")
    one.add_argument("target", help="store to copy to: a directory or a URL")
    one.add_argument("--version", help="version of the bundle [the live one]")
    given = parser.parse_args(arguments)
    try:
        version = BundleStore(given.target).copy(BundleStore(given.source), given.version)
    except DRepMRecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"copied {version} from {given.source} to {given.target} and verified it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
