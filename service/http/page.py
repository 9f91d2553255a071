"""The teaching page: a few files of this package, nothing from elsewhere."""

from pathlib import Path

from flask import Blueprint, send_from_directory

from service.http.description import describes
from service.http.schemas import file_answers

blueprint = Blueprint("page", __name__)

_FOLDER = Path(__file__).resolve().parent.parent / "page"
# Listed, so that what else may lie in the folder is never sent.
_NAMES = (
    "'api.js', 'archive.js', 'card.js', 'chooser.js', 'classes.js', 'confusion.js', 'curve.js', 'dialog.js', "
    "'dom.js', 'drops.js', 'example.js', 'findings.js', 'gallery.js', 'jobs.js', 'journal.js', 'known.js', "
    "'live.js', 'map.js', 'messages.js', 'neighbours.js', 'news.js', 'options.js', 'page.js', 'picture.js', "
    "'record.js', 'results.js', 'review.js', 'settings.js', 'signin.js', 'stream.js', 'switching.js', 'tabs.js', "
    "'theme.js', 'thumbs.js', 'training.js', 'uploads.js', 'versions.js', 'why.js', 'words.js', 'icon.svg', "
    "'page.css', 'dark.css'"
)
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
_POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@blueprint.get("/")
@describes(answers=file_answers(["text/html"]))
def index():
    """The page."""
    response = send_from_directory(str(_FOLDER), "index.html")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get(f"/page/<any({_NAMES}):name>")
@describes(answers=file_answers(["text/javascript", "application/javascript", "text/css", "image/svg+xml"]))
def asset(name: str):
    """What the page needs."""
    response = send_from_directory(str(_FOLDER), name)
    response.headers["Cache-Control"] = "no-cache"
    return response
