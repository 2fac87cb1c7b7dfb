/*
 * The addresses of an interface, IPv4 and IPv6.
 */
#define _GNU_SOURCE
#include "requests.h"

#include <arpa/inet.h>
#include <errno.h>

/* ---- IPv4 addresses ---- */

static struct address4 *find_inet(struct interface *interface, uint32_t address)
{
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        if (interface->inet[i].address == address)
            return &interface->inet[i];
    }
    return NULL;
}

/* Darwin falls back to the historic class when no mask is given. */
static uint32_t class_mask(uint32_t address)
{
    uint32_t host = ntohl(address);
    return htonl(host >> 31 == 0 ? 0xff000000 : host >> 30 == 2 ? 0xffff0000 : 0xffffff00);
}

static int add_inet(struct interface *interface, const struct alias_request *request)
{
    uint32_t host = ntohl(request->address.address);
    struct address4 wanted = {.address = request->address.address};

    if (request->address.family != DARWIN_AF_INET)
        return EINVAL;
    if (host >> 28 == 0xe || host == 0xffffffff || host == 0)
        return EINVAL;
    if (request->address.length != sizeof request->address)
        kernel_violation("%s: SIOCAIFADDR with sin_len %d", interface->name,
                         request->address.length);
    wanted.mask = request->mask.length != 0 ? request->mask.address : class_mask(wanted.address);
    if (prefix_length((const uint8_t *)&wanted.mask, sizeof wanted.mask) < 0) {
        kernel_violation("%s: a netmask with holes", interface->name);
        return EINVAL;
    }
    if (request->broadcast.family == DARWIN_AF_INET)
        wanted.broadcast = request->broadcast.address;
    struct address4 *place = find_inet(interface, wanted.address);
    if (place != NULL)
        link_remove_inet(interface, place); /* Linux would keep both masks */
    else
        place = find_inet(interface, 0);
    if (place == NULL) {
        kernel_violation("%s: more than %d addresses", interface->name, MAX_ADDRESSES);
        return ENOBUFS;
    }
    *place = wanted;
    int error = link_add_inet(interface, &wanted);
    return error != 0 ? error : bring_up(interface);
}

static int remove_inet(struct interface *interface, const struct socket_address4 *wanted)
{
    struct address4 *place = NULL;

    if (wanted->family == DARWIN_AF_INET && wanted->address != 0) {
        place = find_inet(interface, wanted->address);
    } else { /* no address given: the first one */
        for (int i = 0; place == NULL && i < MAX_ADDRESSES; i++) {
            if (interface->inet[i].address != 0)
                place = &interface->inet[i];
        }
    }
    if (place == NULL)
        return EADDRNOTAVAIL;
    struct address4 gone = *place;
    place->address = 0;
    return link_remove_inet(interface, &gone);
}

static int get_inet(struct interface *interface, uint32_t request, struct socket_address4 *answer)
{
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        const struct address4 *address = &interface->inet[i];
        if (address->address == 0)
            continue;
        *answer = (struct socket_address4){
            .length = sizeof *answer,
            .family = DARWIN_AF_INET,
            .address = request == DARWIN_SIOCGIFADDR ? address->address : address->mask,
        };
        return 0;
    }
    return EADDRNOTAVAIL;
}

/* ---- IPv6 ---- */

static struct address6 *find_inet6(struct interface *interface, const uint8_t address[16])
{
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        struct address6 *candidate = &interface->inet6[i];
        if (candidate->prefix != 0 && memcmp(candidate->address, address, 16) == 0)
            return candidate;
    }
    return NULL;
}

