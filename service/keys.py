"""The command `python -m service.keys NAME --scopes read write --rate 100`, which makes an API key.

It prints the key, which is stored nowhere, and the entry to add to the file that `--keys` names.
Exit codes: 0, and 2 for invalid options.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from pydantic import ValidationError

from service.auth.key_file import KeyEntry, KeyScope
from service.redaction import digest, new_key


def main(arguments: Sequence[str]) -> None:
    """Make a key and print it with its entry.

    Raises:
        SystemExit: 2 for invalid options.
    """
    parser = argparse.ArgumentParser(
        prog="python -m service.keys",
        description="Make an API key. The first line of the output is the key, which is stored "
        "nowhere; the second is the entry to add to the list in the file of --keys.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the holder, for logs and metrics")
    parser.add_argument(
        "--scopes",
        nargs="+",
        choices=get_args(KeyScope),
        default=["read"],
        help="permissions of the key [read]",
    )
    parser.add_argument(
        "--rate", type=float, help="maximum requests per second and worker [no limit]"
    )
    parser.add_argument(
        "--burst", type=int, help="number of requests that may come at once [those of one second]"
    )
    given = parser.parse_args(arguments)
    key = new_key()
    try:
        entry = KeyEntry(
            name=given.name,
            sha256=digest(key).hex(),
            scopes=frozenset(given.scopes),
            requests_per_second=given.rate,
            burst=given.burst,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        parser.error(f"{where}{first['msg'].removeprefix('Value error, ')}")
    sys.stdout.write(f"{key}\n{entry.model_dump_json(exclude_defaults=True)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
