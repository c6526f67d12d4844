"""Run every k-th hostile input in this process and write a line of JSON of each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 30, 1000.0


def state(folder: Path) -> dict[str, str]:
    """What lies in a folder, but for what commands write (``out``): names, kinds and contents."""
    found = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            mode = path.lstat().st_mode
            plain = stat.S_ISREG(mode)
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else str(mode)
    return found


def meaning(command: str, folder: Path) -> Any:
    """Return what a command that succeeded has read, to be compared with that of the undamaged project."""
    import numpy as np

    if "--dry-run" in command:
        from voxelcast.datasets.registry import open_dataset
        from voxelcast.experiment.settings_file import load_config

        dataset = open_dataset(load_config(Path(command.split()[1])).dataset)
        answers = {s: dataset.responses(s, dataset.rois(s)[0]) for s in dataset.subjects}
        return {s: dict(zip(r.stimulus_ids, r.values.round(9).tolist(), strict=True)) for s, r in answers.items()}
    table = (folder / "out" / "stimuli.csv").read_text().splitlines()[1:]
    ids = [line.split(",")[0] for line in table if line.endswith(",")]
    return dict(zip(ids, np.load(folder / "out" / "colour.npy").round(4).tolist(), strict=True))


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run ``voxelcast ARGUMENTS`` and return its exit code and what it wrote."""
    from voxelcast.cli.main import main
    from voxelcast.datasets.registry import close_all

    close_all()
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["voxelcast", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def too_slow(*_: object) -> None:
    """End an input that takes too long; nothing of ours catches it."""
    raise KeyboardInterrupt


def work(root: Path, first: int, step: int) -> None:
    """Run the inputs ``first``, ``first + step``, ... on copies of the projects in ``root``."""
    from tests.cli.hostile_inputs import inputs
    from tests.experiment.conftest import _Here
    from voxelcast.execution import workers
    from voxelcast.store.memory import peak_mb, reset_peak, resident_mb

    workers.ProcessPoolExecutor = _Here  # type: ignore[misc, assignment]
    signal.signal(signal.SIGALRM, too_slow)
    right: dict[str, Any] = {}
    for number, one in enumerate(inputs()):
        if number % step != first:
            continue
        folder = root / f"work-{number}"
        shutil.copytree(root / one.project, folder, symlinks=True)
        one.change(folder, random.Random(number))
        os.chdir(folder)
        before = state(folder)
        begun, base = time.monotonic(), resident_mb()
        reset_peak()
        signal.alarm(SECONDS)
        problem, code, out, err = "", 0, "", ""
        try:
            code, out, err = run(one.command.replace("MINI", str(root / "mini")).split())
        except BaseException as error:
            problem = f"{type(error).__name__} came out: {error}"
        signal.alarm(0)
        more = max(0.0, peak_mb() - base)
        lines, said_on_stdout = err.splitlines(), bool(out and not err)
        after = state(folder)
        touched = [name for name in before if after.get(name) != before[name]]
        new = [
            name
            for name in after
            if name not in before and name.split("/")[0] not in ("out", "out.html", "out.yaml", "out.csv")
        ]
        if not problem and ("Traceback" in err or "unforeseen" in err):
            problem = lines[-1] if lines else "?"
        elif not problem and code and one.works:
            problem = "it does not work"
        elif not problem and code and not said_on_stdout and (not lines or not lines[-1].startswith("voxelcast: ")):
            problem = f"exit code {code} without a line: {lines[-1:]}"
        elif not problem and code == 0 and one.refused:
            problem = "it was not refused"
        elif not problem and touched:
            problem = f"it touched {touched[:3]}"
        elif not problem and code and (new or ("out" in after and "out" not in before)):
            problem = f"it left {new[:3] or 'out'} behind"
        elif not problem and more > MEGABYTES:
            problem = f"it took {more:.0f} MB"
        elif not problem and code == 0 and one.same:
            found, key = meaning(one.command, folder), f"{one.project} {one.command.replace('.zip', '')}"
            if key not in right:
                undamaged = root / f"right-{number}"  # of this process's own
                shutil.copytree(root / one.project, undamaged, symlinks=True)
                os.chdir(undamaged)
                if "extract" in one.command:
                    run(one.command.replace(".zip", "").split())
                right[key] = meaning(one.command, undamaged)
            whole = next(iter(right[key].values())) if "--dry-run" in one.command else right[key]
            part = next(iter(found.values())) if "--dry-run" in one.command else found
            problem = (
                "" if all(whole.get(name) == value for name, value in part.items()) else "another result, silently"
            )
        os.chdir(root)
        shutil.rmtree(folder)
        seconds = round(time.monotonic() - begun, 2)
        said = {"name": one.name, "code": code, "problem": problem, "seconds": seconds, "last": "".join(lines[-1:])}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
