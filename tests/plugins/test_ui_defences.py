"""What other sites, hostile data and strange requests get from the pages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins import town
from tests.plugins.conftest import Site

OURS = {"X-Assay": "1", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
VERIFY = "/api/provenance/verify"
ELSEWHERE = "/api/cases/none/decision"  # whoever is let through learns that there is no such case
SAYS = {"action": "reject", "reason": "the labels were turned"}
HOSTILE = '<script>alert(1)</script><a href="javascript:alert(2)">\u202ex\x00'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 404),
        ({**OURS, "Content-Type": "application/json; charset=utf-8"}, 404),
        ({**OURS, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({**OURS, "Sec-Fetch-Site": "same-site", "Origin": "https://other.testserver"}, 403),
        ({**OURS, "Sec-Fetch-Site": "none"}, 403),
        ({name: value for name, value in OURS.items() if name != "X-Assay"}, 403),
        ({**OURS, "X-Assay": "true"}, 403),
        ({**OURS, "Content-Type": "text/plain"}, 415),
        ({**OURS, "Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({**OURS, "Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"X-Assay": "1", "Content-Type": "application/json"}, 403),
        ({"X-Assay": "1", "Content-Type": "application/json", "Origin": "http://testserver"}, 404),
        ({"X-Assay": "1", "Content-Type": "application/json", "Origin": "http://testserver.evil"}, 403),
        ({"X-Assay": "1", "Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Authorization": "Basic eDp5"}, 403),
        ({"Content-Type": "application/json", "Authorization": "Bearer "}, 403),
    ],
)
def test_a_cookie_changes_something_only_from_our_own_pages(
    site: Site, headers: dict[str, str], status: int
) -> None:
    """The browser sends the cookie for anybody; what only our pages can send decides."""
    answer = site.by_cookie("POST", ELSEWHERE, "user", headers=headers, content=json.dumps(SAYS))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["kind"] == "cross_site"


def test_a_bearer_token_needs_no_browser_s_word(site: Site) -> None:
    """A script that holds a token is nobody's victim."""
    assert site.call("POST", ELSEWHERE, "user", json=SAYS).status_code == 404


def test_a_stale_cookie_beside_a_good_token_does_not_matter_and_a_bad_token_beside_a_good_cookie_does(
    site: Site,
) -> None:
    """Whoever shows a token is judged by it alone."""
    good = {"Authorization": f"Bearer {site.tokens['viewer']}"}
    assert site.call("GET", "/api/me", headers={**good, "Cookie": "_token=stale"}).status_code == 200
    answer = site.by_cookie("GET", "/api/me", "admin", headers={"Authorization": "Bearer forged"})
    assert answer.status_code == 401


def test_who_decides_is_who_is_logged_in_whatever_the_body_says(
    simple_site: Site, own_town: Callable[[], town.Facts]
) -> None:
    """A field that names a reviewer is refused, and the record has the name of the login."""
    facts = own_town()
    path = f"/api/cases/{facts.case}/decision"
    for smuggled in ({"reviewer": "ada"}, {"user": "ada"}, {"name": "ada"}):
        answer = simple_site.call("POST", path, "user", json={**SAYS, **smuggled})
        assert answer.status_code == 400, answer.text
        assert "Extra inputs are not permitted" in answer.json()["error"]["message"]
    answer = simple_site.call("POST", path, "user", json=SAYS)
    assert answer.status_code == 200, answer.text
    decisions = simple_site.call("GET", f"/api/cases/{facts.case}", "viewer").json()["decisions"]
    assert [(each["reviewer"], each["action"]) for each in decisions] == [("ursula", "reject")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"action": "reject", "reason": "why not", "reason": "twice"}',
        b'{"action": "approve", "reason": "no such action"}',
        b'{"action": "reject"}',
        b'{"action": "reject", "reason": "no"}',
        b'{"action": "reject", "reason": "   x   "}',
        b'{"action": "reject", "reason": 5}',
        b'{"action": "reject", "reason": "rows", "rows": []}',
        b'{"action": "reject", "reason": "rows", "rows": [-1]}',
        b'{"action": "reject", "reason": "rows", "rows": [1.5]}',
        b'{"action": "reject", "reason": "rows", "rows": ["1"]}',
        b'{"action": "reject", "reason": "rows", "rows": [true]}',
        b'{"action": "reject", "reason": "rows", "rows": [1], "group": "g"}',
        b'{"action": "reject", "reason": "' + b"x" * 4001 + b'"}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)
