/*
 * What a program asks about the system: uname(2), sysctlbyname(3), gethostuuid(2), getifaddrs(3),
 * if_nameindex(3).
 */
#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DARWIN_IFT_ETHER 6
#define DARWIN_IFT_LOOP 24

/* ---- uname ---- */

int system_uname(struct utsname *name)
{
    if (syscall(SYS_uname, name) != 0)
        return errno;
    snprintf(name->sysname, sizeof name->sysname, "Darwin");
    snprintf(name->release, sizeof name->release, "%s", kernel->release);
    snprintf(name->version, sizeof name->version, "Darwin Kernel Version %s: simulated",
             kernel->release);
    snprintf(name->machine, sizeof name->machine, "%s", kernel->machine);
    return 0;
}

/* ---- sysctl ---- */

static const char *text_value(const char *name)
{
    static const char *const table[][2] = {{"kern.ostype", "Darwin"}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(name, table[i][0]) == 0)
            return table[i][1];
    }
    if (strcmp(name, "kern.osrelease") == 0)
        return kernel->release;
    if (strcmp(name, "kern.osproductversion") == 0)
        return kernel->product;
    if (strcmp(name, "kern.uuid") == 0) /* of the kernel, the same on every Mac with this release */
        return "9B5A7191-5B84-3990-8710-D9BD9273A8E5";
    return NULL;
}

/* Each with the first release that has it, of those that were looked at. */
static const struct {
    const char *name;
    int since;
} altering[] = {{"hwcsum", 0}, {"tso_support", 22},    {"lro", 23},
                {"fcs", 22},   {"trailer_length", 22}, {"separate_frame_header", 24}};

static bool altering_value(const char *name, uint32_t *value)
{
    static const char prefix[] = "net.link.fake.";

    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return false;
    for (uint32_t i = 0; i < sizeof altering / sizeof altering[0]; i++) {
        if (strcmp(name + sizeof prefix - 1, altering[i].name) != 0)
            continue;
        *value = kernel->altered == i + 1;
        return kernel_release_from(altering[i].since, 0);
    }
    return false;
}

static bool number_value(const char *name, uint32_t *value)
{
    if (altering_value(name, value))
        return true;
    if (strcmp(name, "net.link.fake.max_mtu") == 0 && kernel_release_from(19, 0))
        *value = kernel->max_mtu;
    else if (strcmp(name, "debug.bpf_maxdevices") == 0)
        *value = MAX_BPF_NODES;
    else
        return false;
    return true;
}

static int give(void *to, size_t *size, const void *value, size_t length)
{
    size_t room;

    if (size == NULL)
        return to == NULL ? 0 : EFAULT;
    int error = copy_in(&room, size, sizeof room);
    if (error != 0)
        return error;
    if (to != NULL && room < length)
        return ENOMEM;
    error = to == NULL ? 0 : copy_out(to, value, length);
    return error != 0 ? error : copy_out(size, &length, sizeof length);
}

static int set_max_mtu(const void *from, size_t length)
{
    uint32_t value;

    if (!is_root())
        return EPERM;
    if (length != sizeof value)
        return EINVAL;
    int error = copy_in(&value, from, sizeof value);
    if (error != 0)
        return error;
    if (value < 1500 || value > DARWIN_net_link_fake_max_mtu_maximum)
        return EINVAL;
    if (value < kernel->max_mtu)
        kernel_violation("net.link.fake.max_mtu lowered from %u to %u", kernel->max_mtu, value);
    kernel->max_mtu = value;
    return 0;
}

int system_sysctl(const char *name, void *old, size_t *old_size, const void *new, size_t new_size)
{
    const char *text = text_value(name);
    uint32_t number;
    int error;

    if (text == NULL && !number_value(name, &number))
        return ENOENT;
    error = text != NULL ? give(old, old_size, text, strlen(text) + 1)
                         : give(old, old_size, &number, sizeof number);
    if (error != 0 || new == NULL)
        return error;
    if (strcmp(name, "net.link.fake.max_mtu") == 0)
        return set_max_mtu(new, new_size);
    kernel_violation("sysctl %s is not for setting", name);
    return EPERM;
}

int system_host_uuid(uint8_t uuid[16])
{
    const char *text = kernel->host_uuid;

    for (int i = 0; i < 16; i++) {
        unsigned int byte;
        if (*text == '-')
            text++;
        if (sscanf(text, "%2x", &byte) != 1)
            return EINVAL;
        uuid[i] = (uint8_t)byte;
        text += 2;
    }
    return 0;
}

/* ---- enumeration ---- */

/* Socket addresses of any kind, in one block with their list entry. */
struct entry {
    struct ifaddrs list;
    char name[NAME_SIZE];
    uint8_t address[28], mask[28], broadcast[28];
    uint8_t data[96]; /* struct if_data */
};

struct entries {
    struct entry *all;
    size_t count, room;
};

static struct entry *new_entry(struct entries *entries, const struct interface *interface)
{
    if (entries->count == entries->room)
        return NULL;
    struct entry *entry = &entries->all[entries->count++];
    memset(entry, 0, sizeof *entry);
    memcpy(entry->name, interface->name, NAME_SIZE);
    entry->list.ifa_name = entry->name;
    entry->list.ifa_flags = interface_flags(interface);
    entry->list.ifa_addr = (struct sockaddr *)entry->address;
    if (entries->count > 1)
        entry[-1].list.ifa_next = &entry->list;
    return entry;
}

