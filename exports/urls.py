"""The Exports page. A URL's name is its view's."""

from django.urls import include, path

from exports import views

urlpatterns = [
    path("", views.export_list, name="export_list"),
    path("live/", views.export_live, name="export_live"),
    path("<int:export_id>/", views.export_detail, name="export_detail"),
    path("<int:export_id>/copy/", views.export_copy, name="export_copy"),
    path("<int:export_id>/delete/", views.export_delete, name="export_delete"),
    path("<int:export_id>/schedule/", views.export_schedule, name="export_schedule"),
    path("<int:export_id>/unschedule/", views.export_unschedule, name="export_unschedule"),
    path("<int:export_id>/run/", views.export_run_now, name="export_run_now"),
    path("<int:export_id>/resync/", views.export_resync, name="export_resync"),
    path("runs/<int:run_id>/", views.export_run_detail, name="export_run_detail"),
    path("runs/<int:run_id>/definition/", views.export_run_definition, name="export_run_definition"),
    path("runs/<int:run_id>/why/", views.export_run_why, name="export_run_why"),
    path("runs/<int:run_id>/download", views.export_run_download, name="export_run_download"),
    path("runs/<int:run_id>/relaunch/", views.export_run_relaunch, name="export_run_relaunch"),
    path("runs/<int:run_id>/window-again/", views.export_run_window_again, name="export_run_window_again"),
    path("runs/<int:run_id>/cancel/", views.export_run_cancel, name="export_run_cancel"),
    path("runs/<int:run_id>/copy/", views.export_run_copy, name="export_run_copy"),
    path("", include("exports.wizard.urls")),
]
