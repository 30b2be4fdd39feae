"""The process that holds a GGUF model: an OpenAI-compatible server on a random loopback port.

It is started by `llm.local` as a script, reads one JSON line of settings from stdin (so that the key is in no process
list), answers with one line `{"port": N}` on stdout, and ends when stdin closes, that is when its parent ends in
whatever way. Everything else that the engine prints goes to stderr.
"""

import importlib
import json
import os
import sys
from typing import Any

LOOPBACK = "127.0.0.1"
WARNINGS = 2
"""Log level; the next one writes some lines for every question."""


def main() -> None:
    """Load, listen, say where, and wait for the parent to go away."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    server = _serve(settings)
    port = int(str(server.listening_address).rsplit(":", 1)[-1])
    answers.write(json.dumps({"port": port}) + "\n")
    answers.flush()
    sys.stdin.read()
    os._exit(0)  # at once: running generations are of no use to anybody


def _serve(settings: dict[str, Any]) -> Any:
    engine = importlib.import_module("xllamacpp")  # an extra without types
    params = engine.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.verbosity = WARNINGS
    params.hostnames = [LOOPBACK]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context_tokens"]
    params.kv_unified = settings["unified"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.use_jinja = True
    if settings["template"]:
        params.chat_template = settings["template"]
    return engine.Server(params)


if __name__ == "__main__":
    main()
