"""Run the notebooks and store what they show: ``python -m tests.notebooks``, or ``make notebooks``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
SHOWN = ("text/plain", "text/html", "image/png")


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in ``folder`` from top to bottom and return it with its outputs, without what differs each time.

    What was simulated or run there by another notebook is used.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    options = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=options).execute()
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            for kind in set(data) - set(SHOWN):
                del data[kind]
            if "<svg" in data.get("text/html", ""):  # xarray's, whose names are drawn at random
                del data["text/html"]
    return notebook


def texts(notebook: Any) -> list[str]:
    """Return what each code cell says, in plain text; a picture is said to be one."""
    found = []
    for cell in notebook.cells:
        parts = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            parts.append("picture" if "image/png" in data else str(output.get("text") or data.get("text/plain", "")))
        if cell.cell_type == "code":
            found.append("\n".join(parts))
    return found


def main() -> None:
    """Run all of them in one folder, and store them with their outputs."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        for path in NOTEBOOKS:
            nbformat.write(execute(path, Path(folder)), path)
            print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
