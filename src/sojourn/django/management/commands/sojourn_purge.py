"""``manage.py sojourn_purge``: ``clearsessions`` with a rate, a counter and an end to look at."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from sojourn.django.engine import configured_engine
from sojourn.errors import SessionError
from sojourn.operations.purge import RATE_HELP, purge, rate
from sojourn.purging import PURGE_RATE

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["Command"]


class Command(BaseCommand):
    """Removes what has expired from wherever ``SESSION_ENGINE`` keeps sessions."""

    help = "Removes expired sessions, in batches with pauses, and says how many. Ctrl-C ends it at any time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See Django."""
        parser.add_argument("--rate", type=rate, default=PURGE_RATE, help=RATE_HELP)

    def handle(self, *_: object, **options: Any) -> None:
        """See Django."""
        engine = configured_engine()
        if engine is None:
            raise CommandError(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which is not Sojourn's: use clearsessions"
            )
        self.stdout.ending = ""  # what is written is whole lines, or shall not be
        try:
            code = purge(engine.manager.purge, rate=options["rate"], out=self.stdout)
        except SessionError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)
