"""MAPDR as a program of a desktop: a window with the page, a sign in the tray, and what a first start asks.

A face, as the command line and the page are. `main` is the program; `opening` finds or starts the node and
gives the address to show, `local_page` asks what a clinic knows, `window` and `tray` show it.
"""
