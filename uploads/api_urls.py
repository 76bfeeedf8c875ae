"""The batch API, below /v2/."""

from django.urls import path, re_path

from uploads import api

urlpatterns = [
    path("batches/inspect", api.batch_inspect_list, name="batch_inspect_list"),
    path("batches/inspect/<str:ref>", api.batch_inspect, name="batch_inspect"),
    path("batches/<str:ref>", api.batch, name="batch"),
    path("locations/<str:token>", api.batch_location, name="batch_location"),
    path("logs/<str:token>", api.batch_log, name="batch_log"),
    re_path(r"^", api.batch_not_found, name="batch_not_found"),
]
