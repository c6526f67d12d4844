"""The documentation site: `make docs`."""

from __future__ import annotations

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
        "separate_modules": True,
        "module_first": True,
        "exclude_patterns": ["../voxelcast/__main__.py", "../voxelcast/cli"],
    }
]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_mock_imports: list[str] = []
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