def test_a_decision_that_is_not_one_is_refused_in_words(
    site: Site, town_as_built: town.Facts, body: bytes
) -> None:
    """Unknown fields, wrong types, empty selections and broken JSON change nothing."""
    answer = site.call(
        "POST",
        f"/api/cases/{town_as_built.case}/decision",
        "admin",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["kind"] == "bad_request"
    assert error["message"]
    assert len(answer.content) < 4000


def test_nobody_learns_from_the_body_s_faults_before_login(site: Site, town_as_built: town.Facts) -> None:
    """The login is asked first, then the right, then the body."""
    path = f"/api/cases/{town_as_built.case}/decision"
    broken = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert site.call("POST", path, **broken).status_code == 401
    assert site.call("POST", path, "viewer", **broken).status_code == 403


def test_a_huge_body_is_not_read(site: Site, town_as_built: town.Facts) -> None:
    """By its announced length, and, where nothing is announced, as it comes."""
    path = f"/api/cases/{town_as_built.case}/decision"
    headers = {"Content-Type": "application/json"}
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(1000):
            sent += 16_384
            yield b" " * 16_384

    announced = site.call("POST", path, "admin", content=b" " * 70_000, headers=headers)
    streamed = site.call("POST", path, "admin", content=endless(), headers=headers)
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.json()["error"]["kind"] == "too_large"
    lying = site.call("POST", path, "admin", content=b"{}", headers={**headers, "Content-Length": "1e9"})
    assert lying.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/assets/%2e%2e/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/assets/..%5c..%5capp.py",
        "/static/notes.py",
        "/static/index.html",
        "/static/assets",
        "/static/assets/",
        "/static/",
        "/static/assets/app-1a2b.js%00.css",
    ],
)
def test_only_the_built_files_are_public(site: Site, path: str) -> None:
    """No path leads out of the folder, and no kind of file that pages do not have is sent."""
    answer = site.call("GET", path)
    assert answer.status_code in {401, 404}, answer.text
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_files_have_their_types_and_are_kept_by_their_names(site: Site) -> None:
    """A name with a digest in it may be kept for ever; others are asked for again."""
    script = site.call("GET", "/static/assets/app-1a2b.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    style = site.call("GET", "/static/assets/app-1a2b.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    icon = site.call("GET", "/static/icon.svg")
    assert (icon.headers["content-type"], icon.headers["cache-control"]) == ("image/svg+xml", "no-cache")
    again = site.call("GET", "/static/icon.svg", headers={"If-None-Match": icon.headers["etag"]})
    assert again.status_code == 304
    head = site.call("HEAD", "/static/assets/app-1a2b.js")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(script.content))


def test_every_answer_tells_the_browser_what_it_may_do(site: Site, town_as_built: town.Facts) -> None:
    """Pages, files, data, refusals: no script but ours, no frame but Airflow's, no guessing of types."""
    case = f"/api/cases/{town_as_built.case}"
    answers = [
        site.by_cookie("GET", "/", "viewer"),
        site.call("GET", "/p/overview"),
        site.call("GET", "/static/assets/app-1a2b.js"),
        site.call("GET", "/static/none.js"),
        site.call("GET", "/api/me", "viewer"),
        site.call("GET", case, "viewer"),
        site.call("GET", f"{case}/export.csv", "viewer"),
        site.call("GET", case),
        site.call("GET", "/api/cases/none", "viewer"),
        site.call("GET", "/api/nothing", "viewer"),
        site.call("DELETE", case, "admin"),
        site.call("POST", VERIFY, "viewer", content=b" " * 70_000),
    ]
    for answer in answers:
        rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == "'self'"
        assert rules["frame-ancestors"] == "'self'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        if "/static/" not in str(answer.url):
            assert answer.headers["cache-control"] == "no-store"
        if "/api/" in str(answer.url) and answer.status_code != 200:
            assert set(answer.json()) == {"error"}
            assert {"kind", "message"} <= set(answer.json()["error"])


def test_hostile_text_comes_back_as_json_text(simple_site: Site, own_town: Callable[[], town.Facts]) -> None:
    """Tags, script addresses, marks that turn the line around and NUL are characters of a JSON text."""
    facts = own_town()
    database = Path(facts.environment["ASSAY_HOME"]) / "assay.db"
    with sqlite3.connect(database) as connection:
        connection.execute("update 'case' set summary = ? where id = ?", (HOSTILE, facts.case))
        connection.execute(
            "update delivery set uri = ? where id = ?", ("javascript:alert(1)", facts.delivery)
        )
    connection.close()
    case = simple_site.call("GET", f"/api/cases/{facts.case}", "viewer")
    delivery = simple_site.call("GET", f"/api/deliveries/{facts.delivery}", "viewer")
    for answer in (case, delivery):
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.text.isascii()
    assert json.loads(case.text)["summary"] == HOSTILE
    assert json.loads(delivery.text)["uri"] == "javascript:alert(1)"
    wrong = simple_site.call("GET", "/api/cases/<script>alert(1)<%2Fscript>", "viewer")
    assert wrong.headers["content-type"] == "application/json"
    page = simple_site.by_cookie("GET", '/p/"><script>alert(1)<%2Fscript>', "viewer")
    assert "alert(1)" not in page.text


