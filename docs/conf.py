"""The documentation site: `make docs`.

The reference has the public names alone: those of ``voxelcast.__all__``, of ``voxelcast.testing``, and the decorators
by which other packages add to voxelcast. It and the tables of the results' columns are written to `reference/api`.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
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
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "gallery/*.ipynb"]
html_theme = "furo"
html_title = "voxelcast"
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False

# Pages are Markdown that reads as well without the site; Python blocks are run by tests/test_documentation.py.
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext", ".ipynb": "myst-nb"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Notebooks are stored with their outputs (`make notebooks`); tests/test_notebooks.py compares them with what they give.
nb_execution_mode = "off"
# Building the site runs the gallery's examples (not with `-D plot_gallery=0`); an error in one is one of the build.
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# A work may be cited by the author's name and year in the text, and listed under References.
suppress_warnings = ["ref.citation"]

REGISTRIES = (
    "voxelcast.networks.family",
    "voxelcast.networks.registry",
    "voxelcast.datasets.registry",
    "voxelcast.encoders.registry",
    "voxelcast.features.pooling",
    "voxelcast.challenges.registry",
)
"""Modules whose decorators `register_...` are for other packages."""

_QUOTED = re.compile(r"(``.*?``)")
_CITATION = re.compile(r"\[(\d+)\]_")


def clean_docstring(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
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


def skip_foreign(app: object, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out names of types (``Pair = tuple[str, str]``) and what other packages define."""
    module = getattr(obj, "__module__", None)
    foreign = isinstance(module, str) and not module.startswith("voxelcast")
    return True if isinstance(obj, types.GenericAlias | types.UnionType) or (callable(obj) and foreign) else None


def entries(names: Iterator[str] | list[str]) -> str:
    """Return the directives of public names, each written with its module."""
    text = ""
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = getattr(import_module(module), attribute)
        if inspect.ismodule(found):
            text += f".. automodule:: {found.__name__}\n\n"
        else:
            text += f".. auto{'class' if inspect.isclass(found) else 'function'}:: {name}\n\n"
    return text


def registering() -> Iterator[str]:
    """Find the decorators by which other packages add to voxelcast, each once."""
    found: dict[str, str] = {}
    for module in filter(find_spec, REGISTRIES):
        for name in dir(import_module(module)):
            if name.startswith("register_"):
                found.setdefault(name, f"{module}.{name}")
    yield from found.values()


def suites() -> Iterator[str]:
    """Find the conformance suites that ship with voxelcast."""
    for name in ("networks", "datasets", "encoders", "challenges"):
        if find_spec(f"voxelcast.testing.{name}"):
            module = import_module(f"voxelcast.testing.{name}")
            made = [found for found in vars(module).values() if inspect.isclass(found)]
            yield from (
                f"{module.__name__}.{one.__name__}"
                for one in made
                if one.__module__ == module.__name__ and one.__name__[0] != "_"
            )


def tables() -> str:
    """Render the columns of the results' tables, in the order of their schema."""
    if not find_spec("voxelcast.results.schema"):
        return ""
    schema = import_module("voxelcast.results.schema")
    shown = [table for table in vars(schema).values() if isinstance(table, schema.Table)]
    return "\n\n".join(f"`{table.file}`: {table.row}\n\n{table.markdown()}" for table in shown) + "\n"


def write_reference() -> None:
    """Write the reference of the public names, and of the columns of the results' tables."""
    folder = Path(__file__).parent / "reference" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    public = [f"voxelcast.{name}" for name in getattr(voxelcast, "__all__", ()) if not name.startswith("__")]
    write(folder / "public.rst", title("import voxelcast as vc") + entries(public))
    plugins = title("For plug-ins") + entries(registering())
    write(folder / "plugins.rst", plugins + entries(suites()))
    write(folder / "tables.txt", tables())


def title(text: str) -> str:
    """Return a heading of reStructuredText."""
    return f"{text}\n{'=' * len(text)}\n\n"


def write(path: Path, text: str) -> None:
    """Write a file if it says something new, so that the site is not built again for nothing."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def copy_notebooks() -> None:
    """Copy the notebooks to where the site is made from, with their links to pages corrected."""
    folder = Path(__file__).parent / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"):
        write(folder / notebook.name, notebook.read_text(encoding="utf-8").replace("](../docs/", "](../"))


def correct_links(app: object, page: str, source: list[str]) -> None:
    """Let a page's links to notebooks and examples lead to their pages."""
    text = source[0].replace("](../notebooks/", "](notebooks/").replace("](../examples/gallery/)", "](gallery/index)")
    source[0] = re.sub(r"\]\(\.\./examples/gallery/(\w+)\.py\)", r"](gallery/\1)", text)


def setup(app: Sphinx) -> None:
    """Write what is generated and connect the rest."""
    copy_notebooks()
    write_reference()
    app.connect("source-read", correct_links)
    app.connect("autodoc-process-docstring", clean_docstring, priority=100)
    app.connect("autodoc-skip-member", skip_foreign)
