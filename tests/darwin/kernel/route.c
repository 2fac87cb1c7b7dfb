/*
 * Routing sockets, as much of them as a program needs to add and to delete a route: a message is
 * refused or not.  Routes are those of the process, and change nothing in Linux.  The socket is a
 * datagram socket of Linux that receives nothing.
 *
 * Facts: XNU's bsd/net/route.h, rtsock.c (route_output), route.c (rtrequest).
 */
#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SOCKETS 8
#define MAX_ROUTES 16
#define ADDRESSES (DARWIN_RTA_DST | DARWIN_RTA_GATEWAY | DARWIN_RTA_NETMASK)

struct route {
    uint32_t destination, mask; /* mask 0: free */
};

static uint64_t sockets[MAX_SOCKETS];
static struct route routes[MAX_ROUTES];

int route_open(int type, int *descriptor)
{
    struct stat status;

    if (type != SOCK_RAW && type != (SOCK_RAW | SOCK_CLOEXEC))
        return EPROTONOSUPPORT;
    *descriptor = linux_socket(AF_UNIX, SOCK_DGRAM | (type & SOCK_CLOEXEC), 0);
    if (*descriptor < 0 || fstat(*descriptor, &status) != 0)
        return errno;
    for (int i = 0; i < MAX_SOCKETS; i++) {
        if (sockets[i] == NO_INODE) {
            sockets[i] = status.st_ino;
            return 0;
        }
    }
    return ENOBUFS;
}

bool route_is(uint64_t inode)
{
    for (int i = 0; i < MAX_SOCKETS; i++) {
        if (sockets[i] != NO_INODE && sockets[i] == inode)
            return true;
    }
    return false;
}

static struct route *find_route(struct route wanted)
{
    for (int i = 0; i < MAX_ROUTES; i++) {
        if (routes[i].destination == wanted.destination && routes[i].mask == wanted.mask)
            return &routes[i];
    }
    return NULL;
}

static bool is_reachable(uint32_t gateway)
{
    for (int i = 0; i < MAX_INTERFACES; i++) {
        const struct interface *interface = &kernel->interfaces[i];
        for (int j = 0; interface->id != 0 && j < MAX_ADDRESSES; j++) {
            const struct address4 *own = &interface->inet[j];
            if (own->address != 0 && ((own->address ^ gateway) & own->mask) == 0)
                return true;
        }
    }
    return false;
}

static int change(uint8_t type, struct route wanted, uint32_t gateway)
{
    struct route *found = find_route(wanted);

    if (kernel_deviation(DEVIATION_routes_refused) && type == DARWIN_RTM_ADD)
        return EINVAL;
    if (type == DARWIN_RTM_DELETE) {
        if (found == NULL)
            return ESRCH;
        *found = (struct route){0, 0};
        return 0;
    }
    if (found != NULL)
        return EEXIST;
    if (!is_reachable(gateway))
        return ENETUNREACH;
    found = find_route((struct route){0, 0});
    if (found == NULL)
        return ENOBUFS;
    *found = wanted;
    return 0;
}

int route_write(const uint8_t *message, size_t length)
{
    const uint8_t *addresses = message + DARWIN_SIZEOF_rt_msghdr;
    uint32_t words[3];
    uint16_t told;
    int32_t which;

    if (geteuid() != 0)
        return EPERM;
    if (length != DARWIN_SIZEOF_rt_msghdr + 3 * DARWIN_SIZEOF_sockaddr_in)
        return EINVAL;
    memcpy(&told, message, sizeof told);
    memcpy(&which, message + 12, sizeof which);
    if (told != length || message[2] != DARWIN_RTM_VERSION || which != ADDRESSES)
        return EINVAL;
    if (message[3] != DARWIN_RTM_ADD && message[3] != DARWIN_RTM_DELETE)
        return EOPNOTSUPP;
    for (int i = 0; i < 3; i++) {
        const uint8_t *address = addresses + i * DARWIN_SIZEOF_sockaddr_in;
        if (address[0] != DARWIN_SIZEOF_sockaddr_in || address[1] != DARWIN_AF_INET)
            return EINVAL;
        memcpy(&words[i], address + 4, sizeof words[i]);
    }
    return change(message[3], (struct route){words[0], words[2]}, words[1]);
}
