"""Exit codes of the program."""

WINNER = 0
"""A winner was delivered, or the command did its work."""
BREAKDOWN = 1
"""Something broke."""
MISTAKE = 2
"""The user's to mend."""
NONE_CHOSEN = 3
"""The judge found that no rollout did the task."""
STOPPED = 130
"""Ctrl-C, SIGTERM or a closed terminal, after a clean stop."""
