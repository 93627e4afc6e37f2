"""The pages of the demo."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from shop.products import PRODUCTS, Product
from sojourn.django import revoke_sessions, sessions_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

    class SignedInRequest(HttpRequest):
        """What ``login_required`` lets through."""

        user: User


def worker(_request: HttpRequest) -> dict[str, int]:
    """Tell every template which process answers."""
    return {"worker": os.getpid()}


@require_safe
def shop(request: HttpRequest) -> HttpResponse:
    """Show the shelf and the basket."""
    counts = Counter(request.session.get("basket", {}).get("items", ()))
    lines = [(PRODUCTS[slug], count, PRODUCTS[slug].price * count) for slug, count in counts.items()]
    total = sum(price for _, _, price in lines)
    return render(request, "shop.html", {"products": PRODUCTS.values(), "lines": lines, "total": total})


@require_POST
def add_to_basket(request: HttpRequest) -> HttpResponse:
    """Put one thing into the basket, deep inside the session: nobody has to set ``modified``."""
    product = chosen_product(request)
    basket = request.session.setdefault("basket", {"items": []})
    basket["items"].append(product.slug)
    messages.success(request, f"Added to your basket: {product.name}.")
    return redirect("shop")


@require_POST
def remove_from_basket(request: HttpRequest) -> HttpResponse:
    """Take one thing out of the basket."""
    product = chosen_product(request)
    items = request.session.get("basket", {}).get("items", [])
    if product.slug in items:
        items.remove(product.slug)
        messages.success(request, f"Taken out of your basket: {product.name}.")
    return redirect("shop")


def chosen_product(request: HttpRequest) -> Product:
    """Return the product the form names."""
    try:
        return PRODUCTS[request.POST.get("product", "")]
    except KeyError:
        raise Http404 from None


@login_required
@require_safe
def sessions(request: SignedInRequest) -> HttpResponse:
    """Show where the user is signed in."""
    return render(request, "sessions.html", {"sessions": sessions_of(request.user)})


@login_required
@require_POST
def revoke(request: SignedInRequest) -> HttpResponse:
    """End one session of the user."""
    if revoke_sessions(request.user, only=request.POST.get("session", "")):
        messages.success(request, "That browser is signed out.")
    else:
        messages.info(request, "That browser was signed out already.")
    return redirect("sessions")


@login_required
@require_POST
def revoke_others(request: SignedInRequest) -> HttpResponse:
    """End all sessions of the user but this one."""
    count = revoke_sessions(request.user, except_current=request)
    messages.success(request, f"Signed out {count} other browser{'' if count == 1 else 's'}.")
    return redirect("sessions")
