"""What is asked in the dialogs of the Exports page."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from exports.definitions import NAME_MAX
from exports.why import EMAIL_MAX


class CopyForm(forms.Form):
    name = forms.CharField(
        label=_("Name of the copy"),
        max_length=NAME_MAX,
        error_messages={"required": _("Give the copy a name.")},
        help_text=_("Other exports of the account have other names."),
    )


class WhyForm(forms.Form):
    # Checked by exports/why.py, whose sentence says what is wrong with it.
    email = forms.CharField(
        label=_("E-mail address"),
        max_length=EMAIL_MAX,
        error_messages={"required": _("Write the address of the person.")},
        widget=forms.TextInput(attrs={"inputmode": "email", "autocomplete": "off", "spellcheck": "false"}),
    )
