"""Records the outputs of the golden experiments: ``python -m tests.golden.record [--write] [NAME ...]``.

Without ``--write`` it says what would change and changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.golden.experiments import EXPERIMENTS
from tests.golden.outputs import RECORDED, differences, read_record, write_record
from tests.golden.run import Workshop


def main(arguments: list[str]) -> int:
    """Run experiments and say how they differ from what was recorded; the exit code is 1 if something does."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.record", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="Experiments; left out: all.")
    parser.add_argument("--write", action="store_true", help="Replace what was recorded.")
    wanted = parser.parse_args(arguments)
    unknown = [name for name in wanted.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]}; there are {', '.join(EXPERIMENTS)}")
    changed = False
    gone = [path.name for path in sorted(RECORDED.glob("*")) if path.name not in EXPERIMENTS]
    for name in gone:
        print(f"{name}: recorded, but there is no such experiment; remove its folder")
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        for name in wanted.names or EXPERIMENTS:
            start = time.process_time()
            try:
                found = workshop.run(name)
            except Exception as error:
                print(f"{name}: not recorded: {type(error).__name__}: {error}")
                changed = True
                continue
            seconds = time.process_time() - start
            tolerance = EXPERIMENTS[name].tolerance
            recorded = read_record(name)
            exact = differences(recorded, found, tolerance, same_bytes=True)
            beyond = differences(recorded, found, tolerance)
            if not recorded.texts:
                exact = beyond = ["nothing was recorded before"]
            state = f"{len(beyond)} files changed" if beyond else "within the tolerance" if exact else "same bytes"
            print(f"{name}: {seconds:.1f} s of CPU, {state}", flush=True)
            for line in (beyond or exact)[:20]:
                print(f"    {line}")
            changed |= bool(exact)
            if exact and wanted.write:
                write_record(name, found)
    if changed and not wanted.write:
        print("nothing was written; to replace what was recorded, add --write")
    return int(changed and not wanted.write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
