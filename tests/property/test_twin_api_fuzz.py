"""Whatever a client sends, the twin answers: with a status, in bounded time, with no traceback."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.library import EMBEDDING, InstalledModel, Weights
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.units import GIB

PATHS = (
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/pull",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
)
KEYS = (
    "model name prompt messages input keep_alive stream options num_ctx num_predict from files "
    "source destination parameters content role tools think verbose shift encoding_format "
    "stream_options include_usage max_tokens system template truncate raw suffix"
).split()
NAMES = ("a:1b", "b", "A:1B", "nope", "", "x y", "m:cloud", "a:1b:local")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from((*NAMES, "5m", "-1", "0", "sha256:" + "0" * 64))
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(KEYS), values, max_size=6).flatmap(
    lambda body: st.sampled_from(NAMES).map(lambda name: {"model": name, **body})
)


class Quick:
    """Every load takes a second."""

    def load(self, order: LoadOrder) -> LoadResult:
        return LoadResult(seconds=1.0, total_bytes=order.model.file.file_bytes)


def new_api() -> Api:
    models = (
        InstalledModel(name="a:1b", weights=Weights(digest="sha256:" + "a" * 64, size_bytes=10**6)),
        InstalledModel(
            name="b",
            weights=Weights(digest="sha256:" + "b" * 64, size_bytes=10**6),
            capabilities=(EMBEDDING,),
        ),
    )
    spec = HostSpec(name="fuzz", system_total_bytes=GIB, models=models)
    return Api(TwinHost(spec, Quick(), Timeline(1e9)))


@given(st.lists(st.tuples(st.sampled_from(PATHS), bodies), min_size=1, max_size=4))
def test_any_json_gets_an_answer(requests: list[tuple[str, object]]) -> None:
    """Each request ends with a status of HTTP and a body that is whole, and `/api/ps` goes on."""
    api = new_api()
    for path, body in requests:
        method = "DELETE" if path == "/api/delete" else "POST"
        exchange = api.handle(method, path, json.dumps(body).encode())
        api.host.timeline.advance(api.host.timeline.now + 10_000)
        assert exchange.is_done
        assert exchange.status in {200, 400, 403, 404, 500, 501, 502}
    rows = api.handle("GET", "/api/ps")
    assert rows.status == 200
    json.loads(rows.take())


@given(
    st.sampled_from(("GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS")),
    st.sampled_from(("/", "/api/blobs/x", "/v1/models/", "//", "", *PATHS)) | st.text(max_size=12),
    st.binary(max_size=40),
)
def test_any_bytes_get_an_answer(method: str, path: str, body: bytes) -> None:
    """No method, path or body gives a traceback."""
    api = new_api()
    exchange = api.handle(method, path, body)
    api.host.timeline.advance(api.host.timeline.now + 10_000)
    assert exchange.is_done
    assert exchange.status >= 200
