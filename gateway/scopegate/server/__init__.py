"""The data plane's own HTTP/1.1 server: from the client's socket to the upstream's and back."""
