"""How the pages are built: ``sphinx-build -W --keep-going -c docs . site``.

The source is the whole tree, so that links between pages, notebooks and
ARCHITECTURE.md are the same here and in a checkout.
"""

import inspect
from importlib.metadata import version as installed

from pandas_llm.options import OPTIONS

FIRST = next(iter(OPTIONS))

project = "pandas_llm"
author = "The pandas_llm developers"
project_copyright = author
version = release = installed("pandas-llm-accessor")

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "notebooks/*.ipynb",
    "benchmarks/README.md",
    "pandas_llm/_pacing/NOTES.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "site", "tests", "build", "dist", "**/.ipynb_checkpoints"]

# Markdown and notebooks: what is committed is shown, nothing is run
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # would be fetched
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# the reference, from docstrings
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
toc_object_entries_show_parents = "hide"  # whole names are wider than the column

# no request leaves the pages: fonts, scripts and search are in the built files
html_theme = "pydata_sphinx_theme"
html_title = "pandas_llm"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_sidebars = {  # pages without neighbours
    f"docs/{page}": []
    for page in ("getting-started", "coming-from", "how-it-works", "speed", "scale")
} | {"docs/index": [], "docs/tried-on": []}
html_extra_path = ["extra"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 5,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
}
copybutton_exclude = ".linenos, .gp, .go"


def own_lines(app, what, name, obj, options, lines):
    """Leave the options of every verb to their own page."""
    kept, skipping = [], False
    for line in lines:
        if line[:1].strip():
            skipping = line.split(" : ")[0] in OPTIONS and " : " in line
        if not skipping:
            kept.append(line)
        elif line.startswith(f"{FIRST} : "):
            kept += ["**options", "    Any of the options that all verbs share.", ""]
    lines[:] = kept


def own_signature(app, what, name, obj, options, signature, returned):
    """Write ``**options`` for the options in a signature."""
    if not callable(obj) or isinstance(obj, type):
        return None
    whole = inspect.signature(obj)
    own = [p for p in whole.parameters.values() if p.name not in {*OPTIONS, "self"}]
    if len(own) + 1 < len(whole.parameters):
        own = [p for p in own if p.kind is not p.VAR_KEYWORD]
        own.append(inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD))
    bare = [p.replace(annotation=p.empty) for p in own]
    return str(inspect.Signature(bare)), None


def is_twin(app, what, name, obj, skip, options):
    """Leave out the async twin of a verb: it has the words of the verb."""
    return True if inspect.iscoroutinefunction(obj) and name[0] == "a" else None


def setup(app):
    """Register what is done to docstrings before numpydoc reads them."""
    app.connect("autodoc-process-docstring", own_lines, priority=100)
    app.connect("autodoc-process-signature", own_signature)
    app.connect("autodoc-skip-member", is_twin)
