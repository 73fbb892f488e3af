"""Names in which everything can be seen, and names in which something cannot."""

import pytest

from keys.refusals import Refusal
from proxy.policy import dangerous_input
from proxy.request.names import refuse_invisible
from proxy.routes.matching import match_operation

# (method, path, the field that holds the name)
NAMING = [
    ("POST", "/api/2.0/mlflow/experiments/create", "name"),
    ("POST", "/api/2.0/mlflow/experiments/update", "new_name"),
    ("POST", "/api/2.0/mlflow/registered-models/create", "name"),
    ("POST", "/api/2.0/mlflow/registered-models/rename", "new_name"),
]


@pytest.mark.parametrize(
    "code", ["0000", "001B", "007F", "0085", "00AD", "200B", "202E", "2028", "2029", "FEFF"]
)
@pytest.mark.parametrize(("method", "path", "field"), NAMING)
def test_a_name_with_an_invisible_character_is_refused(method, path, field, code):
    match = match_operation(method, path)

    with pytest.raises(Refusal) as refused:
        dangerous_input.check(match, {field: f"mod{chr(int(code, 16))}el"}, "")

    assert (refused.value.status, refused.value.reason) == (400, "invisible_character")
    assert f"U+{code}" in refused.value.message
    assert "position 4" in refused.value.message


@pytest.mark.parametrize(
    "code",
    [
        *(0xD800, 0xE000, 0x378, 0x10FFFF),  # half a pair, private use, unassigned
        *(
            0x34F,
            0x115F,
            0x17B4,
            0x180B,
            0x2800,
            0x3164,
            0xFE0F,
            0xFFA0,
            0xE0100,
        ),  # blank letters, marks, symbols
        0xE0041,  # a tag
    ],
)
def test_what_unicode_does_not_call_invisible_but_nobody_sees_is_refused_too(code):
    with pytest.raises(Refusal):
        refuse_invisible(f"model{chr(code)}", "name")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "churn",
            "a b/c-d_e.f:g",
            "Modèle",
            "modell für Köln",
            "модель",
            "μοντέλο",
            "モデル",
            "模型",
            "모델",
        ),
        *("می\u200cخواهم", "क्\u200dष", "ක්\u200dෂ"),  # joiners that spell words
        *("मॉडल", "แบบจำลอง", "نموذج", "דגם", "ሞዴል", "e\u0301", "ひらがな ガ", "x²", "🙂"),
    ],
)
@pytest.mark.parametrize(("method", "path", "field"), NAMING)
def test_letters_of_every_script_pass(method, path, field, name):
    dangerous_input.check(match_operation(method, path), {field: name}, "")


@pytest.mark.parametrize(
    "name",
    [
        "mod\u200cel",
        "mod\u200del",
        "\u200cmodel",
        "model\u200d",
        "م\u200dم",
        "می\u200c",
        "क\u200dष",
        "मॉ\u200cx",
    ],
)
def test_a_joiner_passes_only_where_a_script_needs_it(name):
    with pytest.raises(Refusal):
        refuse_invisible(name, "name")
