"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
settings.configure(SECRET_KEY="of no importance: nothing is sealed here")  # noqa: S106 - it is not

from from_code import PARTS  # noqa: E402 - beside this file

project = "Sojourn"
author = "The Sojourn contributors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = version_of("sojourn")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Sojourn {release}"
html_static_path = ["_static"] if (HERE / "_static").is_dir() else []
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"


class FromCode(SphinxDirective):
    """```{from-code} settings```: what the code says about settings."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Return the part of the reference that is named."""
        part = PARTS[self.arguments[0]]
        for module in ("options.py", "errors.py", "operations/check/engines.py", "policy.py"):
            self.env.note_dependency(str(HERE.parent / "src" / "sojourn" / module))
        return self.parse_text_to_nodes(part())


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("from-code", FromCode)
    return {"parallel_read_safe": True}
