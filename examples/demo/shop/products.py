"""What the shop sells."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """One thing on the shelf; its slug names its icon, too."""

    slug: str
    name: str
    description: str
    price: int


PRODUCTS = {
    product.slug: product
    for product in (
        Product("tent", "Canvas tent", "Sleeps two, dries fast.", 180),
        Product("lantern", "Storm lantern", "Burns all night in any wind.", 42),
        Product("compass", "Brass compass", "Points the same way every day.", 35),
        Product("mug", "Enamel mug", "Chips with dignity.", 12),
        Product("notebook", "Field notebook", "96 pages, stitched.", 9),
        Product("boots", "Walking boots", "Resoled, never replaced.", 140),
    )
}
