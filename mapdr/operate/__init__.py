"""What people see and do, as typed functions: the faces (terminal, page, scripts) are skins over them.

A view returns plain dataclasses; a verb says what it would do before it does it. Nothing here draws.
"""
