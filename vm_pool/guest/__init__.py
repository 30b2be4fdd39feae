"""The server that runs inside a desktop machine: starts the X session and answers over HTTP.

It runs on Debian's own Python (3.11 and newer) with Debian packages only (see PACKAGES.txt), never with this
project's environment; `keys` and `batches` are pure and are used on the host as well.
"""
