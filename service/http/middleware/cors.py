"""CORS: Starlette's, with refused preflight requests in the shape of all errors."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from service.http.error_handlers import error_response


class Cors(CORSMiddleware):
    """ASGI middleware: CORS headers, and responses to preflight requests."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The response to a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        headers = dict(response.headers)
        for name in ("content-length", "content-type"):  # of the text
            del headers[name]
        reason = bytes(response.body).decode()
        return error_response(HTTPException(response.status_code, reason, headers))
