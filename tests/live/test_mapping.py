"""/v1/map of a real daemon."""

import json


def test_map(tiny_daemon, make_picture, encode):
    """Every example with its class, like ones together; polled at no cost until something is taught or renamed."""
    empty = tiny_daemon.get("/v1/map")
    assert empty.json == {"items": [], "explained": [0.0, 0.0], "total": 0, "shown": 0}
    for colour in ("red", "blue"):
        for seed in range(3):
            tiny_daemon.teach(colour, encode(make_picture(colour, seed)))
    reply = tiny_daemon.get("/v1/map")
    places = {colour: [one["x"] for one in reply.json["items"] if one["class"] == colour] for colour in ("red", "blue")}
    assert [len(some) for some in places.values()] == [3, 3]
    assert max(places["red"]) < min(places["blue"]) or max(places["blue"]) < min(places["red"])
    assert (reply.json["total"], reply.json["shown"]) == (6, 6)
    ids = {one["id"] for one in tiny_daemon.get("/v1/examples").json["items"]}
    assert {one["id"] for one in reply.json["items"]} == ids

    tag = reply.headers["Etag"]
    again = tiny_daemon.get("/v1/map", If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["Cache-Control"] == reply.headers["Cache-Control"] == "no-cache"
    assert tiny_daemon.get("/v1/map?size=2", If_None_Match=tag).json["shown"] == 2
    tiny_daemon.ask("PATCH", "/v1/classes/red", json.dumps({"name": "rouge"}), Content_Type="application/json")
    renamed = tiny_daemon.get("/v1/map", If_None_Match=tag)
    assert {one["class"] for one in renamed.json["items"]} == {"rouge", "blue"}
    tiny_daemon.teach("blue", encode(make_picture("blue", 9)))
    assert tiny_daemon.get("/v1/map", If_None_Match=renamed.headers["Etag"]).json["total"] == 7


def test_sizes_that_are_refused(tiny_daemon):
    """From 1 to 5000."""
    for size in ("0", "5001", "x"):
        reply = tiny_daemon.get(f"/v1/map?size={size}")
        assert (reply.status, reply.json["code"]) == (422, "invalid")