static bool is_link_local(const uint8_t address[16])
{
    return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

static int store_inet6(struct interface *interface, const struct address6 *wanted)
{
    struct address6 *place = find_inet6(interface, wanted->address);

    for (int i = 0; place == NULL && i < MAX_ADDRESSES; i++) {
        if (interface->inet6[i].prefix == 0)
            place = &interface->inet6[i];
    }
    if (place == NULL) {
        kernel_violation("%s: more than %d addresses", interface->name, MAX_ADDRESSES);
        return ENOBUFS;
    }
    *place = *wanted;
    int error = link_add_inet6(interface, wanted);
    return error != 0 ? error : bring_up(interface);
}

static int drop_inet6(struct interface *interface, struct address6 *place)
{
    struct address6 gone = *place;

    place->prefix = 0;
    return link_remove_inet6(interface, &gone);
}

static int add_link_local(struct interface *interface)
{
    const uint8_t *mac = interface->mac;
    struct address6 address = {
        .address = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3],
                    mac[4], mac[5]},
        .prefix = 64,
        .valid = UINT32_MAX,
        .preferred = UINT32_MAX,
    };
    return store_inet6(interface, &address);
}

static int check_inet6(const struct interface *interface, const struct socket_address6 *address)
{
    if (address->family != DARWIN_AF_INET6 || address->length != sizeof *address)
        return EAFNOSUPPORT;
    if (is_link_local(address->address) && address->scope != 0 &&
        address->scope != (uint32_t)interface->index)
        return EINVAL;
    return 0;
}

static bool may_be_own(const uint8_t address[16])
{
    static const uint8_t zero[12];
    bool embedded_ipv4 =
        memcmp(address, zero, 10) == 0 &&
        (memcmp(address + 10, "\xff\xff", 2) == 0 || memcmp(address + 10, zero, 2) == 0);

    return address[0] != 0xff && !embedded_ipv4;
}

static int add_inet6(struct interface *interface, const struct alias6_request *request)
{
    struct address6 wanted = {.valid = request->valid, .preferred = request->preferred};
    int error = check_inet6(interface, &request->address);

    if (error != 0)
        return error;
    memcpy(wanted.address, request->address.address, sizeof wanted.address);
    if (!may_be_own(wanted.address))
        return EINVAL;
    if (!interface->inet6_attached) {
        interface->inet6_attached = true;
        error = link_attach_inet6(interface);
        if (error == 0)
            error = add_link_local(interface);
        if (error != 0)
            return error;
    }
    wanted.prefix = prefix_length(request->mask.address, sizeof request->mask.address);
    if (request->mask.length == 0 || request->mask.length > sizeof request->mask ||
        wanted.prefix <= 0)
        return EINVAL;
    if (wanted.preferred > wanted.valid || request->destination.family != 0)
        return EINVAL;
    if (wanted.valid == 0) { /* expires at once */
        struct address6 *old = find_inet6(interface, wanted.address);
        return old == NULL ? bring_up(interface) : drop_inet6(interface, old);
    }
    return store_inet6(interface, &wanted);
}

static int remove_inet6(struct interface *interface, const struct socket_address6 *address)
{
    int error = check_inet6(interface, address);
    struct address6 *place = error == 0 ? find_inet6(interface, address->address) : NULL;

    if (error == EINVAL)
        return error;
    return place == NULL ? EADDRNOTAVAIL : drop_inet6(interface, place);
}

/* ---- requests ---- */

int inet_request(struct interface *interface, uint32_t request, void *argument)
{
    struct interface_request *ifreq = argument;

    switch (request) {
    case DARWIN_SIOCAIFADDR:
        return add_inet(interface, argument);
    case DARWIN_SIOCDIFADDR:
        return remove_inet(interface, &ifreq->inet);
    case DARWIN_SIOCGIFADDR:
    case DARWIN_SIOCGIFNETMASK:
        return get_inet(interface, request, &ifreq->inet);
    default:
        return EOPNOTSUPP;
    }
}

int inet6_request(struct interface *interface, uint32_t request, void *argument)
{
    switch (request) {
    case DARWIN_SIOCAIFADDR_IN6:
        return add_inet6(interface, argument);
    case DARWIN_SIOCDIFADDR_IN6:
        return remove_inet6(interface, &((struct inet6_request *)argument)->address);
    default:
        return EOPNOTSUPP;
    }
}
