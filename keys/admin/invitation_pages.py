"""Adding users and inviting them: the admin's pages, and the page that an invitation's link opens."""

from typing import Any, cast

from allauth.account.utils import perform_login
from django import forms
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from keys.actions import collecting, invitations
from keys.actions.accounts import set_role
from keys.actions.history import log
from keys.admin.forms import EXPIRES_IN, expiry_of
from keys.admin.prepared_pages import show_message
from keys.admin.user_actions import back, user_of
from keys.alerts.invitation_links import link_to, mail_link
from keys.models import Invitation, PreparedKey, User
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.submission import submit_form
from keys.rights.permissions import ADD_KEY, ADD_USER, CHANGE_USER
from keys.rights.roles import Role
from keys.rights.scopes import DEFAULT_PRESET, Preset

SESSION_NAME = "invitation"  # holds the invitation's primary key, not its secret


class AddForm(forms.Form):
    name = forms.CharField(
        max_length=150,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, "autocomplete": "off"}),
        help_text="The name for sign-in and display, such as ‘dora’ or ‘nightly-training’.",
    )
    email = forms.CharField(
        label="E-mail",
        required=False,
        max_length=254,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "email", "autocomplete": "off"}),
    )
    sign_in = forms.ChoiceField(
        label="Sign-in",
        choices=[
            ("link", "A person: create a link with which they set a password"),
            ("none", "A machine: it only owns keys and never signs in"),
        ],
        initial="link",
        widget=UnfoldAdminRadioSelectWidget,
    )
    role = forms.ChoiceField(
        choices=[
            (role.value, f"{role.label.capitalize()}: {role.description}")
            for role in Role
            if role is not Role.CUSTOM  # its permissions are on the user's page
        ],
        initial=Role.HOLDER.value,
        required=False,
        widget=UnfoldAdminRadioSelectWidget,
    )
    preset = forms.ChoiceField(
        label="First key",
        choices=[*((preset.value, preset.label) for preset in Preset), ("", "None yet")],
        initial=DEFAULT_PRESET.value,
        required=False,
        widget=UnfoldAdminRadioSelectWidget,
    )
    key_name = forms.CharField(
        label="Name of the key",
        max_length=100,
        initial="first key",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="The person collects the key after setting the password. You never see the secret.",
    )
    expires_in = forms.ChoiceField(
        label="The key expires in",
        choices=EXPIRES_IN,
        initial="90",
        required=False,
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, *arguments: Any, may_issue: bool, may_give_roles: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not may_give_roles:
            del self.fields["role"]
        if not may_issue:
            for name in ("preset", "key_name", "expires_in"):
                del self.fields[name]

    def clean(self) -> dict[str, Any]:
        answers = super().clean() or {}
        if answers.get("preset") and answers.get("sign_in") == "none":
            self.add_error("preset", "A machine cannot collect a key. Choose “None yet”, then issue it one.")
        if answers.get("sign_in") == "none" and answers.get("role", Role.HOLDER) not in ("", Role.HOLDER):
            self.add_error(
                "role", "A machine never signs in, so no other role than key holder has an effect."
            )
        if answers.get("preset") and not answers.get("key_name"):
            self.add_error("key_name", "Give the key a name.")
        return answers

    def key(self) -> dict[str, Any] | None:
        """The arguments for `collecting.prepare`; None without a key."""
        answers = self.cleaned_data
        if not answers.get("preset"):
            return None
        return {
            "name": answers["key_name"],
            "scopes": Preset(answers["preset"]).scopes,
            "expires_at": expiry_of(answers["expires_in"] or "90"),
        }


class PasswordForm(forms.Form):
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "autofocus": True}),
        help_text=" ".join(password_validators_help_texts()),
    )
    again = forms.CharField(
        label="Repeat the password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, user: User) -> None:
        super().__init__(*args)
        self.user = user

    def clean(self) -> dict[str, Any]:
        answers = super().clean() or {}
        password = answers.get("password")
        if password and answers.get("again") and password != answers["again"]:
            self.add_error("again", gettext("The passwords do not match."))
        elif password:
            try:
                validate_password(password, self.user)
            except ValidationError as error:
                self.add_error("password", error)
        return answers


@permission_required(ADD_USER, raise_exception=True)
@sensitive_variables("made")
def add(request: HttpRequest) -> HttpResponse:
    """Add a user, with a key if wanted: the form, and in the response to its POST the link or the message with it,
    which is shown only once."""
    user = actor_of(request).user
    form = AddForm(
        posted_data(request),
        may_issue=request.user.has_perm(ADD_KEY),
        may_give_roles=user is not None and user.is_superuser,
    )
    made: dict[str, Any] = {}

    @transaction.atomic
    def act() -> None:
        made["user"] = invitations.add_user(name=form.cleaned_data["name"], email=form.cleaned_data["email"])
        if role := form.cleaned_data.get("role"):
            made["user"] = set_role(user=made["user"], role=Role(role), actor=actor_of(request))
        if key := form.key():
            made["prepared"] = collecting.prepare(owner=made["user"], **key, actor=actor_of(request))

    if not submit_form(form, act):
        return render_page(request, "admin/keys/user/add.html", model=User, title="Add a user", form=form)
    user = made["user"]
    assert isinstance(user, User)  # noqa: S101  for the type checker
    if form.cleaned_data["sign_in"] == "none":
        log(user, "Added, to hold keys.", actor=actor_of(request))
        return back(request, user, f"{user.username} is added. Now issue a key for them.")
    log(user, "Added, to sign in.", actor=actor_of(request))
    return show_message(request, *made["prepared"]) if "prepared" in made else create_link(request, user)


@permission_required(CHANGE_USER, raise_exception=True)
def invite(request: HttpRequest, pk: int) -> HttpResponse:
    """Create a new link for a user who has none or forgot the password."""
    user = user_of(request, pk)
    if not user.is_active:
        return back(request, user, f"{user.username} is deactivated.")
    if request.method != "POST":
        waiting = PreparedKey.objects.waiting().filter(owner=user)
        context = {"person": user, "waiting": waiting}
        return render_page(
            request, "admin/keys/user/invite.html", model=User, title="Make a sign-in link", **context
        )
    return create_link(request, user)


@permission_required(CHANGE_USER, raise_exception=True)
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """End the open link."""
    user = user_of(request, pk)
    if request.method != "POST":
        return render_page(
            request, "admin/keys/user/withdraw.html", model=User, title="Withdraw a sign-in link", person=user
        )
    if not invitations.withdraw(user=user, actor=actor_of(request)):
        return back(request, user, "There is no open link.")
    log(user, "Sign-in link withdrawn.", actor=actor_of(request))
    return back(request, user, "The link is withdrawn. It no longer works.")


@sensitive_variables("secret", "link")
def create_link(request: HttpRequest, user: User) -> HttpResponse:
    """Create the link and show it once. Mail it too if mail is configured and the user has an address."""
    made, secret = invitations.invite(user=user, actor=actor_of(request))
    link = link_to(secret)
    log(user, "Sign-in link made.", actor=actor_of(request))
    context = {"person": user, "link": link, "invitation": made, "is_mailed": mail_link(user, link)}
    return render_page(request, "admin/keys/user/invited.html", model=User, title="Sign-in link", **context)


@sensitive_variables("secret")
def link(request: HttpRequest, secret: str) -> HttpResponse:
    """The page that the link opens. The session stores the invitation's primary key, so that the next URL carries no
    secret. Opening the link does not use it up, because mail programs open links too."""
    invitation = invitations.find_invitation(secret)
    if reason := invitations.end_reason(invitation):
        answer = render_refusal(request, reason)
    else:
        request.session[SESSION_NAME] = invitation.pk if invitation else None
        answer = redirect("invitation")
    # Only for this URL: from a page with this policy, browsers post forms with `Origin: null`, which CSRF refuses.
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@sensitive_post_parameters("password", "again")
def accept(request: HttpRequest) -> HttpResponse:
    """Set the password, then sign in as usual, with the second factor if there is one."""
    number = request.session.get(SESSION_NAME)
    invitation = Invitation.objects.select_related("user").filter(pk=number).first() if number else None
    reason = invitations.end_reason(invitation)
    if reason or invitation is None:
        return render_refusal(request, reason)
    form, accepted = PasswordForm(posted_data(request), user=invitation.user), list[User]()

    def act() -> None:
        address = actor_of(request).address
        password = form.cleaned_data["password"]
        accepted.append(invitations.accept(invitation=invitation, password=password, address=address))

    if not submit_form(form, act):
        return render(request, "keys/invitation.html", {"form": form, "person": invitation.user})
    request.session.flush()
    return cast(HttpResponse, perform_login(request, accepted[0], redirect_url=first_page(accepted[0])))


def first_page(user: User) -> str:
    """Where a user goes after setting the password: to the key that waits, if there is exactly one; else staff without
    keys to the admin, and all others to their account."""
    waiting = list(PreparedKey.objects.waiting().filter(owner=user)[:2])
    if len(waiting) == 1:
        return reverse("account-collect", args=[waiting[0].public_id])
    is_for_admin = user.is_staff and not waiting and not user.api_keys.exists()
    return reverse("admin:index") if is_for_admin else "/account/"


def render_refusal(request: HttpRequest, reason: str) -> HttpResponse:
    words = {"words": invitations.END_REASONS[reason]}
    return render(request, "keys/invitation_ended.html", words, status=404)


USER_PAGES = {"invite": invite, "withdraw": withdraw}
