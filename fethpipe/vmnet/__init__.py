"""vmnet.framework, Apple's virtual Ethernet, and the process that an interface of it lives in.

A vmnet interface is a guest's network card: what is written enters a bridge of the host as if from
a guest, and what is read is what that bridge sends to the guest. It has no descriptor, and it ends
with the process that started it. So it gets a process of its own, which moves frames between it and
a socket, and does nothing else (:mod:`.process`); the socket is what the pump selects on.
"""