static void add_link_entry(struct entries *entries, const struct interface *interface)
{
    struct entry *entry = new_entry(entries, interface);

    if (entry == NULL)
        return;
    uint8_t name_length = (uint8_t)strlen(interface->name);
    bool loopback = interface->kind == KIND_LOOPBACK;
    uint16_t index = (uint16_t)interface->index;
    uint8_t *address = entry->address; /* struct sockaddr_dl */
    address[0] = 20;
    address[1] = DARWIN_AF_LINK;
    memcpy(address + 2, &index, sizeof index);
    address[4] = entry->data[0] = loopback ? DARWIN_IFT_LOOP : DARWIN_IFT_ETHER;
    address[5] = name_length;
    address[6] = loopback ? 0 : sizeof interface->mac;
    memcpy(address + 8, interface->name, name_length);
    if (!loopback)
        memcpy(address + 8 + name_length, interface->mac, sizeof interface->mac);
    if (name_length > 6)
        address[0] = (uint8_t)(8 + name_length + address[6]);
    memcpy(entry->data + 8, &interface->mtu, sizeof interface->mtu);
    memcpy(entry->data + 12, &interface->metric, sizeof interface->metric);
    entry->list.ifa_data = entry->data;
}

static void put_inet(uint8_t *to, uint32_t address)
{
    to[0] = 16;
    to[1] = DARWIN_AF_INET;
    memcpy(to + 4, &address, sizeof address);
}

static void add_inet_entry(struct entries *entries, const struct interface *interface,
                           const struct address4 *address)
{
    struct entry *entry = new_entry(entries, interface);

    if (entry == NULL)
        return;
    put_inet(entry->address, address->address);
    put_inet(entry->mask, address->mask);
    entry->list.ifa_netmask = (struct sockaddr *)entry->mask;
    if (address->broadcast != 0) {
        put_inet(entry->broadcast, address->broadcast);
        entry->list.ifa_broadaddr = (struct sockaddr *)entry->broadcast;
    }
}

static void add_inet6_entry(struct entries *entries, const struct interface *interface,
                            const struct address6 *address)
{
    struct entry *entry = new_entry(entries, interface);
    uint32_t scope = (uint32_t)interface->index;

    if (entry == NULL)
        return;
    entry->address[0] = entry->mask[0] = sizeof entry->address;
    entry->address[1] = entry->mask[1] = DARWIN_AF_INET6;
    memcpy(entry->address + 8, address->address, sizeof address->address);
    if (address->address[0] == 0xfe && (address->address[1] & 0xc0) == 0x80)
        memcpy(entry->address + 24, &scope, sizeof scope);
    for (int bit = 0; bit < address->prefix; bit++)
        entry->mask[8 + bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    entry->list.ifa_netmask = (struct sockaddr *)entry->mask;
}

static void add_entries(struct entries *entries, const struct interface *interface)
{
    add_link_entry(entries, interface);
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        if (interface->inet[i].address != 0)
            add_inet_entry(entries, interface, &interface->inet[i]);
        if (interface->inet6[i].prefix != 0)
            add_inet6_entry(entries, interface, &interface->inet6[i]);
    }
}

/* What the stand-in for vmnet.framework makes, an interface of Linux that is none of ours. */
static void add_bridge_of_vmnet(struct entries *entries)
{
    struct interface bridge = {.name = "bridge100", .kind = KIND_ETHERNET};
    struct ifreq request = {.ifr_name = "bridge100"};
    int asking = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (syscall(SYS_ioctl, asking, SIOCGIFADDR, &request) == 0) {
        const struct sockaddr_in *address = (const void *)&request.ifr_addr;
        bridge.inet[0].address = address->sin_addr.s_addr;
        if (syscall(SYS_ioctl, asking, SIOCGIFNETMASK, &request) == 0)
            bridge.inet[0].mask = address->sin_addr.s_addr;
        add_entries(entries, &bridge);
    }
    syscall(SYS_close, asking);
}

int system_interfaces(struct ifaddrs **list)
{
    size_t room = (size_t)MAX_INTERFACES * (1 + 2 * MAX_ADDRESSES);
    struct entries entries = {.all = malloc(room * sizeof(struct entry)), .room = room};

    if (entries.all == NULL)
        return ENOMEM;
    bpf_reap();
    for (int i = 0; i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id != 0)
            add_entries(&entries, &kernel->interfaces[i]);
    }
    add_bridge_of_vmnet(&entries);
    *list = &entries.all[0].list; /* lo0 is always there */
    return 0;
}

struct if_nameindex *system_name_index(void)
{
    struct if_nameindex *list = calloc(MAX_INTERFACES + 1, sizeof *list + NAME_SIZE);
    char *name = (char *)(list + MAX_INTERFACES + 1);
    size_t count = 0;

    for (int i = 0; list != NULL && i < MAX_INTERFACES; i++) {
        const struct interface *interface = &kernel->interfaces[i];
        if (interface->id == 0)
            continue;
        memcpy(name, interface->name, NAME_SIZE);
        list[count++] = (struct if_nameindex){(unsigned int)interface->index, name};
        name += NAME_SIZE;
    }
    return list;
}
