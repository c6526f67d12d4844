"""The documentation site: `make docs`."""

from __future__ import annotations

import re
import types
from pathlib import Path

from sphinx.application import Sphinx

import voxelcast

project = "voxelcast"
author = "The voxelcast developers"
copyright = "2026, The voxelcast developers"
version = release = voxelcast.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_click",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = "voxelcast"
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False

# Pages are Markdown that reads as well without the site; Python blocks are run by tests/test_documentation.py.
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext", ".ipynb": "myst-nb"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Notebooks are stored without outputs: building the site runs them, and an error in one is an error of the build.
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

# The reference is made from the docstrings of every module.
apidoc_modules = [
    {
        "path": "../voxelcast",
        "destination": "reference/api",
        "separate_modules": False,
        "module_first": True,
        "exclude_patterns": ["../voxelcast/__main__.py", "../voxelcast/cli"],
    }
]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# A work may be cited by the author's name and year in the text, and listed under References.
suppress_warnings = ["ref.citation"]

_QUOTED = re.compile(r"(``.*?``)")
_CITATION = re.compile(r"\[(\d+)\]_")


def mend_docstring(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let docstrings that read well in Python read well here.

    Norms such as |x| are no substitutions of reStructuredText, and a class may cite what its module's docstring lists.
    """
    listed = set(re.findall(r"^\s*\.\. \[(\d+)\]", "\n".join(lines), flags=re.M))
    literal = -1  # indentation of the line that announced a literal block
    for number, line in enumerate(lines):
        indentation = len(line) - len(line.lstrip())
        if literal >= 0 and (not line.strip() or indentation > literal):
            continue
        literal = indentation if line.rstrip().endswith("::") else -1
        parts = [part if part.startswith("``") else part.replace("|", r"\|") for part in _QUOTED.split(line)]
        lines[number] = _CITATION.sub(lambda found: found[0] if found[1] in listed else f"[{found[1]}]", "".join(parts))


def skip_borrowed(app: object, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out names of types (``Pair = tuple[str, str]``) and what other packages define."""
    module = getattr(obj, "__module__", None)
    foreign = isinstance(module, str) and not module.startswith("voxelcast")
    return True if isinstance(obj, types.GenericAlias | types.UnionType) or (callable(obj) and foreign) else None


def copy_notebooks() -> None:
    """Copy the notebooks to where the site is made from, their links to pages mended."""
    folder = Path(__file__).parent / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"):
        text = notebook.read_text(encoding="utf-8").replace("](../docs/", "](../")
        copy = folder / notebook.name
        if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def mend_links(app: object, page: str, source: list[str]) -> None:
    """Let a page's links to notebooks lead to their copies."""
    source[0] = source[0].replace("](../notebooks/", "](notebooks/")


def setup(app: Sphinx) -> None:
    """Copy the notebooks and connect the rest."""
    copy_notebooks()
    app.connect("source-read", mend_links)
    app.connect("autodoc-process-docstring", mend_docstring, priority=100)
    app.connect("autodoc-skip-member", skip_borrowed)
