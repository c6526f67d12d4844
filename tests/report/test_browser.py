"""probe"""
from tests.browser import browser, visit  # noqa
from pathlib import Path
def test_probe(visit):
    v = visit(Path('/tmp/enc/out_joint/report.html'), offline=True)
    print(v.first_content_ms(), v.requests, v.problems)
    print("\n".join(v.audit()))
    assert 0
