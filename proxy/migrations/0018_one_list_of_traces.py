from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("proxy", "0017_usage_by_organisation")]

    operations = [
        migrations.AddConstraint(
            model_name="owner",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "trace")),
                fields=("environment", "name"),
                name="owner_of_one_trace",
            ),
        ),
    ]
