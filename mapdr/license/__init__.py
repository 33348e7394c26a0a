"""A license bound to hardware: facts of a machine, a code of them, and a token that a vendor has signed.

A build with a vendor's key needs a license; any other needs none. What a license is bound to are *facts* of
the machine (`mapdr.license.facts`), of which most must match. Nothing here asks the network.
"""
