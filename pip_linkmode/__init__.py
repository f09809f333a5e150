"""Make plain pip share installed files: unpack a wheel once, link it ever after.

This package is imported at the start of every interpreter of the environment, so it
imports nothing; :mod:`pip_linkmode._bootstrap` waits for pip to install something.
"""

__version__ = "0.1.0"
