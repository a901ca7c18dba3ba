"""The call machine: what every event means.

ports      what is kept, and who is told
table      all calls, and what they hold
going      calls begin, and go on
ending     they end, or are asked to
outside    what is given to calls from outside
facts      facts
copies     calls that were copied forward
machine    all of it, behind one `apply`
"""

from dispatcher.functions.machine.machine import Machine
from dispatcher.functions.machine.ports import Holder, Kept, KnownFact, Listener, Owner

__all__ = [
    "Holder",
    "Kept",
    "KnownFact",
    "Listener",
    "Machine",
    "Owner",
]
