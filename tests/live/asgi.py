"""``uvicorn tests.live.asgi:application``: the site for an ASGI server."""

from django.core.asgi import get_asgi_application

from tests.live import site

application = get_asgi_application()

__all__ = ["application", "site"]
