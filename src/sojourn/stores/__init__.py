"""Where sessions can be kept.  Each store is a module of its own; none imports another.

``from_url`` makes one of an address.  Stores on servers wait by ``lines`` in threads, by
``channels`` in asyncio.
"""
