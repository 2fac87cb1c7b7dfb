/*
 * Bridges, as much of them as their members need: another program makes one, members come and go.
 * Each is a bridge of Linux too, so that frames pass; a member that is no feth has none of Linux.
 *
 * Facts: XNU's bsd/net/if_bridge.c (DRVSPEC, bridge_ioctl_add, bridge_ioctl_del, bridge_iff_detached).
 * The MAC of a bridge, its media, spanning tree and what Wi-Fi does to it are not simulated.
 */
#define _GNU_SOURCE
#include "requests.h"

#include <errno.h>

#define PREFIX "bridge"

bool is_bridge_name(const char *name)
{
    size_t length = strnlen(name, NAME_SIZE), prefix = strlen(PREFIX);

    return length < NAME_SIZE && length > prefix && strncmp(name, PREFIX, prefix) == 0 &&
           strspn(name + prefix, "0123456789") == length - prefix;
}

int bridge_fill(struct interface *bridge, const char *name)
{
    *bridge = (struct interface){
        .kind = KIND_BRIDGE,
        .flags = DARWIN_IFF_BROADCAST | DARWIN_IFF_SIMPLEX | DARWIN_IFF_MULTICAST,
        .mtu = 1500,
        .mac = {0x36, 0, 0, 0, 0, 1},
    };
    snprintf(bridge->name, NAME_SIZE, "%s", name);
    return link_create_bridge(bridge);
}

static bool is_empty(const struct interface *bridge)
{
    for (int i = 0; i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id != 0 && kernel->interfaces[i].bridge == bridge->id)
            return false;
    }
    return true;
}

static int set_master(struct interface *member, const struct interface *bridge)
{
    member->bridge = bridge == NULL ? 0 : bridge->id;
    return member->kind == KIND_FETH ? link_set_master(member, bridge) : 0;
}

int bridge_destroy(struct interface *bridge)
{
    for (int i = 0; i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id != 0 && kernel->interfaces[i].bridge == bridge->id)
            set_master(&kernel->interfaces[i], NULL);
    }
    bridge->id = 0;
    return link_destroy(bridge);
}

static int add(struct interface *bridge, struct interface *member)
{
    if (member == NULL)
        return ENOENT;
    if (member->bridge == bridge->id)
        return EEXIST;
    if (member->bridge != 0)
        return EBUSY;
    if (member->kind == KIND_LOOPBACK || member->kind == KIND_BRIDGE)
        return EINVAL;
    if (is_empty(bridge))
        bridge->mtu = member->mtu;
    else if (bridge->mtu != member->mtu)
        return EINVAL;
    return set_master(member, bridge);
}

int bridge_drive(struct interface *bridge, const struct drive_request *request, bool set)
{
    struct bridge_request wanted;

    if (request->command != DARWIN_BRDGADD && request->command != DARWIN_BRDGDEL) {
        kernel_violation("%s: ifd_cmd %d is not simulated", bridge->name, (int)request->command);
        return EINVAL;
    }
    if (!set)
        return EINVAL; /* these two return nothing */
    if (!is_root())
        return EPERM;
    if (request->length != sizeof wanted)
        return EINVAL;
    int error = copy_in(&wanted, request->data, sizeof wanted);
    if (error != 0)
        return error;
    wanted.member[NAME_SIZE - 1] = '\0';
    struct interface *member = interface_by_name(wanted.member);
    if (request->command == DARWIN_BRDGADD)
        return add(bridge, member);
    if (member == NULL || member->bridge != bridge->id)
        return ENOENT;
    return set_master(member, NULL);
}
