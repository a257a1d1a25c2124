"""`python -m training`."""

import sys

from bundle.errors import DRepMRecError
from training.commands import app


def main() -> None:
    """Run the command line; an error of ours is one sentence on stderr and an exit code."""
    try:
        app()
    except DRepMRecError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
