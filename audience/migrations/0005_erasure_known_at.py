from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("audience", "0004_references_and_erasures"),
    ]

    operations = [
        migrations.AddField(
            model_name="erasure",
            name="known_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
