"""AWS: the region, the credentials and the signatures, by botocore.

It is the extra ``bedrock``, imported where it is needed. It finds credentials, renews
them before they expire and signs; none of our requests is sent by it.
"""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from pandas_llm import environment
from pandas_llm._http.masking import redacted
from pandas_llm._http.transport import Transport
from pandas_llm.errors import AuthenticationError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_llm.options import Settings
    from pandas_llm.types import HTTPRequest, HTTPResponse

_NAMED = re.compile(
    r"(?://(?:[\w-]+\.)*bedrock-runtime(?:-fips)?\.|\barn:aws[a-z-]*:[a-z-]+:)"
    r"([a-z]+(?:-[a-z0-9]+)+)[.:]"
)
"""The host of an endpoint, of a VPC's too, or a model's ARN, up to the region."""
_KEY_ID = re.compile(r"A[A-Z]{3}[A-Z2-7]{16}")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+-[0-9]+")


def region_of(*named: str | None) -> str:
    """Return the region of an address or an ARN, of the environment or the profile.

    Raises
    ------
    ConfigurationError
        If none names a region, or the name is not one; with the ways out.
    """
    for match in map(_NAMED.search, filter(None, named)):
        if match:
            return match[1]
    name = environment.variable("AWS_REGION", "AWS_DEFAULT_REGION")
    if not name and find_spec("botocore") is not None:
        with _told():
            name = _session().get_config_variable("region")
    if not name:
        raise ConfigurationError(ways_out("no AWS region is set"))
    if not _REGION.fullmatch(name):
        what = f"{name!r} is not the name of an AWS region, such as 'us-east-1'"
        raise ConfigurationError(ways_out(what))
    return str(name)


def check_botocore() -> None:
    """Raise without botocore, before a row is asked."""
    _session()


def ways_out(problem: str) -> str:
    """Describe what is missing for requests to AWS, and what could be used instead."""
    return (
        f"{problem}. Bedrock needs a region, and a key or credentials. Ways out:\n"
        "  a region:     set AWS_REGION, or pass base_url="
        "'https://bedrock-runtime.REGION.amazonaws.com'\n"
        "  a key:        set AWS_BEARER_TOKEN_BEDROCK, or pass api_key=\n"
        "  credentials:  pip install 'pandas-llm-accessor[bedrock]', then `aws sso "
        "login`, AWS_PROFILE,\n"
        "                AWS_ACCESS_KEY_ID and its like, or the role of this machine"
    )


def _found() -> tuple[Any, str]:
    """Return credentials, and whose limits count; it may ask files and the network."""
    with _told():
        credentials = _session().get_credentials()
        if credentials is None:
            raise ConfigurationError(ways_out("no AWS credentials are found"))
    now = _current(credentials)
    return credentials, getattr(now, "account_id", None) or account_of(now.access_key)


def _current(credentials: Any) -> Any:
    """Return what credentials are now, renewed if they are about to expire."""
    with _told():
        return credentials.get_frozen_credentials()


def account_of(key_id: str) -> str:
    """Return the account that an access key's name holds, else the name.

    The machines of a role have keys of their own, and the limits of one account.

    >>> account_of("ASIAQNZGKIQY56JQ7WML")
    '029608264753'
    """
    if not _KEY_ID.fullmatch(key_id):
        return key_id
    number = int.from_bytes(base64.b32decode(key_id[4:])[:6])
    return f"{(number & 0x7FFFFFFFFF80) >> 7:012}"


def _session() -> Any:
    """Return a session of botocore, which reads the variables and files of AWS."""
    try:
        from botocore.session import Session
    except ImportError:
        what = "no key is set, and botocore, which signs requests, is not installed"
        raise ConfigurationError(ways_out(what)) from None
    return Session()


@contextmanager
def _told() -> Iterator[None]:
    """Raise what botocore fails by with the ways out."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, RuntimeError) as error:  # RuntimeError: expired
        error.__traceback__ = None  # its frames hold the credentials
        raise ConfigurationError(ways_out(f"AWS credentials: {error}")) from error


class Signed(Transport):
    """Signs each request for AWS just before it leaves: what is signed is sent."""

    def __init__(self, settings: Settings, region: str) -> None:
        super().__init__(settings)
        self._region = region
        self._secrets: set[bytes] = set()
        """Tokens of sessions that were sent: AWS quotes them in some errors."""

    async def __aenter__(self) -> Self:
        """Find the credentials, before a row is asked."""
        self._credentials, self.account = await asyncio.to_thread(_found)
        return await super().__aenter__()

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send a request with its signature, which holds for five minutes."""
        # those that do not expire have no such method; to renew may take seconds
        expiring = getattr(self._credentials, "refresh_needed", lambda: False)
        if not expiring():
            current = self._credentials.get_frozen_credentials()
        else:
            try:
                current = await asyncio.to_thread(_current, self._credentials)
            except ConfigurationError as error:
                raise AuthenticationError(str(error)) from error.__cause__
        response = await super().send(self._sign(request, current))
        return redacted(response, self._secrets)

    def _sign(self, request: HTTPRequest, credentials: Any) -> HTTPRequest:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        if credentials.token:
            self._secrets.add(credentials.token.encode())
        # of the other headers a proxy may change any
        kind = {"Content-Type": request.headers["Content-Type"]}
        made = AWSRequest("POST", request.url, kind, request.body)
        SigV4Auth(credentials, "bedrock", self._region).add_auth(made)
        return request._replace(headers={**request.headers, **dict(made.headers)})
