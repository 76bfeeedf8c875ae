"""Forms of the settings pages."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.actors import Actor
from accounts.models import User
from accounts.permissions import Role
from accounts.services import roles_grantable

ROLE_SENTENCES = {
    Role.VIEWER: _("Reads jobs and data, changes nothing."),
    Role.MARKETER: _("Also starts and cancels jobs."),
    Role.MANAGER: _("Also manages API keys and members."),
}


class ApiKeyForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    role = forms.ChoiceField(label=_("Role"), initial=Role.MARKETER, widget=forms.RadioSelect)

    def __init__(self, *args: Any, by: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = roles_grantable(by=by)
        self.fields["role"].choices = [(role.value, role.label) for role in roles]  # type: ignore[attr-defined]
        self.role_choices = [(role.value, role.label, ROLE_SENTENCES[role]) for role in roles]


@cache
def zone_names() -> list[str]:
    """The IANA zones people choose from: regions and UTC, without abbreviations that are no places."""
    return sorted(zone for zone in available_timezones() if zone == "UTC" or ("/" in zone and zone[:4] != "Etc/"))


class ProfileForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, required=False)
    time_zone = forms.ChoiceField(label=_("Time zone"))

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        kwargs["initial"] = {"name": user.name, "time_zone": user.time_zone}
        super().__init__(*args, **kwargs)
        self.fields["time_zone"].choices = [(zone, zone.replace("_", " ")) for zone in zone_names()]  # type: ignore[attr-defined]
