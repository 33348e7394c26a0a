"""What MAPDR owns of PS3.7 and PS3.8: bytes in, events out.

`pdu` reads and writes the PDUs that are not P-DATA, `contexts` negotiates, `association` is the state
machine as tables, `dimse` the command sets, `status` what a receiver's status means. `link` is the blocking
driver that both sides share: `requestor` asks (SCU), `acceptor` is asked (SCP). The P-DATA path itself is
`mapdr._fast`'s.
"""
