"""What `plugins` of a request do: a prompt made to fit (`compression`), an answer made to parse
(`healing`). Pure: they are called where a plan is made and where an answer is relayed.

Not here: reading the array (`dialects.plugins`), routers that stand in it (`routing`).
"""
