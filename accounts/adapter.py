"""How allauth behaves here: nobody signs up by themselves, and it says nothing that the page does not say itself."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

QUIET = ("account/messages/logged_in.txt", "account/messages/logged_out.txt")


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kw: Any
    ) -> None:
        if message_template not in QUIET:
            super().add_message(request, level, message_template, *args, **kw)
