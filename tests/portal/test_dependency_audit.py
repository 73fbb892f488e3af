"""What was not audited is not called sound."""

from portal import dependency_audit

SOUND = {"name": "django", "version": "5.2.19", "vulns": []}
SKIPPED = {"name": "attrs", "skip_reason": "Dependency not found on PyPI"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": "…"}
BROKEN = {"name": "idna", "version": "1.0", "vulns": [HOLE]}


def test_a_known_hole_fails_and_is_named(capsys):
    assert dependency_audit.verdict([SOUND, BROKEN, SKIPPED]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "idna 1.0: PYSEC-1; fixed in: 2.0",
        "2 of 3 packages audited, 1 known holes.",
    ]


def test_where_nothing_could_be_asked_it_says_so(capsys):
    assert dependency_audit.verdict([SKIPPED, SKIPPED]) == 0
    assert "was not run" in capsys.readouterr().out


def test_without_holes_it_says_how_many_were_looked_at(capsys):
    assert dependency_audit.verdict([SOUND]) == 0
    assert capsys.readouterr().out == "1 of 1 packages audited, 0 known holes.\n"
