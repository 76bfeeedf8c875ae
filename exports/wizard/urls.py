"""The wizard's routes, below /exports/. A URL's name is its view's."""

from django.urls import path

from exports.wizard import views

urlpatterns = [
    path("new/", views.export_new, name="export_new"),
    path("<int:export_id>/edit/", views.export_edit, name="export_edit"),
    path("<int:export_id>/columns/", views.export_columns, name="export_columns"),
    path("<int:export_id>/count/", views.export_count, name="export_count"),
    path("<int:export_id>/preview/", views.export_preview, name="export_preview"),
    path("<int:export_id>/next-runs/", views.export_next_runs, name="export_next_runs"),
]
