import django.contrib.postgres.indexes
import django.db.models.expressions
import django.db.models.functions.comparison
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_sql"),
        ("audience", "0003_lists_and_decisions"),
        ("batchjobs", "0002_files_in_parts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # array_to_string is not immutable for every type, but it is for texts: an index may be made of it. PL/pgSQL,
        # because a function in SQL that cannot be inlined takes twice the time.
        migrations.RunSQL(
            """
            CREATE FUNCTION batchjobs_words(words text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT
            AS $$ BEGIN RETURN lower(array_to_string(words, E'\\n')); END $$
            """,
            "DROP FUNCTION batchjobs_words(text[])",
        ),
        migrations.RemoveIndex(
            model_name="batchjob",
            name="job_by_status",
        ),
        migrations.RemoveIndex(
            model_name="batchjob",
            name="job_by_person",
        ),
        migrations.AddIndex(
            model_name="batchjob",
            index=models.Index(
                condition=models.Q(("kind", "import")),
                fields=["account", "status", "-created_at", "-id"],
                name="job_by_status",
            ),
        ),
        migrations.AddIndex(
            model_name="batchjob",
            index=models.Index(
                condition=models.Q(("kind", "import")),
                fields=["account", "record_type", "-created_at", "-id"],
                include=("status",),
                name="job_by_type",
            ),
        ),
        migrations.AddIndex(
            model_name="batchjob",
            index=models.Index(
                models.F("account"),
                django.db.models.functions.comparison.Coalesce(
                    models.F("created_by"),
                    django.db.models.expressions.CombinedExpression(models.F("created_by_key"), "*", models.Value(-1)),
                    0,
                ),
                models.OrderBy(models.F("created_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("kind", "import")),
                include=("status", "created_by", "created_by_key"),
                name="job_by_maker",
            ),
        ),
        migrations.AddIndex(
            model_name="batchjob",
            index=django.contrib.postgres.indexes.GinIndex(
                models.F("account"),
                django.contrib.postgres.indexes.OpClass(
                    models.Func(models.F("tags"), function="batchjobs_words", output_field=models.TextField()),
                    name="gin_trgm_ops",
                ),
                fastupdate=False,
                name="job_tag_words",
            ),
        ),
        migrations.AddIndex(
            model_name="batchjob",
            index=django.contrib.postgres.indexes.GinIndex(
                models.F("account"),
                django.contrib.postgres.indexes.OpClass(
                    models.Func(
                        models.Func("event_names", "event_name", function="array_append"),
                        function="batchjobs_words",
                        output_field=models.TextField(),
                    ),
                    name="gin_trgm_ops",
                ),
                fastupdate=False,
                name="job_event_words",
            ),
        ),
    ]
