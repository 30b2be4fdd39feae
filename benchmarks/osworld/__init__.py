"""OSWorld's task format on any `Machine`: load task files, set a machine up, score it.

`tasks.py` is pure data; `setup.py`, `getters.py` and `evaluate.py` talk to one machine; `metrics.py` is pure.
Source: the task files and the contract of `DesktopEnv` of xlang-ai/OSWorld (Apache-2.0), April 2026.
"""
