"""Files about what people did name them: their addresses and numbers are read out of an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audience", "0009_changes_by_page")]

    operations = [
        migrations.AddIndex(
            "profile",
            models.Index(fields=["id"], include=["email", "partner_user_id"], name="profile_identity"),
        ),
    ]
