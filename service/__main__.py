"""`python -m service --store STORE`: see `python -m service --help`.

Exit codes: 0 after a stop that was asked for, 1 if the store, the bundle or the address cannot be
used, 2 for options that make no sense. The reason is one sentence on stderr.
"""

import sys
from collections.abc import Sequence

from pydantic import ValidationError

from bundle.errors import DRepMRecError
from service.cpu import single_threaded_libraries
from service.settings import ENV_PREFIX, parse_settings


def main(arguments: Sequence[str]) -> int:
    """Run the service.

    Returns:
        The exit code.
    """
    try:
        settings = parse_settings(arguments)
    except ValidationError as error:
        # Not pydantic's own text: it repeats the values, and one may hold a password.
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0])
            option = f"--{name.replace('_', '-')} ({ENV_PREFIX}{name.upper()})"
            _complain(f"{option}: {problem['msg'].removeprefix('Value error, ')}")
        return 2
    single_threaded_libraries()
    # Imports NumPy and FAISS, which read the environment variables that were just set.
    from service.server import serve

    try:
        serve(settings)
    except DRepMRecError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(sentence: str) -> None:
    sys.stderr.write(f"python -m service: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
