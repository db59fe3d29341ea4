"""A whole HTML page that fetches nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import html

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; img-src data:; script-src {allowed}">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: {width}; margin: 2em auto; \
padding: 0 1em; background: Canvas; color: CanvasText }}
table {{ border-collapse: collapse }}
{style}
</style></head><body>
{body}
{script}</body></html>
"""


def page(
    title: str, body: str, *, style: str = "", script: str = "", width: str = "46em"
) -> str:
    """Return a page; `body` is HTML, and a script that stands in it does not run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _PAGE.format(
        title=html.escape(title),
        body=body,
        style=style,
        script=f"<script>{script}</script>\n" if script else "",
        allowed=f"'sha256-{digest}'" if script else "'none'",
        width=width,
    )
