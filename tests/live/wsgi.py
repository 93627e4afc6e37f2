"""``gunicorn tests.live.wsgi``: the site for a WSGI server."""

from django.core.wsgi import get_wsgi_application

from tests.live import site

application = get_wsgi_application()

__all__ = ["application", "site"]
