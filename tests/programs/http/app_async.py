"""The same for WASI 0.3: what a request has is a stream, and so is what is answered."""
import json

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response


def done():
    return wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))[1]


def no_trailers():
    return wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]


async def send(writer, text):
    with writer:
        await writer.write_all(text)


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        method = type(request.get_method()).__name__.removeprefix("Method_").upper()
        path = request.get_path_with_query()
        if path == "/loop":
            while True:
                pass
        incoming, body = Request.consume_body(request, done())[0], b""
        with incoming:
            while not incoming.writer_dropped:
                body += await incoming.read(1 << 16)
        writer, reader = wit_world.byte_stream()
        text = json.dumps({"method": method, "path": path, "body": body.decode()})
        componentize_py_async_support.spawn(send(writer, text.encode()))
        fields = Fields.from_list([("content-type", b"application/json")])
        return Response.new(fields, reader, no_trailers())[0]
