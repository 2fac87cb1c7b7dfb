/*
 * The arguments of interface requests, as Darwin lays them out, and who answers which request.
 * Sizes are checked against abi.json here, offsets by the tests.
 */
#ifndef SIMULATED_DARWIN_REQUESTS_H
#define SIMULATED_DARWIN_REQUESTS_H

#include "kernel.h"

struct socket_address {
    uint8_t length, family;
    uint8_t data[14];
};

struct socket_address4 {
    uint8_t length, family;
    uint16_t port;
    uint32_t address;
    uint8_t zero[8];
};

struct socket_address6 {
    uint8_t length, family;
    uint16_t port;
    uint32_t flow;
    uint8_t address[16];
    uint32_t scope;
};

struct interface_request {
    char name[NAME_SIZE];
    union {
        struct socket_address address;
        struct socket_address4 inet;
        uint16_t flags;
        int32_t value;
        struct {
            int32_t current, minimum, maximum;
        } device_mtu;
    };
};

struct drive_request {
    char name[NAME_SIZE];
    uint64_t command, length;
    void *data;
};

struct fake_request {
    uint64_t reserved[4];
    char peer[128];
};

struct bridge_request {
    char member[NAME_SIZE];
    uint8_t rest[64];
};

struct alias_request {
    char name[NAME_SIZE];
    struct socket_address4 address, broadcast, mask;
};

struct alias6_request {
    char name[NAME_SIZE];
    struct socket_address6 address, destination, mask;
    int32_t flags;
    int64_t expire, prefer;
    uint32_t valid, preferred;
};

struct inet6_request {
    char name[NAME_SIZE];
    struct socket_address6 address;
    uint8_t rest[244];
};

struct __attribute__((packed, aligned(4))) media_request {
    char name[NAME_SIZE];
    int32_t current, mask, status, active, count;
    int32_t *list;
};

_Static_assert(sizeof(struct interface_request) == DARWIN_SIZEOF_ifreq, "ifreq");
_Static_assert(sizeof(struct drive_request) == DARWIN_SIZEOF_ifdrv, "ifdrv");
_Static_assert(sizeof(struct fake_request) == DARWIN_SIZEOF_if_fake_request, "if_fake_request");
_Static_assert(sizeof(struct bridge_request) == DARWIN_SIZEOF_ifbreq, "ifbreq");
_Static_assert(sizeof(struct alias_request) == DARWIN_SIZEOF_ifaliasreq, "ifaliasreq");
_Static_assert(sizeof(struct socket_address4) == DARWIN_SIZEOF_sockaddr_in, "sockaddr_in");
_Static_assert(sizeof(struct socket_address6) == DARWIN_SIZEOF_sockaddr_in6, "sockaddr_in6");
_Static_assert(sizeof(struct alias6_request) == DARWIN_SIZEOF_in6_aliasreq, "in6_aliasreq");
_Static_assert(sizeof(struct inet6_request) == DARWIN_SIZEOF_in6_ifreq, "in6_ifreq");
_Static_assert(sizeof(struct media_request) == DARWIN_SIZEOF_ifmediareq, "ifmediareq");

/* feth.c: requests of the link, on a socket of any family */
int link_request(struct interface *interface, uint32_t request, void *argument);
int bring_up(struct interface *interface);
int unit_of(const char *name); /* in `fethN`; -1 for the bare `feth`, -2 when it is no such name */

/* bridge.c */
bool is_bridge_name(const char *name);
int bridge_fill(struct interface *bridge, const char *name); /* all but its id */
int bridge_destroy(struct interface *bridge);
int bridge_drive(struct interface *bridge, const struct drive_request *request, bool set);

/* inet.c */
int inet_request(struct interface *interface, uint32_t request, void *argument);
int inet6_request(struct interface *interface, uint32_t request, void *argument);

#endif
