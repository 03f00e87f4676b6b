"""What went wrong with a URL: whether to try again, who is to blame, and the sentence. No secret is in any of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from sapiens_pl.core.errors import MissingRemoteError, RemoteError, SapiensError, StoreRefusedError
from sapiens_pl.core.wording import one_line

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://(?:(?!,[A-Za-z][A-Za-z0-9+.-]+://)[^\s'\"<>])+")
"""Of several with commas between, each."""
_CLOSING = {"]": "[", "}": "{", ")": "("}
_AMAZON = ("s3", "s3a")
_WEB = ("http", "https")
_AGAIN = "run the same command again: what is done stays"

_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "UserSuspended"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "RequestTimeout", "OperationAborted"}
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "DefaultCredentialsError",
    "RefreshError", "ClientAuthenticationError", "LocalTokenNotFoundError",
}  # fmt: skip
_UNUSABLE = {"TooManyRedirects", "InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError",
             "ParamValidationError", "NonHttpUrlRedirectClientError", "InvalidUrlRedirectClientError"}  # fmt: skip
_CUT_OFF = {"ClientPayloadError", "ResponseStreamingError", "IncompleteReadError", "IncompleteRead"}
_LIBRARIES = ("aiohttp.", "aiobotocore.", "botocore.", "urllib3.", "requests.", "httpx.", "httpcore.", "azure.",
              "gcsfs.", "google.", "fsspec.exceptions", "asyncio.", "concurrent.")  # fmt: skip
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; FSSPEC_S3_ANON=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "HF_TOKEN",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}


class Verdict(NamedTuple):
    """`again`: it may pass when it is tried again; `of_the_store`: no other thing of the store would do better."""

    error: SapiensError
    again: bool = False
    of_the_store: bool = False


def hidden(url: str) -> str:
    """A URL as it may be shown and recorded: without user, password, and what follows the question mark."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets where a server should stand: nobody can reach it
        return url.partition("://")[0] + "://..."
    user, _, host = parts.netloc.rpartition("@")
    on_the_web = parts.scheme.lower() in _WEB
    # Azure's `container@account` is no secret.
    netloc = host if on_the_web or ":" in user else parts.netloc
    if netloc == parts.netloc and not (parts.query and on_the_web):
        return url
    query = parts.query if not on_the_web else ("..." if parts.query else "")
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment if not on_the_web else ""))


def without_secrets(text: str) -> str:
    """What a library says, with every URL in it hidden."""
    return _URL.sub(lambda match: _hidden_within(match[0]), text)


def _hidden_within(url: str) -> str:
    """Of a list's last URL, the bracket behind it is none of the URL's."""
    end = len(url)
    while url[end - 1] in _CLOSING and url.count(url[end - 1], 0, end) > url.count(_CLOSING[url[end - 1]], 0, end):
        end -= 1
    return hidden(url[:end]) + url[end:]


def judged(error: Exception, url: str, done: str = "read") -> Verdict:
    """What a library's error about a URL means; `done` completes the sentence "URL cannot be ..."."""
    root = _root_of(error)
    status, code, kind = _status_of(root), _code_of(root), type(root).__name__
    store = _store_sentence(url, kind, code, status)
    if store is not None:
        return Verdict(StoreRefusedError(store), of_the_store=True)
    where = hidden(url)
    if status in (404, 410) or code in ("NoSuchKey", "404", "NotFound") or (
        isinstance(root, FileNotFoundError) and status is None
    ):  # fmt: skip
        return Verdict(MissingRemoteError(f"{where} is not there; correct the name."))
    if isinstance(root, IsADirectoryError | NotADirectoryError):
        return Verdict(RemoteError(f"{where} is a folder, not a file; end its name with a slash or name a file."))
    if isinstance(root, NotImplementedError):
        return Verdict(
            RemoteError(f"{where} cannot be {done}, as {_protocol(url)}:// does not support that; give another URL.")
        )
    if status in (405, 501):
        return Verdict(
            RemoteError(f"{where} cannot be {done}, as this server does not support that; give another URL.")
        )
    said = _said(root, kind, code, status)
    if status in (401, 403) or isinstance(root, PermissionError):
        remedy = "" if _protocol(url) in _WEB else f" ({_credentials(url)})"
        return Verdict(RemoteError(f"{where} is forbidden for these credentials ({said}); get access{remedy}."))
    if kind in _UNUSABLE or (status is not None and status < 500 and status not in (408, 409, 425, 429)):
        if kind == "TooManyRedirects":
            said = "one redirect after the other"
        return Verdict(RemoteError(f"{where} cannot be {done} ({said}); correct it or remove it from the list."))
    if not _may_pass(root, code, status):
        return Verdict(RemoteError(f"{where} cannot be {done} ({said}); correct it."))
    return Verdict(RemoteError(f"{where} cannot be {done} ({said}, tried several times); {_AGAIN}."), again=True)


