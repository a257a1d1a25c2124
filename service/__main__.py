"""The command `python -m service --store STORE`; `--help` lists its options.

Exit codes: 0 after a requested stop, 1 if the store, the bundle or the address cannot be used, 2
for invalid options. The reason is one sentence on stderr.
"""

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the service.

    Returns:
        The exit code.
    """
    # The imports below take more than a second, and may swallow what a signal handler raises.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from pydantic import ValidationError

    from bundle.errors import DRepMRecError
    from bundle.resources import single_threaded_libraries
    from service.settings import ENV_PREFIX, parse_settings

    try:
        settings = parse_settings(arguments)
    except ValidationError as error:
        # Not pydantic's own text: it repeats values, which may contain a password.
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0])
            option = f"--{name.replace('_', '-')} ({ENV_PREFIX}{name.upper()})"
            _complain(f"{option}: {problem['msg'].removeprefix('Value error, ')}")
        return 2
    single_threaded_libraries()
    # Imports NumPy and FAISS, which read the environment variables set above.
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
