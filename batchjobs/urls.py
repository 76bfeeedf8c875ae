"""The Batch jobs page. A URL's name is its view's."""

from django.urls import path

from batchjobs import reference_views, upload_views, views

urlpatterns = [
    path("", views.batchjob_list, name="batchjob_list"),
    path("new/", views.batchjob_new, name="batchjob_new"),
    path("look/", views.batchjob_look, name="batchjob_look"),
    path("columns/", reference_views.columns_index, name="columns_index"),
    path("columns/<slug:record_type>/", reference_views.columns_reference, name="columns_reference"),
    path("columns/<slug:record_type>/template.<slug:form>", reference_views.columns_template, name="columns_template"),
    path("uploads/", upload_views.upload_list, name="upload_list"),
    path("uploads/<uuid:upload_id>/", upload_views.upload, name="upload"),
    path("uploads/<uuid:upload_id>/discard/", upload_views.upload_discard, name="upload_discard"),
    path("live/", views.batchjob_live, name="batchjob_live"),
    path("views/new/", views.batchjob_view_new, name="batchjob_view_new"),
    path("views/<int:view_id>/delete/", views.batchjob_view_delete, name="batchjob_view_delete"),
    path("<int:job_id>/", views.batchjob_detail, name="batchjob_detail"),
    path("<int:job_id>/cancel/", views.batchjob_cancel, name="batchjob_cancel"),
    path("<int:job_id>/again/", views.batchjob_again, name="batchjob_again"),
    path("<int:job_id>/answer/", views.batchjob_answer, name="batchjob_answer"),
    path("<int:job_id>/run-anyway/", views.batchjob_run_anyway, name="batchjob_run_anyway"),
    path("<int:job_id>/source/", views.batchjob_source, name="batchjob_source"),
    path("<int:job_id>/error-log/", views.batchjob_error_log, name="batchjob_error_log"),
    path("<int:job_id>/skipped-rows/", views.batchjob_skipped_rows, name="batchjob_skipped_rows"),
    path("<int:job_id>/rejected-rows/", views.batchjob_rejected_rows, name="batchjob_rejected_rows"),
]
