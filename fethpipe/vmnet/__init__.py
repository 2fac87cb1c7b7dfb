"""vmnet.framework, Apple's virtual Ethernet, and the process that runs an interface of it.

A vmnet interface is the network card of a guest: a frame that is written to it enters a bridge of
the host, as if a guest had sent it; a read returns the frames that this bridge sends to the guest.
It has no descriptor, and it ends with the process that started it. So it gets a process of its own
(:mod:`.process`), which moves frames between the interface and a socket, and does nothing else. The
pump selects on the other end of that socket.
"""
