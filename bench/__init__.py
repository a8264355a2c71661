"""The bench: what a request costs through the gateway, beside the direct call in the same run.

Not a test: it fails only when an answer is missing or the books do not balance, never because a
figure is slow. Standard library and two C programs only, so that it costs the machine little.
"""
