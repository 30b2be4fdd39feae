"""The prompts of this package, as `agent_s3.prompt` fills them."""

from pathlib import Path

from agent_s3.prompt import Prompts

_OURS = Prompts(Path(__file__).parent / "prompts")
render, prompt_hashes = _OURS.render, _OURS.hashes
