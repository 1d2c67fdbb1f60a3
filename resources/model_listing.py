"""Which models a server that speaks the OpenAI protocol lists."""

import email.message
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from mmat_dagster.addresses import FORM, is_bare
from mmat_dagster.training.executor import ServingFailed
from resources.redaction import Secret

ANSWER_S = 10.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# It speaks the protocol, and has no such list.
UNLISTED = frozenset({404, 405, 501})
# A list of models is far shorter.
MAX_BYTES = 4_000_000


class _Model(BaseModel):
    id: str


class _List(BaseModel):
    data: list[_Model]


def listed_models(base_url: str, api_key: str = "") -> list[str] | None:
    """Return the names of a server's models, None where it does not tell; raise ServingFailed where it is not there."""
    url, key = f"{base_url.rstrip('/')}/models", api_key.strip()
    if not is_bare(url):
        raise ServingFailed(f"the server's URL must be like {FORM}")
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310
        with _opener(url).open(request, timeout=ANSWER_S) as response:
            listed = _List.model_validate_json(Secret(key).cleared_bytes(response.read(MAX_BYTES)))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in UNLISTED:
            return None
        raise ServingFailed(_refused(base_url, error.code)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError | json.JSONDecodeError):
            raise ServingFailed(f"{url} lists no models as the OpenAI protocol does: check the URL") from None
        told = Secret(key).cleared(str(error))
        raise ServingFailed(f"{base_url} cannot be reached: start the server, or check the URL ({told})") from None
    return [model.id for model in listed.data]


def _refused(base_url: str, status: int) -> str:
    if status in (401, 403):
        return f"{base_url} refuses the key (status {status}): export MMAT_STUDENT_KEY"
    if 300 <= status < 400:
        return f"{base_url} sends elsewhere (status {status}), where nobody follows: set the URL to the end of it"
    return f"{base_url} does not list its models (status {status}): look into the server's log"


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens `url` and follows nobody elsewhere; this machine is never asked through a proxy."""
    if urlsplit(url).hostname in LOOPBACK:
        return urllib.request.build_opener(_StayHere, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(_StayHere)


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the refusal that it is: urllib would send the key along to any host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: object,
        code: int,
        msg: str,
        headers: email.message.Message,
        newurl: str,
    ) -> None:
        """Go nowhere, which makes an HTTPError of it."""
