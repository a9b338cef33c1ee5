"""A handler of requests in Python: says what it was asked."""
import json

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        if request.path_with_query() == "/loop":
            while True:
                pass
        body, incoming = b"", request.consume()
        with incoming.stream() as stream:
            while True:
                try:
                    body += stream.blocking_read(1 << 16)
                except Err:
                    break
        method = type(request.method()).__name__.removeprefix("Method_").upper()
        text = json.dumps({"method": method, "path": request.path_with_query(), "body": body.decode()}).encode()
        response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
        out = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with out.write() as writer:
            for at in range(0, len(text), 4096):
                writer.blocking_write_and_flush(text[at:at + 4096])
        OutgoingBody.finish(out, None)
