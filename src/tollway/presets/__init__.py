"""Presets: settings of a request under a name, used by `model: "@preset/slug"` or `preset: "slug"`.

Pure. `capture` turns an inference body into what is kept, `naming` finds the preset that a request
names, `merge` puts what is kept under what the request says. What is kept is in one vocabulary, the
fields of a chat completion; `spelling` and `tools` say it in the dialect of each caller.

Not here: where presets are kept (accounts.presets) and how a process knows them
(accounts.presetbook).
"""