def refused_in_a_row(url: str, error: SapiensError, times: int) -> StoreRefusedError:
    """For a store from which nothing can be read any more."""
    return StoreRefusedError(f"{_store_of(url)} has failed {times} times in a row: {error}")


def _store_sentence(url: str, kind: str, code: str | None, status: int | None) -> str | None:
    """What is wrong with the whole store; None if the fault may be of one object."""
    store, credentials = _store_of(url), _credentials(url)
    if code in _NO_BUCKET:
        other = ", or AWS_ENDPOINT_URL for another store than Amazon's" if _protocol(url) in _AMAZON else ""
        return f"There is no bucket {urlsplit(url).netloc} ({hidden(url)}); correct the name{other}."
    if kind in _NO_CREDENTIALS:
        return f"There are no credentials for {store} ({kind}); set them in the environment ({credentials})."
    if code in _EXPIRED:
        return f"The credentials for {store} have expired ({code}); get new ones ({credentials}), and {_AGAIN}."
    if code in _UNKNOWN_KEYS or (status == 401 and _protocol(url) not in _WEB):
        return f"The credentials for {store} are not accepted ({code or status}); correct them ({credentials})."
    if code in _ELSEWHERE or (status in (301, 307) and _protocol(url) in _AMAZON):
        return f"{store} lies in another region ({code or status}); set AWS_DEFAULT_REGION or AWS_ENDPOINT_URL."
    return None


def _root_of(error: BaseException) -> BaseException:
    """The cause below less specific errors: `FileNotFoundError` of a server that has answered 500, say."""
    for each in _causes(error):
        if _status_of(each) is not None or _code_of(each) is not None or type(each).__name__ in _NO_CREDENTIALS:
            return each
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status_of(error: BaseException) -> int | None:
    """HTTP's."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        holders = [(error, "status"), (error, "status_code"), (response, "status_code")]
        if type(error).__module__.startswith("gcsfs"):  # aiohttp has a code 400 for an answer that was cut off
            holders.append((error, "code"))
        status = next((getattr(holder, name) for holder, name in holders if hasattr(holder, name)), None)
    text = str(status)
    return int(text) if text.isdecimal() and 100 <= int(text) < 600 else None


def _code_of(error: BaseException) -> str | None:
    """Amazon's error code."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) or None if isinstance(response, dict) else None


def _may_pass(error: BaseException, code: str | None, status: int | None) -> bool:
    if code in _BUSY or status is not None:
        return True
    of_a_library = f"{type(error).__module__}.".startswith(_LIBRARIES)
    return of_a_library or isinstance(error, OSError | EOFError | TimeoutError)


def _said(error: BaseException, kind: str, code: str | None, status: int | None) -> str:
    if isinstance(error, TimeoutError) or kind in ("TimeoutError", "FSTimeoutError"):
        return "no whole answer within the time limit"
    if kind in _CUT_OFF or isinstance(error, EOFError):
        return "the answer was cut off"
    if code is not None and not code.isdecimal():
        return code
    if status is not None:
        return f"HTTP status {status}"
    return without_secrets(one_line(error, 120)).rstrip(".")


def _protocol(url: str) -> str:
    return urlsplit(url).scheme.lower()


def _store_of(url: str) -> str:
    """The bucket or the server."""
    parts = urlsplit(hidden(url))
    return f"{parts.scheme}://{parts.netloc}"


def _credentials(url: str) -> str:
    protocol = _protocol(url)
    return _CREDENTIALS.get(_ALIASES.get(protocol, protocol), "as its library reads them from the environment")
