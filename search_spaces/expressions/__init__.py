"""Expressions: functions of one number as small trees over primitives, written as text such as `x*sigmoid(x)`.

`tree` has the nodes and their value, `text` reads and writes them, `simplify` makes them canonical, `stability`
rejects what a deep network would not survive, `variation` and `evolution` search them, and `grammar` declares a
family of stable ones as decisions of a search space.
"""
