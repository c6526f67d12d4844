"""Every address: what it shows, to whom, and that nothing is changed by asking."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.app.conftest import describe
from tests.experiment.miniature import contents
from voxelcast.app.experiment import experiment_key
from voxelcast.testing.results import write_output

pytest.importorskip("starlette", reason="Starlette is missing; pip install 'voxelcast[app]'")
pytest.importorskip("httpx", reason="httpx is missing; pip install 'voxelcast[test]'")

from starlette.testclient import TestClient

from voxelcast.app.site import make_site

HERE = "http://127.0.0.1:8421"


def key_of(folder: Path) -> str:
    return experiment_key(folder.resolve())


def client_of(root: Path, **options: object) -> TestClient:
    """A browser that has opened the address with the key."""
    client = TestClient(make_site([root], key="secret"), base_url=HERE, **options)  # type: ignore[arg-type]
    assert client.get("/?key=secret").status_code == 200
    return client


@pytest.fixture(scope="module")
def client(few: Path) -> TestClient:
    return client_of(few)


def test_only_the_key_opens_the_page_and_it_leaves_the_address(few: Path) -> None:
    client = TestClient(make_site([few], key="secret"), base_url=HERE, follow_redirects=False)
    for refused in ("/", "/?key=", "/?key=secret2", "/?key=\u00e9", "/app.css", f"/e/{key_of(few / 'low')}"):
        answer = client.get(refused)
        assert answer.status_code == 403
        assert "low" not in answer.text
    answer = client.get("//elsewhere.org/?key=secret")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:8421", 200), ("localhost:9999", 200), ("localhost", 200), ("evil.com", 400),
    ("127.0.0.1.evil.com", 400), ("localhost.evil.com:8421", 400), ("", 400),
])  # fmt: skip
def test_other_names_of_this_machine_are_refused(client: TestClient, host: str, status: int) -> None:
    assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_sent(client: TestClient, few: Path, method: str) -> None:
    for address in ("/", "/compare", f"/e/{key_of(few / 'low')}", f"/e/{key_of(few / 'low')}/report"):
        assert client.request(method, address).status_code == 405


def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_code(client: TestClient, few: Path) -> None:
    low, high = (key_of(few / name) for name in ("low", "high"))
    broken = key_of(few / "broken")
    for address in ("/", "/?roi=V1", f"/e/{low}", f"/e/{broken}", f"/compare?e={low}&e={high}", "/nothing", "/?sort=x"):
        answer = client.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/live.js\" defer></script>)", answer.text)
        assert not re.findall(r"(?:src|href|action)=\"(?!/|#)", answer.text)
    for asset in re.findall(r"(?:src|href)=\"(/[\w.]+)\"", client.get("/").text):
        assert client.get(asset).status_code == 200


@pytest.mark.parametrize(("address", "status", "said"), [
    ("/?sort=size", 400, "sort must be one of name"),
    ("/?state=lost", 400, "state must be one of"),
    ("/compare", 400, "takes 2 to 20 experiments; got 0"),
    ("/compare?e=0&e=1", 404, "no experiment has the address"),
    ("/e/000000000000", 404, "no experiment has the address"),
    ("/e/000000000000/report", 404, "no experiment has the address"),
    ("/e/..%2f..%2fetc/report", 404, "does not exist"),
    ("/e/../../etc/passwd", 404, "does not exist"),
])  # fmt: skip
def test_what_is_wrong_is_said(client: TestClient, address: str, status: int, said: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert said in answer.text


def test_a_report_opens_as_if_it_came_from_another_site(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "few")
    low, high, middle = (tmp_path / "few" / name for name in ("low", "high", "middle"))
    report = low / "report.html"
    report.write_text("<!DOCTYPE html><title>any</title>")
    (tmp_path / "secret.html").write_text("secret")
    (high / "report.html").symlink_to(tmp_path / "secret.html")
    client = client_of(tmp_path / "few")
    answer = client.get(f"/e/{key_of(low)}/report")
    assert answer.content == report.read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    refused = client.get(f"/e/{key_of(high)}/report")
    assert refused.status_code == 403
    assert "leads outside its folder" in refused.text
    missing = client.get(f"/e/{key_of(middle)}/report")
    assert missing.status_code == 404
    assert "voxelcast report" in missing.text
    assert "report of middle" not in client.get("/").text.lower()


def test_scores_are_sent_as_they_are(client: TestClient, few: Path) -> None:
    answer = client.get(f"/e/{key_of(few / 'low')}/scores.csv")
    assert answer.content == (few / "low" / "scores.csv").read_bytes()
    assert "attachment" in answer.headers["content-disposition"]
    assert client.get(f"/e/{key_of(few / 'broken')}/scores.csv").status_code == 400


def test_looking_changes_nothing(few: Path) -> None:
    before = contents(few)
    client = client_of(few)
    low, high = (key_of(few / name) for name in ("low", "high"))
    asked = f"e={low}&e={high}"
    for address in ("/", f"/e/{low}", f"/e/{low}/scores.csv", f"/compare?{asked}", f"/compare/figures?{asked}"):
        assert client.get(address).status_code == 200
    assert contents(few) == before


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    output = write_output(tmp_path / "a", subjects=["<i>s"], rois=["V1"], name=nasty)
    describe(output, networks=[{"name": '"><img src=x>'}])
    describe(write_output(tmp_path / "b", name=nasty), encoders=["<b>"])
    client = client_of(tmp_path)
    asked = "&".join(f"e={key_of(tmp_path / name)}" for name in "ab")
    for address in ("/", "/?text=%3Cscript%3E", f"/e/{key_of(output)}", f"/compare?{asked}"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "&lt;script&gt;" in answer.text
        assert not re.search(r"<script>|<img|<i>|<b>", answer.text)


def test_experiments_are_tagged_grouped_and_drawn_against_their_settings(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "few")
    (tmp_path / "few" / "low" / "tags.txt").write_text("pilot\n\n<b>old</b>\n")
    client = client_of(tmp_path / "few")
    page = client.get("/?group=tag").text
    heads = re.findall(r"tag: (.*?) <span[^>]*>(\d+)", page)
    assert dict(heads) == {"—": "4", "pilot, &lt;b&gt;old&lt;/b&gt;": "1"}
    assert re.findall(r'id="open-(\w+)"', client.get("/?text=pilot").text) == [key_of(tmp_path / "few" / "low")]
    page = client.get("/").text
    assert "Score by setting: networks" in page
    scores = {
        name: pd.read_csv(few / name / "scores.csv").groupby("roi")["score"].mean().mean()
        for name in ("low", "middle", "high")
    }
    dots = {name: float(y) for y, name in re.findall(r'cy="([\d.]+)" r="5"><title>(\w+): [\d.]+, networks own/', page)}
    assert sorted(dots, key=dots.__getitem__) == sorted(scores, key=scores.__getitem__, reverse=True)
    lines = re.findall(r'<polyline points="([^"]+)"[^>]*><title>(\w+):', page)
    assert {name for _, name in lines} == {"low", "middle", "high"}
    assert client.get("/?group=size").status_code == 400
