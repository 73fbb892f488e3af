"""What a key's scopes allow, in words."""

import pytest

from keys.rights.scopes import Preset, describe_missing_reads


@pytest.mark.parametrize("preset", Preset)
def test_a_preset_gives_no_warning(preset):
    assert describe_missing_reads(preset.scopes) == []


def test_a_key_that_may_write_but_not_read_is_warned_about():
    [warning] = describe_missing_reads(["tracking:write", "traces:read", "registry:read", "registry:delete"])

    assert "end_run leaves the run RUNNING" in warning
    assert warning.endswith("Add the scope tracking:read.")
    [other] = describe_missing_reads(["artifacts:delete"])
    assert other.startswith("The key may change artifact files but not read them")
