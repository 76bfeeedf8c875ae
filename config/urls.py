"""Every route. Who may reach it stands in accounts/routes.py."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from batchjobs import upload_views
from config import api, health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    # Pages without a link to the icon, as the admin's, make browsers ask here.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}favicon.svg"), name="favicon"),
    path("api/v1/docs", api.docs, name="api_docs"),
    # Exempt: only the key of an API counts (accounts/middleware.py).
    path("api/v1/uploads", csrf_exempt(upload_views.upload_list), name="api_upload_list"),
    path("api/v1/uploads/<uuid:upload_id>", csrf_exempt(upload_views.upload), name="api_upload"),
    path("api/v1/", api.api.urls),
    # Exempt, so that any address and method answers as a problem and not with a page on cookies.
    re_path(r"^api/", csrf_exempt(api.not_found), name="api_not_found"),
    path("v2/", include("uploads.api_urls")),
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("batch-jobs/", include("batchjobs.urls")),
    path("uploads/", include("uploads.urls")),
    path("exports/", include("exports.urls")),
]

handler500 = "console.views.server_error"
