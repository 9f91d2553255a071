"""python3 -m service.installing: the command install-service, for a machine that has nothing of ours yet."""

import argparse
import sys

from service.errors import ServiceError
from service.installing.command import add_arguments


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="install-service", description=add_arguments.__doc__)
    add_arguments(parser)
    parsed = parser.parse_args()
    try:
        return parsed.run(parsed)
    except ServiceError as error:
        print(f"install-service: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
