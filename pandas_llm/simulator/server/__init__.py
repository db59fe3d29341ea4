"""The simulator as a server: HTTP over a socket, in the loop at hand or a thread."""
