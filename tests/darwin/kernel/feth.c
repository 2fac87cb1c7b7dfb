/*
 * The interfaces: clones named feth, with their peers, flags, MTU and MAC; and two that every Mac
 * has, lo0 and en0, which no request may change.
 */
#define _GNU_SOURCE
#include "requests.h"

#include <errno.h>

#define PREFIX "feth"
#define DEFAULT_MTU 1500
#define MINIMUM_MTU 72 /* IF_MINMTU */
#define DARWIN_IFM_ETHER 0x20

/* ---- the table of interfaces ---- */

struct interface *interface_by_id(uint32_t id)
{
    for (int i = 0; id != 0 && i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id == id)
            return &kernel->interfaces[i];
    }
    return NULL;
}

struct interface *interface_by_name(const char *name)
{
    for (int i = 0; i < MAX_INTERFACES; i++) {
        struct interface *interface = &kernel->interfaces[i];
        if (interface->id != 0 && strncmp(interface->name, name, NAME_SIZE) == 0)
            return interface;
    }
    return NULL;
}

static struct interface *free_interface(void)
{
    for (int i = 0; i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id == 0)
            return &kernel->interfaces[i];
    }
    return NULL;
}

uint32_t interface_flags(const struct interface *interface)
{
    return interface->flags | (bpf_is_promiscuous(interface) ? DARWIN_IFF_PROMISC : 0);
}

/* ---- create, destroy, peer ---- */

