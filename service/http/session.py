"""/v1/session: the page signs in with a token, once, and is known by a cookie from then on."""

from flask import Blueprint, jsonify, request

from service.errors import Invalid
from service.http.access import CLASSIFY, COOKIE, MANAGE, session_name
from service.http.description import describes
from service.http.problems import problem
from service.http.reading import json_body
from service.http.schemas import TEXT, YES_OR_NO, only, or_null, record
from service.http.services import services
from service.store.sessions import SECONDS

blueprint = Blueprint("session", __name__)

_SCOPE = or_null(dict(TEXT, enum=[CLASSIFY, MANAGE]))


@blueprint.get("/v1/session")
@describes(answers={200: record(scope=_SCOPE, needed=YES_OR_NO)})
def show():
    """What this client may do, and whether it needs to sign in for that."""
    access = services().access
    return jsonify(scope=access.standing_of(request).scope, needed=access.needed)


@blueprint.post("/v1/session")
@describes(
    answers={200: record(scope=_SCOPE), 401: "token_wrong", 422: "invalid", 429: "too_many_failures"},
    body=only(record(token=dict(TEXT, minLength=1))),
)
def sign_in():
    """A session for who knows a token; its id leaves in a cookie that scripts can't read."""
    access, body = services().access, json_body()
    token = body.get("token") if isinstance(body, dict) and set(body) == {"token"} else None
    if not isinstance(token, str) or not token:
        raise Invalid('the body is {"token": "..."}, with a token that is not empty', "token")
    if not access.needed:
        return jsonify(scope=access.standing_of(request).scope)
    signed_in = access.sign_in(request.remote_addr or "", token)
    if signed_in is None:
        return problem(401, "token_wrong", "this token is not accepted", WWW_Authenticate="Bearer")
    scope, name = signed_in
    response = jsonify(scope=scope)
    flags = {"path": "/", "secure": request.is_secure, "httponly": True, "samesite": "Strict"}
    response.set_cookie(COOKIE, name, max_age=SECONDS, **flags)
    return response


@blueprint.delete("/v1/session")
@describes(answers={200: record(scope=_SCOPE, needed=YES_OR_NO)})
def sign_out():
    """End the session of the cookie."""
    access = services().access
    access.sessions.close(session_name(request.headers.get("Cookie", "")))
    response = jsonify(scope=None if access.needed else access.standing_of(request).scope, needed=access.needed)
    response.delete_cookie(COOKIE, path="/", secure=request.is_secure, httponly=True, samesite="Strict")
    return response
