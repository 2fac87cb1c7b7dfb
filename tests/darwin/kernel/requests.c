/*
 * Interface requests (SIOC...): which socket each wants, who may make it, and who answers it.
 */
#define _GNU_SOURCE
#include "requests.h"

#include <errno.h>
#include <sys/socket.h>

const char *request_name(uint32_t request)
{
    static const struct {
        const char *name;
        uint32_t request;
    } table[] = {DARWIN_REQUEST_TABLE};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].request == request)
            return table[i].name;
    }
    return NULL;
}

enum { ANY_FAMILY, INET, INET6 };

/* Which socket a request wants, and whether root must ask.  SIOCSDRVSPEC looks for itself, in feth.
 */
static const struct kind {
    uint32_t request;
    int family;
    bool root;
} kinds[] = {
    {DARWIN_SIOCSIFFLAGS, ANY_FAMILY, true},   {DARWIN_SIOCSIFMETRIC, ANY_FAMILY, true},
    {DARWIN_SIOCSIFMTU, ANY_FAMILY, true},     {DARWIN_SIOCSIFLLADDR, ANY_FAMILY, true},
    {DARWIN_SIOCGIFADDR, INET, false},         {DARWIN_SIOCGIFNETMASK, INET, false},
    {DARWIN_SIOCAIFADDR, INET, true},          {DARWIN_SIOCDIFADDR, INET, true},
    {DARWIN_SIOCAIFADDR_IN6, INET6, true},     {DARWIN_SIOCDIFADDR_IN6, INET6, true},
};

static struct kind kind_of(uint32_t request)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].request == request)
            return kinds[i];
    }
    return (struct kind){request, ANY_FAMILY, false};
}

int interface_request(int domain, uint32_t request, void *argument)
{
    struct interface_request *ifreq = argument; /* every request starts with a name */
    struct interface *interface;

    switch (request) {
    case DARWIN_SIOCIFCREATE:
    case DARWIN_SIOCIFCREATE2:
        return is_root() ? interface_create(ifreq->name) : EPERM;
    case DARWIN_SIOCIFDESTROY:
        if (!is_root())
            return EPERM;
        if (unit_of(ifreq->name) == -2)
            return EINVAL;
        interface = interface_by_name(ifreq->name);
        return interface == NULL ? ENXIO : interface_destroy(interface);
    }
    interface = interface_by_name(ifreq->name);
    if (interface == NULL)
        return ENXIO;
    struct kind kind = kind_of(request);
    if (kind.family == INET6 && domain != AF_INET6)
        return EOPNOTSUPP;
    if (kind.family == INET && domain == AF_INET6)
        return EINVAL;
    if (kind.root && !is_root())
        return EPERM;
    if (kind.root && interface->kind != KIND_FETH) {
        kernel_violation("%s on %s, which is not a feth", request_name(request), interface->name);
        return EOPNOTSUPP;
    }
    if (kind.family == INET6)
        return inet6_request(interface, request, argument);
    if (kind.family == INET)
        return inet_request(interface, request, argument);
    return link_request(interface, request, argument);
}