def test_half_a_surrogate_pair_is_text_and_no_number_is_infinite() -> None:
    """What a file from outside holds must not break the answer that speaks of it."""
    from assay_ui.answers import Json

    assert json.loads(Json({"cell": "\ud800 and \x00"}).body) == {"cell": "\ud800 and \x00"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        Json({"score": float("inf")})


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=zzz",
        "sort=drop table",
        f"q={'x' * 501}",
        "cursor=" + "A" * 1001,
    ],
)
def test_a_list_s_parameters_are_bounded(site: Site, query: str) -> None:
    """Pages of at most 500, cursors that we made, orders that there are."""
    answer = site.call("GET", f"/api/cases?{query}", "viewer")
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["kind"] == "bad_request"


def test_an_error_that_nobody_expected_is_told_by_an_id_alone(
    simple_site: Site, own_town: Callable[[], town.Facts], capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback is in the log under an id; the answer has the id."""
    facts = own_town()
    database = Path(facts.environment["ASSAY_HOME"]) / "assay.db"
    assert simple_site.call("GET", "/api/overview", "viewer").status_code == 200
    with sqlite3.connect(database) as connection:
        connection.execute("update 'case' set evidence = 'no json' where id = ?", (facts.case,))
    connection.close()
    answer = simple_site.call("GET", f"/api/cases/{facts.case}", "viewer")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["kind"] == "internal"
    assert error["id"] in error["next_step"]
    assert "Traceback" not in answer.text
    assert "json" not in error["message"].lower()


def test_an_unreachable_registry_is_503_and_the_pages_come_back_with_it(
    simple_site: Site, own_town: Callable[[], town.Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell needs no registry; data says what is wrong, and works again without a restart."""
    facts = own_town()
    with monkeypatch.context() as broken:
        broken.setenv("ASSAY_DATABASE_URL", "postgresql+psycopg2://assay@127.0.0.1:1/assay")
        answer = simple_site.call("GET", "/api/overview", "viewer")
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["kind"] == "unavailable"
        assert answer.headers["retry-after"]
        assert simple_site.by_cookie("GET", "/", "viewer").status_code == 200
    assert simple_site.call("GET", f"/api/cases/{facts.case}", "viewer").status_code == 200


def test_pages_that_were_not_built_say_how_to_build_them(tmp_path: Path, simple_site: Site) -> None:
    """A checkout without the built files is told apart from a broken one."""
    from fastapi.testclient import TestClient
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from assay_ui.app import build_app

    root = Starlette(routes=[Mount("/assay", build_app(static=tmp_path / "none"))])
    headers = {"Authorization": f"Bearer {simple_site.tokens['viewer']}"}
    with TestClient(root) as client:
        answer = client.get("/assay/p/overview", headers=headers)
        assert answer.status_code == 503
        assert "npm run build" in answer.text
        assert client.get("/assay/static/assets/app.js").status_code == 404


def test_the_shell_names_the_address_it_is_served_under(site: Site) -> None:
    """Relative links start from the mount, also behind a base URL."""
    from fastapi.testclient import TestClient

    page = site.by_cookie("GET", "/p/case/some%2Fid", "viewer")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<head><base href="/assay/"><title>' in page.text
    with TestClient(site.app, root_path="/team/airflow/assay") as client:
        headers = {"Authorization": f"Bearer {site.tokens['viewer']}"}
        assert '<base href="/team/airflow/assay/">' in client.get("/p/overview", headers=headers).text


def test_whoever_is_not_logged_in_is_led_to_the_login_and_back(site: Site) -> None:
    """A page answers with a page; the API with JSON that names the login's address."""
    page = site.call("GET", "/p/open?dag_id=adult__intake&run_id=a%2Bb")
    assert page.status_code == 401
    wanted = "%2Fassay%2Fp%2Fopen%3Fdag_id%3Dadult__intake%26run_id%3Da%252Bb"
    assert f'href="/auth/login?next={wanted}"' in page.text
    data = site.call("GET", "/api/overview")
    assert data.status_code == 401
    assert data.json()["error"]["login_url"] == "/auth/login?next=%2Fassay%2F"