int unit_of(const char *name)
{
    const char *digits = name + strlen(PREFIX);
    long unit = 0;

    if (strnlen(name, NAME_SIZE) == NAME_SIZE || strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return -2;
    if (*digits == '\0')
        return -1;
    for (; *digits != '\0'; digits++) {
        if (*digits < '0' || *digits > '9')
            return -2;
        unit = unit * 10 + (*digits - '0');
        if (unit > MAX_UNIT)
            unit = MAX_UNIT + 1;
    }
    return (int)unit;
}

static int lowest_free_unit(void)
{
    char name[NAME_SIZE];
    int unit = 0;

    for (snprintf(name, sizeof name, PREFIX "0"); interface_by_name(name) != NULL;)
        snprintf(name, sizeof name, PREFIX "%d", ++unit);
    return unit;
}

static int32_t largest_mtu(void)
{
    bool by_sysctl = kernel_release_from(19, 0);

    if (kernel_deviation(DEVIATION_max_mtu_ignored))
        return DARWIN_net_link_fake_max_mtu_default;
    return by_sysctl ? (int32_t)kernel->max_mtu : DARWIN_net_link_fake_max_mtu_maximum;
}

/* All interfaces of a state live in one network namespace; an empty state may move to another. */
static void note_namespace(void)
{
    bool empty = true;

    for (int i = 0; i < MAX_INTERFACES; i++)
        empty = empty && (kernel->interfaces[i].id == 0 ||
                          (kernel->interfaces[i].kind != KIND_FETH &&
                           kernel->interfaces[i].kind != KIND_BRIDGE));
    if (empty)
        kernel->namespace = current_namespace();
    else if (kernel->namespace != current_namespace())
        kernel_violation("one state is used in two network namespaces");
}

static int create_bridge(const char *name)
{
    struct interface *bridge = free_interface();

    if (interface_by_name(name) != NULL)
        return EEXIST;
    if (bridge == NULL)
        return ENOMEM;
    note_namespace();
    int error = bridge_fill(bridge, name);
    if (error == 0)
        bridge->id = kernel->next_id++;
    return error;
}

int interface_create(char name[NAME_SIZE])
{
    if (is_bridge_name(name))
        return create_bridge(name);
    int unit = unit_of(name);
    struct interface *interface = free_interface();

    if (unit == -2)
        return EINVAL;
    if (unit == -1)
        unit = lowest_free_unit();
    else if (interface_by_name(name) != NULL)
        return EEXIST;
    if (unit > MAX_UNIT)
        return ENXIO;
    if (interface == NULL) {
        kernel_violation("more than %d interfaces", MAX_INTERFACES);
        return ENOMEM;
    }
    note_namespace();
    *interface = (struct interface){
        .kind = KIND_FETH,
        .unit = unit,
        .flags = DARWIN_IFF_BROADCAST | DARWIN_IFF_SIMPLEX | DARWIN_IFF_MULTICAST,
        .mtu = DEFAULT_MTU,
        .max_mtu = largest_mtu(),
        .mac = {'f', 'e', 't', 'h', (uint8_t)(unit >> 8), (uint8_t)unit},
    };
    snprintf(interface->name, NAME_SIZE, PREFIX "%d", unit);
    int error = link_create(interface);
    if (error != 0) {
        kernel_violation("Linux cannot make %s: %s", interface->name, strerror(error));
        return error;
    }
    interface->id = kernel->next_id++;
    memcpy(name, interface->name, NAME_SIZE);
    return 0;
}

static int unpeer(struct interface *interface)
{
    struct interface *peer = interface_by_id(interface->peer);

    if (peer == NULL)
        return 0;
    interface->peer = peer->peer = 0;
    int error = link_stop_redirect(interface);
    if (error == 0 && peer != interface)
        error = link_stop_redirect(peer);
    if (error == 0)
        error = link_let_pass(interface);
    return error != 0 ? error : link_let_pass(peer);
}

int interface_destroy(struct interface *interface)
{
    if (interface->kind == KIND_BRIDGE)
        return bridge_destroy(interface);
    if (interface->kind != KIND_FETH)
        return EINVAL;
    unpeer(interface);
    bpf_interface_gone(interface);
    interface->id = 0;
    return link_destroy(interface);
}

static int set_peer(struct interface *interface, const char name[NAME_SIZE])
{
    if (name[0] == '\0')
        return unpeer(interface);
    struct interface *peer = interface_by_name(name);
    if (peer == NULL)
        return ENXIO;
    if (peer->kind != KIND_FETH)
        return EINVAL;
    if (peer->peer != 0 || interface->peer != 0)
        return EBUSY;
    if (peer == interface)
        kernel_violation("%s is peered with itself", name);
    interface->peer = peer->id;
    peer->peer = interface->id;
    int error = link_redirect(interface, peer);
    if (error == 0 && peer != interface)
        error = link_redirect(peer, interface);
    if (error == 0)
        error = link_let_pass(interface);
    return error != 0 ? error : link_let_pass(peer);
}

static int drive(struct interface *interface, const struct drive_request *request, bool set)
{
    struct fake_request fake = {0};
    struct interface *peer = interface_by_id(interface->peer);

    if (interface->kind == KIND_BRIDGE)
        return bridge_drive(interface, request, set);
    if (interface->kind != KIND_FETH)
        return EOPNOTSUPP;
    if (set && !is_root())
        return EPERM;
    if (request->command != DARWIN_IF_FAKE_S_CMD_SET_PEER) {
        kernel_violation("%s: unknown ifd_cmd %d", interface->name, (int)request->command);
        return EOPNOTSUPP;
    }
    if (request->length < sizeof fake || (set && request->length > sizeof fake))
        return EINVAL;
    if (!set) {
        if (peer != NULL)
            memcpy(fake.peer, peer->name, NAME_SIZE);
        return copy_out(request->data, &fake, sizeof fake);
    }
    int error = copy_in(&fake, request->data, sizeof fake);
    if (error != 0)
        return error;
    for (int i = 0; i < 4; i++) {
        if (fake.reserved[i] != 0)
            return EINVAL;
    }
    fake.peer[NAME_SIZE - 1] = '\0';
    return set_peer(interface, fake.peer);
}

/* ---- flags, MTU, MAC ---- */

#define CANNOT_CHANGE                                                                              \
    (DARWIN_IFF_BROADCAST | DARWIN_IFF_POINTOPOINT | DARWIN_IFF_RUNNING | DARWIN_IFF_OACTIVE |     \
     DARWIN_IFF_SIMPLEX | DARWIN_IFF_MULTICAST | DARWIN_IFF_ALLMULTI | DARWIN_IFF_PROMISC)

static int set_flags(struct interface *interface, uint32_t flags)
{
    interface->flags = (interface->flags & CANNOT_CHANGE) | (flags & ~CANNOT_CHANGE & 0xffff);
    if ((interface->flags & DARWIN_IFF_UP) != 0)
        interface->flags |= DARWIN_IFF_RUNNING;
    else
        interface->flags &= ~(uint32_t)DARWIN_IFF_RUNNING;
    return link_let_pass(interface);
}

/* The first protocol that is attached brings an interface up, the last that goes takes it down
 * (bsd/net/dlil.c: ifnet_attach_protocol, if_proto_free). */
void interface_attach_ndrv(struct interface *interface, bool attached)
{
    bool only = !interface->inet6_attached && interface->inet[0].address == 0;
    uint32_t up = attached ? DARWIN_IFF_UP : 0;

    if (interface->kind == KIND_FETH && only && interface->ndrv_attached != attached)
        set_flags(interface, (interface->flags & ~(uint32_t)DARWIN_IFF_UP) | up);
    interface->ndrv_attached = attached;
}

/* What the first address does: UP, but RUNNING only follows a SIOCSIFFLAGS. */
int bring_up(struct interface *interface)
{
    if ((interface->flags & DARWIN_IFF_UP) != 0)
        return 0;
    interface->flags |= DARWIN_IFF_UP;
    return link_let_pass(interface);
}

static int set_mtu(struct interface *interface, int32_t mtu)
{
    if (kernel_deviation(DEVIATION_max_mtu_follows))
        interface->max_mtu = largest_mtu();
    if (mtu < MINIMUM_MTU || mtu > interface->max_mtu)
        return EINVAL;
    interface->mtu = mtu;
    return link_set_mtu(interface);
}

static int set_mac(struct interface *interface, const struct socket_address *address)
{
    if (address->length != sizeof interface->mac)
        return EINVAL;
    if ((address->data[0] & 1) != 0)
        kernel_violation("%s: a multicast address as its own MAC", interface->name);
    if (kernel_deviation(DEVIATION_mac_ignored))
        return 0;
    memcpy(interface->mac, address->data, sizeof interface->mac);
    return link_set_mac(interface);
}

static int get_media(const struct interface *interface, struct media_request *media)
{
    bool active = interface->peer != 0 && !kernel_deviation(DEVIATION_link_never_active);
    int32_t *list = media->list;

    media->current = DARWIN_IFM_ETHER;
    media->mask = 0;
    media->status = DARWIN_IFM_AVALID | (active ? DARWIN_IFM_ACTIVE : 0);
    media->active = DARWIN_IFM_ETHER;
    if (list == NULL || media->count <= 0) {
        media->count = 1;
        return 0;
    }
    media->count = 1;
    return copy_out(list, &media->current, sizeof media->current);
}

/* ---- requests ---- */

int link_request(struct interface *interface, uint32_t request, void *argument)
{
    struct interface_request *ifreq = argument;

    switch (request) {
    case DARWIN_SIOCGIFFLAGS:
        bpf_reap(); /* PROMISC goes with the device */
        ndrv_reap();
        ifreq->flags = (uint16_t)interface_flags(interface);
        return 0;
    case DARWIN_SIOCSIFFLAGS:
        ndrv_reap();
        return set_flags(interface, ifreq->flags);
    case DARWIN_SIOCGIFMETRIC:
        ifreq->value = interface->metric;
        return 0;
    case DARWIN_SIOCSIFMETRIC:
        interface->metric = ifreq->value;
        return 0;
    case DARWIN_SIOCGIFMTU:
        ifreq->value = interface->mtu;
        return 0;
    case DARWIN_SIOCSIFMTU:
        return set_mtu(interface, ifreq->value);
    case DARWIN_SIOCGIFDEVMTU: /* asks the driver: that of lo0 does not know it */
        if (interface->kind == KIND_LOOPBACK || interface->kind == KIND_BRIDGE)
            return EOPNOTSUPP;
        ifreq->device_mtu.current = interface->mtu;
        ifreq->device_mtu.minimum = MINIMUM_MTU;
        ifreq->device_mtu.maximum =
            kernel_deviation(DEVIATION_max_mtu_follows) ? largest_mtu() : interface->max_mtu;
        return 0;
    case DARWIN_SIOCSIFLLADDR:
        return set_mac(interface, &ifreq->address);
    case DARWIN_SIOCGIFMEDIA:
        return get_media(interface, argument);
    case DARWIN_SIOCSDRVSPEC:
        return drive(interface, argument, true);
    case DARWIN_SIOCGDRVSPEC:
        return drive(interface, argument, false);
    default:
        return EOPNOTSUPP;
    }
}
