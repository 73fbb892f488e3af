"""The table of operations names what each operation acts on, in MLflow's own words."""

from proxy.routes import message_types
from proxy.routes.table import OPERATIONS

SERVED = [operation for operation in OPERATIONS if not operation.refused]


def test_every_writing_operation_names_what_it_acts_on():
    silent = [operation.name for operation in SERVED if not operation.is_read and not operation.names_objects]

    assert silent == []


def test_every_field_that_the_table_names_is_one_of_mlflows():
    checked = 0
    for operation in SERVED:
        message = message_types.messages_by_request().get(f"{operation.method} {operation.path}")
        if message is None:
            continue
        checked += 1
        places = [place.field for place in (*operation.targets, *operation.parents, *operation.claims)]
        for field in [*places, *operation.tags]:
            if not field.startswith(("{", "@")):
                kind = message
                for part in field.split("."):
                    types = message_types.load_types()["messages"][kind]
                    assert part.rstrip("[]{}") in types, (operation.name, field)
                    kind = types[part.rstrip("[]{}")].split(" ")[-1]
    assert checked > 70
