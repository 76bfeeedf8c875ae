"""The Batch uploads page. A URL's name is its view's."""

from django.urls import path

from uploads import views

urlpatterns = [
    path("", views.batch_upload_list, name="batch_upload_list"),
    path("live/", views.batch_upload_live, name="batch_upload_live"),
    path("<uuid:ref>/", views.batch_upload_detail, name="batch_upload_detail"),
    path("<uuid:ref>/log/", views.batch_upload_log, name="batch_upload_log"),
]
