"""Fields and widgets of the admin's own forms."""

from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import UnfoldAdminSelectWidget

SELECTED = mark_safe(" selected")


class ManyChoicesSelect(UnfoldAdminSelectWidget):  # type: ignore[misc]
    """A select that renders all options at once. Django renders a template for each: half a second for 10,000."""

    def use_required_attribute(self, initial: Any) -> bool:
        """Ours has an empty first choice. Django would look for it with an extra query."""
        return True

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        given = self.build_attrs(self.attrs, {**(attrs or {}), "name": name})
        chosen = "" if value is None else str(value)
        return format_html(
            "<select{}>{}</select>",
            flatatt(given),
            format_html_join(
                "",
                '<option value="{}"{}>{}</option>',
                (
                    (key := str(choice), SELECTED if key == chosen else "", label)
                    for choice, label in self.choices
                ),
            ),
        )


class LinesField(forms.CharField):
    """Text with one entry per line; blank lines and blanks around entries are ignored."""

    def to_python(self, value: Any) -> str:
        return "\n".join(
            line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()
        )
