"""The pages of the site: one reads a small key of the session, one writes it, one knows of no session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse
from django.urls import path

from bench.data import READ, WRITTEN

if TYPE_CHECKING:
    from django.http import HttpRequest


def _reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session[READ]))


def _writes(request: HttpRequest) -> HttpResponse:
    request.session[WRITTEN] += 1
    return HttpResponse("written")


def _raw(request: HttpRequest) -> HttpResponse:
    request.META["bench.work"]()
    return HttpResponse("raw")


def _neither(_: HttpRequest) -> HttpResponse:
    return HttpResponse("neither")


urlpatterns = [
    path("reads/", _reads),
    path("writes/", _writes),
    path("raw/", _raw),
    path("neither/", _neither),
]
