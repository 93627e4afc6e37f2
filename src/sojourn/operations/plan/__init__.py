"""``sojourn plan``: what a site of a given size needs on each engine.

``load`` is what users do, ``footprint`` what one session takes in each store, ``needs`` what both come to,
``report`` how that is said: all pure.  ``sample`` asks a store how large its sessions are.
"""

from __future__ import annotations

from sojourn.operations.plan.load import Load
from sojourn.operations.plan.needs import ENGINES, Needs, Node, needs_of

__all__ = ["ENGINES", "Load", "Needs", "Node", "needs_of"]
