"""Keys, accounts, settings pages and signing in."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.actors import Actor
from accounts.models import ApiKey, AuditEvent, Membership
from accounts.permissions import Role
from tests.factories import PASSWORD, make_account, make_actor, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager() -> Actor:
    return make_actor(role=Role.MANAGER)


def signed_in(actor: Actor) -> Client:
    client = Client()
    assert actor.user
    client.force_login(actor.user)
    return client


def actions(actor: Actor) -> list[str]:
    return list(AuditEvent.objects.for_account(actor.account).order_by("pk").values_list("action", flat=True))


def test_a_key_opens_until_it_is_revoked(manager: Actor):
    key, token = services.api_key_create(by=manager, name=" Warehouse ", role=Role.MARKETER)
    assert re.fullmatch(r"bd_live_[a-z0-9]{8}[A-Za-z0-9_-]{43}", token)
    assert (key.name, key.hint, key.role) == ("Warehouse", token[-4:], "marketer")
    assert token[16:] not in repr(ApiKey.objects.filter(pk=key.pk).values().get())
    assert services.api_key_authenticate(token=token) == key
    services.api_key_revoke(by=manager, key=key)
    services.api_key_revoke(by=manager, key=key)
    assert services.api_key_authenticate(token=token) is None
    assert actions(manager) == ["api_key.created", "api_key.revoked"]


def test_wrong_tokens_are_refused(manager: Actor):
    _key, token = services.api_key_create(by=manager, name="a")
    wrong = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token + "x",
        token[:-1],
        token.upper(),
        "",
        "bd_live_",
    ]
    wrong += ["bd_live_aaaaaaaa" + token[16:], token + "\n", token.replace("bd_live_", "")]
    assert [services.api_key_authenticate(token=t) for t in wrong] == [None] * len(wrong)


def test_last_use_is_written_once_a_minute(manager: Actor, django_assert_num_queries, time_machine):
    key, token = services.api_key_create(by=manager, name="a")
    time_machine.move_to("2026-11-21T10:00:00Z", tick=False)
    services.api_key_authenticate(token=token)
    with django_assert_num_queries(1):
        services.api_key_authenticate(token=token)
    time_machine.shift(61)
    with django_assert_num_queries(2):
        services.api_key_authenticate(token=token)
    key.refresh_from_db()
    assert key.last_used_at
    assert key.last_used_at.isoformat() == "2026-11-21T10:01:01+00:00"


def test_nobody_gives_away_more_than_they_have():
    marketer = make_actor(role=Role.MARKETER)
    with pytest.raises(services.RoleTooHighError):
        services.api_key_create(by=marketer, name="a", role=Role.MANAGER)
    with pytest.raises(services.RoleTooHighError):
        services.membership_add(by=marketer, user=make_user(), role=Role.MANAGER)
    assert not ApiKey.objects.for_account(marketer.account).exists()


def test_accounts_and_members(manager: Actor):
    assert manager.user
    first = services.account_create(name="Pier Nine Vinyl", manager=manager.user)
    second = services.account_create(name="Pier Nine Vinyl")
    assert (first.slug, second.slug) == ("pier-nine-vinyl", "pier-nine-vinyl-2")
    user = make_user()
    services.membership_add(by=manager, user=user, role=Role.VIEWER)
    services.membership_add(by=manager, user=user, role=Role.VIEWER)
    services.membership_add(by=manager, user=user, role=Role.MARKETER)
    assert Membership.objects.get(user=user).role == "marketer"
    assert actions(manager) == ["membership.added", "membership.changed"]


def test_the_token_is_shown_once(manager: Actor):
    client = signed_in(manager)
    assert b'name="role"' in client.get(reverse("api_key_new")).content
    made = client.post(reverse("api_key_new"), {"name": "Warehouse", "role": "viewer"})
    assert made.status_code == 201
    assert "no-store" in made.headers["Cache-Control"]
    token = re.search(r"bd_live_[a-z0-9]{8}[\w-]{43}", made.content.decode())
    assert token
    assert services.api_key_authenticate(token=token[0])
    shown = client.get(reverse("api_key_list")).content.decode()
    assert "Warehouse" in shown
    assert token[0] not in shown


def test_a_key_without_name_or_with_an_unknown_role_is_refused(manager: Actor):
    client = signed_in(manager)
    for data in (
        {},
        {"name": "", "role": "viewer"},
        {"name": "a", "role": "owner"},
        {"name": "a\0", "role": "viewer"},
    ):
        assert client.post(reverse("api_key_new"), data).status_code == 422
    assert not ApiKey.objects.for_account(manager.account).exists()


def test_revoking_asks_first(manager: Actor):
    key, token = services.api_key_create(by=manager, name="Old tool")
    client = signed_in(manager)
    url = reverse("api_key_revoke", args=[key.pk])
    assert "Revoke the key “Old tool”?" in client.get(url).content.decode()
    assert services.api_key_authenticate(token=token)
    assert client.post(url).status_code == 302
    assert services.api_key_authenticate(token=token) is None


def test_the_key_page_asks_the_database_the_same_for_many(manager: Actor, django_assert_max_num_queries):
    client = signed_in(manager)
    for number in range(5):
        services.api_key_create(by=manager, name=f"Key {number}")
    with django_assert_max_num_queries(7):
        client.get(reverse("api_key_list"))


def test_the_profile_keeps_name_and_zone(manager: Actor):
    client = signed_in(manager)
    assert client.post(reverse("profile"), {"name": "Marta", "time_zone": "Europe/Lisbon"}).status_code == 302
    assert client.post(reverse("profile"), {"name": "x", "time_zone": "Europe/Atlantis"}).status_code == 422
    assert manager.user
    manager.user.refresh_from_db()
    assert (manager.user.name, manager.user.time_zone) == ("Marta", "Europe/Lisbon")
    assert "Europe/Lisbon" in client.get(reverse("profile")).content.decode()


def test_switching_goes_only_where_one_belongs(manager: Actor):
    elsewhere = make_account("Elsewhere")
    both = make_account("Quayside")
    Membership.objects.create(account=both, user=manager.user, role=Role.VIEWER)
    client = signed_in(manager)
    url = reverse("account_switch")
    assert client.post(url, {"account": both.pk}).status_code == 302
    assert client.session["account_id"] == both.pk
    for wrong in (elsewhere.pk, "", "x", "9" * 30, "9" * 5000, "-1"):
        assert client.post(url, {"account": wrong}).status_code == 404
    assert client.session["account_id"] == both.pk
    # A viewer there, so the keys are out of reach; and back again once the membership has ended.
    assert client.get(reverse("api_key_list")).status_code == 403
    Membership.objects.for_account(both).delete()
    assert client.get(reverse("api_key_list")).status_code == 200


def test_signing_in_by_e_mail_and_out():
    user = make_user(make_account())
    client = Client()
    login = reverse("account_login")
    assert client.get(login).status_code == 200
    inside = client.post(login, {"login": user.email.upper(), "password": PASSWORD, "next": "/settings/profile/"})
    assert (inside.status_code, inside.headers["Location"]) == (302, "/settings/profile/")
    outside = client.post(login, {"login": user.email, "password": PASSWORD, "next": "https://evil.example/"})
    assert not outside.headers.get("Location", "/").startswith("http")
    assert client.post(reverse("account_logout")).status_code == 302
    assert client.get(reverse("profile")).status_code == 302


def test_nobody_signs_up():
    assert Client().get("/accounts/signup/").status_code == 404


def test_wrong_passwords_are_throttled_and_others_get_in():
    victim, other = make_user(make_account()), make_user(make_account())
    login = reverse("account_login")
    answers = [Client().post(login, {"login": victim.email, "password": f"wrong {n}"}) for n in range(100)]
    assert all(answer.status_code in (200, 400, 429) for answer in answers)
    # The right password does not help any more, from anywhere.
    late = Client().post(login, {"login": victim.email, "password": PASSWORD}, REMOTE_ADDR="192.0.2.7")
    assert late.status_code == 200
    assert b"Too many failed" in late.content
    # Someone else behind the same address is not kept out.
    assert Client().post(login, {"login": other.email, "password": PASSWORD}).status_code == 302


def test_one_address_cannot_try_everybody():
    login = reverse("account_login")
    texts = [Client().post(login, {"login": f"p{n}@example.com", "password": "wrong"}).content for n in range(62)]
    assert b"Too many failed" not in texts[0]
    assert b"Too many failed" in texts[-1]


def test_a_forgotten_password_is_reset_by_mail(mailoutbox):
    user = make_user(make_account())
    client = Client()
    for email in (user.email, "nobody@example.com"):
        answer = client.post(reverse("account_reset_password"), {"email": email}, follow=True)
        assert answer.status_code == 200
    assert [mail.to for mail in mailoutbox] == [[user.email]]
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", mailoutbox[0].body)
    assert link
    form = client.get(link[1], follow=True)
    fresh = {"password1": "a much better secret", "password2": "a much better secret"}
    assert client.post(form.request["PATH_INFO"], fresh, follow=True).status_code == 200
    user.refresh_from_db()
    assert user.check_password("a much better secret")
