"""docs/operators.md lists what the families test, no more and no less."""

import re

import pytest

from tests.surface.table import PAGE, page, rows

pytestmark = pytest.mark.parity


def test_every_tested_operation_is_listed():
    listed = re.findall(r"^\| `([\w.]+)` \|", PAGE.read_text(), re.MULTILINE)
    tested = [name for _, names in rows() for name, _ in names]
    assert listed == tested, "python -m tests.surface.table"


@pytest.mark.slow
def test_the_page_is_what_passes():
    assert PAGE.read_text() == page(), "python -m tests.surface.table"
