"""Every address of the demo."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import TemplateView

from shop import views

urlpatterns = [
    path("", views.shop, name="shop"),
    path("basket/add/", views.add_to_basket, name="add-to-basket"),
    path("basket/remove/", views.remove_from_basket, name="remove-from-basket"),
    path(
        "sign-in/",
        LoginView.as_view(template_name="sign_in.html", redirect_authenticated_user=True),
        name="sign-in",
    ),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("sessions/", views.sessions, name="sessions"),
    path("sessions/revoke/", views.revoke, name="revoke"),
    path("sessions/revoke-others/", views.revoke_others, name="revoke-others"),
    path("style.css", TemplateView.as_view(template_name="style.css", content_type="text/css"), name="style"),
]
