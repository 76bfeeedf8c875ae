"""What changed is found page by page where rows are changed in place, and exports do what autosummarize did not."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audience", "0008_tombstones")]

    operations = [
        migrations.RemoveIndex("profile", "profile_change"),
        migrations.AddIndex("profile", BrinIndex(fields=["change_xid"], name="profile_change", pages_per_range=1)),
        migrations.RemoveIndex("record", "record_change"),
        migrations.AddIndex("record", BrinIndex(fields=["change_xid"], name="record_change", pages_per_range=1)),
        migrations.RemoveIndex("interaction", "interaction_change"),
        migrations.AddIndex(
            "interaction",
            BrinIndex(fields=["change_xid", "created_by_job"], name="interaction_change", pages_per_range=32),
        ),
    ]
