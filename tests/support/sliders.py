"""What the tests of the figures with a slider share."""

import json
import re


def data(html):
    """What the script of a figure works with."""
    return json.loads(re.search(r"const data = (.*);\n", html)[1])


def check_text_follows_arguments(figure):
    """Equal arguments give equal text, and others another id."""
    assert figure() == figure()
    ids = {re.search(r'id="(slider-\w+)"', html)[1] for html in (figure(), figure(title="B"))}
    assert len(ids) == 2
