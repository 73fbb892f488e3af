"""The admin's page that verifies the ledger: every row of the chain, its time-stamps and the manifests."""

from django import forms
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminTextareaWidget

from keys.pages.frame import posted_data, render_page
from keys.pages.key_forms import MACHINE_TEXT
from keys.pages.progress import Progress
from keys.pages.submission import new_form_id
from keys.rights.permissions import VIEW_REGISTRATION
from proxy.ledger import stamps
from proxy.ledger.authority import AuthorityError
from proxy.ledger.verification import Head, Verdict, read_chain_state
from proxy.models import Registration
from proxy.provenance import verification


class HeadsForm(forms.Form):
    """Heads of the chain that were stored before."""

    heads = forms.CharField(
        label="Stored heads",
        required=False,
        max_length=100_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, **MACHINE_TEXT}),
        help_text="One per line, as this page or verify_ledger --head showed them. The chain must still contain them: "
        "only a stored head shows that rows at the end are missing.",
    )

    def clean_heads(self) -> list[Head]:
        try:
            return stamps.read_heads(self.cleaned_data["heads"])
        except AuthorityError as error:
            raise forms.ValidationError(f"A time-stamp is not valid: {error}") from None
        except ValueError:
            raise forms.ValidationError(
                "Paste heads as this page or verify_ledger --head shows them."
            ) from None


@permission_required(VIEW_REGISTRATION, raise_exception=True)
@require_http_methods(["GET", "HEAD", "POST"])
def verify_ledger(request: HttpRequest) -> HttpResponse:
    """The chain's end; after a POST, whether the chain is whole up to it. A POST changes nothing."""
    form = HeadsForm(posted_data(request))
    verdict = verify(request, form.cleaned_data["heads"]) if form.is_bound and form.is_valid() else None
    return render_page(
        request,
        "admin/proxy/verify_ledger.html",
        model=Registration,
        title="Verify the ledger",
        form=form,
        state=read_chain_state(),
        verdict=verdict,
        progress_id=new_form_id(),
    )


def verify(request: HttpRequest, heads: list[Head]) -> Verdict:
    progress, total = Progress(request), read_chain_state().sequence
    return verification.verify(heads, on_rows=lambda rows: progress(rows, max(rows, total)))
