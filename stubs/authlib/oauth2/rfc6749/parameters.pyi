def prepare_grant_uri(
    uri: str,
    client_id: str,
    response_type: str,
    redirect_uri: str | None = ...,
    scope: str | None = ...,
    state: str | None = ...,
    **kwargs: str,
) -> str: ...
def prepare_token_request(
    grant_type: str, body: str = ..., redirect_uri: str | None = ..., **kwargs: str
) -> str: ...
