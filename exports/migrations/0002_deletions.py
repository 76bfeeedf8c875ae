"""Deletions, and what of the mark of an increment the runs alone could tell before."""

from django.db import migrations, models

# What was delivered until now stands for the end of its window.
MOMENTS = """
UPDATE exports_export e SET watermark_at = coalesce(
    (SELECT max(r.window_until) FROM exports_exportrun r
     WHERE r.export_id = e.id AND r.window_hi = e.watermark AND r.delivered_at IS NOT NULL), e.scheduled_at)
WHERE e.watermark IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("exports", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="export",
            name="deletions",
            field=models.BooleanField(default=False, verbose_name="tell deletions"),
        ),
        migrations.AddField(
            model_name="exportrun",
            name="deletions",
            field=models.BigIntegerField(null=True, verbose_name="deleted rows among them"),
        ),
        migrations.AddField(
            model_name="export",
            name="watermark_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.RunSQL(MOMENTS, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="export",
            name="resync_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="everything asked for"),
        ),
        migrations.RunSQL("UPDATE exports_export SET resync_at = now() WHERE resync", migrations.RunSQL.noop),
        migrations.RemoveField(model_name="export", name="resync"),
    ]
